/** Who may look: whoever has the password or the token of the configuration. */
import { createHash, timingSafeEqual } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { HttpAuth } from "#/config/model.ts";

/**
 * Tells by a request's Authorization header whether it may look. The file with the secret is read anew each time, so that a
 * changed one counts at once. Where a token is asked for, a browser gives it as the password of any user.
 * @param authorization RFC 7617 (Basic) or RFC 6750 (Bearer)
 * @throws the file system's error, when the secret can't be read: then nobody may
 */
export async function mayLook(auth: HttpAuth, authorization: string | undefined): Promise<boolean> {
  const file = auth.kind === "basic" ? auth.passwordFile : auth.tokenFile;
  const secret = (await readFile(file, "utf8")).replace(/\r?\n$/, "");
  // An empty secret would let in whoever sends none.
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

/** What a browser or a program is told to send. */
export const challenge = 'Basic realm="labgear", charset="UTF-8"';

/** In a time that doesn't depend on where they differ. */
function isSame(a: string, b: string): boolean {
  const hash = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(hash(a), hash(b));
}
