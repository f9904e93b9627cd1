/** What can be wrong with what a Zuul, or another client, sent. */
import { CodedError } from "#/lib/errors.ts";

export type ZuulErrorCode =
  /** A job's, stop's or description's argument that can't be understood. */
  "ARGUMENT";

export class ZuulError extends CodedError<ZuulErrorCode> {
  override readonly name = "ZuulError";
}
