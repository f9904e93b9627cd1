/** Turns what sockets and TLS throw into GearmanErrors that name the server and say what to do. */
import { GearmanError } from "./errors.ts";

/** Why a connection couldn't be made, and what was being set up: TCP, or TLS over it. */
export function connectFailure(server: string, thrown: unknown, phase: "tcp" | "tls"): GearmanError {
  const { code, message } = read(thrown);
  const fail = (text: string) => new GearmanError("UNREACHABLE", `${server} ${text}`, { cause: thrown });
  const untrusted = certificateTrouble[code];
  if (untrusted) return tlsError(server, untrusted, thrown);
  if (/^(CERT_|UNABLE_TO_|CRL_|ERR_TLS_|ERR_OSSL_)/.test(code)) return tlsError(server, message, thrown);
  if (/^ERR_SSL_|^EPROTO$/.test(code)) return tlsError(server, handshakeTrouble(code), thrown);
  if (phase === "tls" && (code === "ECONNRESET" || code === "EPIPE")) {
    return tlsError(server, "closed the connection in the handshake: does that port speak TLS?", thrown);
  }
  switch (code) {
    case "ECONNREFUSED":
      return fail("refuses connections: no job server listens there");
    case "ENOTFOUND":
      return fail("can't be reached: no such host");
    case "EAI_AGAIN":
      return fail("can't be reached: its name can't be looked up just now");
    case "EHOSTUNREACH":
    case "ENETUNREACH":
      return fail("can't be reached: no route to it");
    case "ETIMEDOUT":
      return fail("can't be reached: it doesn't answer");
    default:
      return phase === "tls" ? tlsError(server, message, thrown) : fail(`can't be reached: ${message}`);
  }
}

/** Why a connection that stood has ended. */
export function lossFailure(server: string, thrown: unknown): GearmanError {
  const { code, message } = read(thrown);
  if (code.startsWith("ERR_SSL_")) return tlsError(server, handshakeTrouble(code), thrown);
  const silent = ["ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH"].includes(code);
  if (silent)
    return new GearmanError("TIMEOUT", `${server} no longer answers: its network or power is gone`, {
      cause: thrown,
    });
  const dropped = code === "ECONNRESET" || code === "EPIPE";
  return new GearmanError(
    "CLOSED",
    `${server} ${dropped ? "dropped the connection" : `was lost: ${message}`}`,
    { cause: thrown },
  );
}

const certificateTrouble: Readonly<Record<string, string>> = {
  ERR_TLS_CERT_ALTNAME_INVALID:
    "its certificate is for another name: use a name that the certificate carries",
  CERT_HAS_EXPIRED: "its certificate has expired",
  CERT_NOT_YET_VALID: "its certificate isn't valid yet: check this machine's clock",
  DEPTH_ZERO_SELF_SIGNED_CERT: "its certificate is self-signed: give that certificate as tls.ca",
  SELF_SIGNED_CERT_IN_CHAIN: "its certificate was signed by a CA that isn't trusted: give that CA as tls.ca",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    "its certificate was signed by a CA that isn't trusted: give that CA as tls.ca",
  UNABLE_TO_GET_ISSUER_CERT: "its certificate was signed by a CA that isn't trusted: give that CA as tls.ca",
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    "its certificate was signed by a CA that isn't trusted: give that CA as tls.ca",
  CERT_SIGNATURE_FAILURE: "its certificate was not signed by the CA in tls.ca",
};

function handshakeTrouble(code: string): string {
  if (/WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG|EPROTO|HTTP_REQUEST|RECORD_LAYER/.test(code)) {
    return "answers in plain text: remove the tls setting, or use the server's TLS port";
  }
  if (/CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE/.test(code))
    return "demands a client certificate: set tls.cert and tls.key";
  if (/UNKNOWN_CA|BAD_CERTIFICATE/.test(code)) return "doesn't accept this side's certificate (tls.cert)";
  return `refused the handshake (${code
    .replace(/^ERR_SSL_/, "")
    .toLowerCase()
    .replaceAll("_", " ")})`;
}

const tlsError = (server: string, text: string, cause: unknown) =>
  new GearmanError("TLS", `TLS to ${server}: ${text}`, { cause });

/** The code and message of an error; of the first one where several addresses of a host were tried. */
function read(thrown: unknown): { code: string; message: string } {
  const first: unknown = thrown instanceof AggregateError ? (thrown.errors[0] ?? thrown) : thrown;
  if (!(first instanceof Error)) return { code: "", message: String(first) };
  return { code: "code" in first ? String(first.code) : "", message: first.message.split("\n")[0] ?? "" };
}
