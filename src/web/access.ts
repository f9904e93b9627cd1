/** Who may see the pages: checks the password or token of the configuration, and the Host header. */
import { createHash, timingSafeEqual } from "node:crypto";
import { readFile } from "node:fs/promises";
import { isIP } from "node:net";
import { hostname } from "node:os";
import type { HttpAuth } from "#/config/model.ts";

/** The WWW-Authenticate header of a 401 answer. */
export const challenge = 'Basic realm="labgear", charset="UTF-8"';

/**
 * Checks the Authorization header of a request. The secret's file is read for each request, so a new secret takes effect at once.
 * A token is also accepted as the password of any user, because that is how a browser can send it. Hono's middlewares for
 * basic and bearer authentication run behind the router and each accept one scheme only.
 * @param authorization RFC 7617 (Basic) or RFC 6750 (Bearer)
 * @throws the file system's error if the secret can't be read; the request must be refused then
 */
export async function isAuthorized(auth: HttpAuth, authorization: string | undefined): Promise<boolean> {
  const file = auth.kind === "basic" ? auth.passwordFile : auth.tokenFile;
  const secret = (await readFile(file, "utf8")).replace(/\r?\n$/, "");
  // An empty secret would match an empty password.
  if (secret === "") return false;
  const [, scheme = "", value = ""] = /^(basic|bearer) +(\S+) *$/i.exec(authorization ?? "") ?? [];
  if (scheme.toLowerCase() === "bearer") return auth.kind === "token" && isSame(value, secret);
  if (scheme === "") return false;
  const given = Buffer.from(value, "base64").toString("utf8");
  const colon = given.indexOf(":");
  if (colon < 0) return false;
  const knowsSecret = isSame(given.slice(colon + 1), secret);
  return auth.kind === "basic" ? isSame(given.slice(0, colon), auth.user) && knowsSecret : knowsSecret;
}

/** Compares in a time that doesn't depend on the position of the first difference. */
function isSame(a: string, b: string): boolean {
  const hash = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(hash(a), hash(b));
}

/**
 * Protects pages on a loopback address against DNS rebinding: another site can point its own name at 127.0.0.1 and have a
 * browser on this box read the pages, but it can't change the name that the browser sends.
 * @param url where users reach the pages
 * @returns a check of the Host header: it must be an IP address or one of this box's own names
 */
export function newHostCheck(url: string | undefined): (header: string) => boolean {
  const known = new Set(["localhost", hostname().toLowerCase()]);
  if (url !== undefined && URL.canParse(url)) known.add(new URL(url).hostname.toLowerCase());
  return (header) => {
    const [, bracketed, plain] = /^(?:\[([^\]]*)\]|([^:]*))(?::\d*)?$/.exec(header) ?? [];
    const host = (bracketed ?? plain ?? "").toLowerCase().replace(/\.$/, "");
    return isIP(host) !== 0 || known.has(host) || host.endsWith(".localhost");
  };
}
