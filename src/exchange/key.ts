/**
 * Who a request comes from. Gearman has no access control and a build's uuid is no secret, so the client makes an Ed25519 key pair
 * for each build and signs what it asks for. Nothing secret travels.
 *
 * LABGEAR_KEY is the public key: its 32 bytes (RFC 8032) in base64url without padding. A signature is 64 bytes, encoded like it,
 * over these lines, each ended by a newline, in UTF-8:
 *
 *     labgear-1
 *     OPERATION            send, fetch, type or console
 *     BUILD                its uuid, or NAME#NUMBER
 *     WHAT                 an input's name, a result's path, what is typed (typing.ts), or nothing
 *     OFFSET               in decimal
 *     LENGTH               in decimal: of the bytes that are sent, or asked for
 *     TIME                 in decimal: Unix time in milliseconds, by the agent's clock as far as the client knows it
 *
 * No field can contain a newline. The time bounds how long a captured request can be repeated. Boxes without a battery have clocks
 * that are far off: the first data and the error `clock` tell the agent's time.
 */
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign as signBytes,
  verify as verifyBytes,
} from "node:crypto";
import { ExchangeError } from "./errors.ts";
import { isBuildName, isUuid } from "./message.ts";

/** How far a request's time may be from the agent's clock. @internal */
export const clockToleranceMs = 5 * 60 * 1000;

/** Which build a request means. */
export type BuildSelector = { readonly uuid: string } | { readonly name: string; readonly number: number };

/** What a signature is about. */
export interface Signed {
  readonly operation: "send" | "fetch" | "type" | "console";
  readonly build: BuildSelector;
  readonly what: string;
  readonly offset: number;
  readonly length: number;
  /** Unix milliseconds. */
  readonly time: number;
}

/** A client's key pair of one build. */
export class BuildKey {
  /** As LABGEAR_KEY has it. */
  readonly publicKey: string;
  readonly #private: KeyObject;

  private constructor(privateKey: KeyObject) {
    this.#private = privateKey;
    this.publicKey = createPublicKey(privateKey).export({ format: "jwk" }).x ?? "";
  }

  static generate(): BuildKey {
    return new BuildKey(generateKeyPairSync("ed25519").privateKey);
  }

  /**
   * @param text as export() wrote it
   * @throws ExchangeError malformed
   */
  static import(text: string): BuildKey {
    try {
      const key = createPrivateKey(text);
      if (key.asymmetricKeyType === "ed25519") return new BuildKey(key);
    } catch {
      // Falls through to the error.
    }
    throw new ExchangeError("malformed", "this is no Ed25519 private key in PEM");
  }

  /** The private key as PEM: keep it where only its user reads it. */
  export(): string {
    return this.#private.export({ type: "pkcs8", format: "pem" }).toString();
  }

  sign(signed: Signed): string {
    return signBytes(null, signedBytes(signed), this.#private).toString("base64url");
  }
}

/** @throws ExchangeError malformed */
export function parsePublicKey(text: string): KeyObject {
  if (isBase64url(text, 32)) {
    try {
      return createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x: text }, format: "jwk" });
    } catch {
      // Falls through to the error.
    }
  }
  throw new ExchangeError("malformed", "LABGEAR_KEY is no Ed25519 public key in base64url (43 characters)");
}

/**
 * @param key absent: the build has none
 * @param now Unix milliseconds
 * @throws ExchangeError unsigned, signature or clock
 */
export function verifySignature(
  signed: Signed,
  signature: string | undefined,
  key: KeyObject | undefined,
  now: number,
): void {
  if (!key) throw new ExchangeError("unsigned", "the build was submitted without LABGEAR_KEY");
  if (signature === undefined) throw new ExchangeError("unsigned", "the request has no signature");
  const isGenuine =
    isBase64url(signature, 64) &&
    verifyBytes(null, signedBytes(signed), key, Buffer.from(signature, "base64url"));
  if (!isGenuine) throw new ExchangeError("signature", "the signature isn't by the build's key");
  if (Math.abs(now - signed.time) > clockToleranceMs) {
    const text = "the request's time is more than 5 minutes from the agent's clock";
    throw new ExchangeError("clock", text, { time: now });
  }
}

function signedBytes({ operation, build, what, offset, length, time }: Signed): Buffer {
  const name = "uuid" in build ? build.uuid : `${build.name}#${build.number}`;
  return Buffer.from(
    ["labgear-1", operation, name, what, offset, length, time].map((field) => `${field}\n`).join(""),
  );
}

/** Whether a text is the one encoding of so many bytes. */
function isBase64url(text: string, length: number): boolean {
  const bytes = Buffer.from(text, "base64url");
  return bytes.length === length && bytes.toString("base64url") === text;
}

/**
 * The build that an object names, by `uuid` or by `name` and `number`.
 * @throws ExchangeError malformed
 */
export function parseSelector(object: Readonly<Record<string, unknown>>): BuildSelector {
  const { uuid, name, number } = object;
  if (isUuid(uuid) && name === undefined && number === undefined) return { uuid };
  const isNumber = typeof number === "number" && Number.isSafeInteger(number) && number > 0;
  if (uuid === undefined && isBuildName(name) && isNumber) return { name, number };
  throw new ExchangeError("malformed", `it names no build: it needs "uuid", or "name" and "number"`);
}
