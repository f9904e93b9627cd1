/** What can be wrong with what a Zuul, or another client, sent. */

export type ZuulErrorCode =
  /** A job's, stop's or description's argument that can't be understood. */
  "ARGUMENT";

export class ZuulError extends Error {
  override readonly name = "ZuulError";
  readonly code: ZuulErrorCode;

  /** @param message one line that can be sent back to the client */
  constructor(code: ZuulErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
