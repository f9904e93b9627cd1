/** What can go wrong between us and a Gearman peer. */

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

export class GearmanError extends Error {
  override readonly name = "GearmanError";
  readonly code: GearmanErrorCode;

  /** @param message one line: what is wrong, and what to do where that is known */
  constructor(code: GearmanErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
