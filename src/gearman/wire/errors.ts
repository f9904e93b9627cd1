/** What can go wrong between this side and a Gearman peer, and what sockets and TLS throw, in words that say what to do. */
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

/**
 * Why a connection couldn't be made.
 * @param phase what was being set up: TCP, or TLS over it
 */
export function connectError(server: string, thrown: unknown, phase: "tcp" | "tls"): GearmanError {
  const { code, message } = read(thrown);
  const fail = (text: string) => new GearmanError("UNREACHABLE", `${server} ${text}`, { cause: thrown });
  const certificateError = certificateErrors[code];
  if (certificateError) return tlsError(server, certificateError, thrown);
  if (/^(CERT_|UNABLE_TO_|CRL_|ERR_TLS_|ERR_OSSL_)/.test(code)) return tlsError(server, message, thrown);
  if (/^ERR_SSL_|^EPROTO$/.test(code)) return tlsError(server, handshakeError(code), thrown);
  if (phase === "tls" && (code === "ECONNRESET" || code === "EPIPE")) {
    return tlsError(server, "closed the connection in the handshake: does that port speak TLS?", thrown);
  }
  switch (code) {
    case "ECONNREFUSED":
      return fail("refuses connections: no job server listens there");
    case "ENOTFOUND":
      return fail("can't be reached: no such host");
    case "EAI_AGAIN":
      return fail("can't be reached: looking up its name failed, try again later");
    case "EHOSTUNREACH":
    case "ENETUNREACH":
      return fail("can't be reached: no route to it");
    case "ETIMEDOUT":
      return fail("can't be reached: it doesn't answer");
    default:
      return phase === "tls" ? tlsError(server, message, thrown) : fail(`can't be reached: ${message}`);
  }
}

/** Why setting up a connection took too long. */
export function connectTimeout(server: string, phase: "tcp" | "tls"): GearmanError {
  return phase === "tcp"
    ? new GearmanError("UNREACHABLE", `${server} can't be reached: it doesn't answer`)
    : tlsError(server, "no answer to the handshake: does that port speak TLS?");
}

/** Why an established connection has ended. */
export function lossError(server: string, thrown: unknown): GearmanError {
  const { code, message } = read(thrown);
  const fail = (kind: GearmanErrorCode, text: string) =>
    new GearmanError(kind, `${server} ${text}`, { cause: thrown });
  if (code.startsWith("ERR_SSL_")) return tlsError(server, handshakeError(code), thrown);
  switch (code) {
    case "ETIMEDOUT":
    case "EHOSTUNREACH":
    case "ENETUNREACH":
      return fail("TIMEOUT", "no longer answers: its network or power is gone");
    case "ECONNRESET":
    case "EPIPE":
      return fail("CLOSED", "dropped the connection");
    default:
      return fail("CLOSED", `was lost: ${message}`);
  }
}

const untrustedCa = "its certificate was signed by a CA that isn't trusted: give that CA as tls.ca";

/** By the codes of OpenSSL's verification. */
const certificateErrors: Readonly<Record<string, string>> = {
  ERR_TLS_CERT_ALTNAME_INVALID:
    "its certificate is for another name: use a name that the certificate carries",
  CERT_HAS_EXPIRED: "its certificate has expired",
  CERT_NOT_YET_VALID: "its certificate isn't valid yet: check this machine's clock",
  DEPTH_ZERO_SELF_SIGNED_CERT: "its certificate is self-signed: give that certificate as tls.ca",
  SELF_SIGNED_CERT_IN_CHAIN: untrustedCa,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: untrustedCa,
  UNABLE_TO_GET_ISSUER_CERT: untrustedCa,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: untrustedCa,
  CERT_SIGNATURE_FAILURE: "its certificate was not signed by the CA in tls.ca",
};

function handshakeError(code: string): string {
  if (/WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG|EPROTO|HTTP_REQUEST|RECORD_LAYER/.test(code)) {
    return "answers in plain text: remove the tls setting, or use the server's TLS port";
  }
  if (/CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE/.test(code))
    return "demands a client certificate: set tls.cert and tls.key";
  if (/UNKNOWN_CA|BAD_CERTIFICATE/.test(code)) return "rejects this side's certificate (tls.cert)";
  const alert = code.replace(/^ERR_SSL_/, "").toLowerCase();
  return `refused the handshake (${alert.replaceAll("_", " ")})`;
}

const tlsError = (server: string, text: string, cause?: unknown) =>
  new GearmanError("TLS", `TLS to ${server}: ${text}`, { cause });

/** The code and message of an error; of the first one where several addresses of a host were tried. */
function read(thrown: unknown): { code: string; message: string } {
  const first: unknown = thrown instanceof AggregateError ? (thrown.errors[0] ?? thrown) : thrown;
  if (!(first instanceof Error)) return { code: "", message: String(first) };
  return { code: "code" in first ? String(first.code) : "", message: first.message.split("\n")[0] ?? "" };
}
