/** What can go wrong between us and a Gearman peer. */
import { CodedError } from "#/lib/errors.ts";

export type GearmanErrorCode =
  /** The peer's bytes are no Gearman packets. */
  | "GARBAGE"
  /** A packet is larger than the limit. */
  | "TOO_LARGE"
  /** The connection couldn't be made. */
  | "UNREACHABLE"
  /** TLS failed: a certificate, or a peer that speaks plain text. */
  | "TLS"
  /** The connection ended while an answer was due. */
  | "CLOSED"
  /** No answer in time. */
  | "TIMEOUT"
  /** The server answered with an ERROR packet or an ERR line. */
  | "REFUSED";

export class GearmanError extends CodedError<GearmanErrorCode> {
  override readonly name = "GearmanError";
}
