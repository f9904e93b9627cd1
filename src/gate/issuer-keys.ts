/**
 * The keys of an issuer, found by OpenID Connect Discovery, and the check of its tokens. Keys are kept: an issuer that can't be
 * reached doesn't stop tokens whose keys are known.
 *
 *     none ──first token──▶ known ──refreshIntervalMs, or an unknown key──▶ asked again ──▶ known (on failure: as before)
 *                             └──maxAgeMs without an answer──▶ none
 */
import { get as getHttp, type IncomingMessage } from "node:http";
import { get as getHttps } from "node:https";
import { getCACertificates } from "node:tls";
import { createLocalJWKSet, errors, type JSONWebKeySet, type JWTPayload, jwtVerify } from "jose";
import { reason } from "#/lib/errors.ts";
import type { Log } from "#/lib/log.ts";
import { shown } from "#/lib/text.ts";
import { type IssuerConfig, isSafeUrl } from "./config.ts";
import { Refusal } from "./errors.ts";

/** Nothing symmetric: a public key would be the secret. */
const algorithms = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"];

const refreshIntervalMs = 5 * 60 * 1000;
/** So that made-up key ids don't become requests to the issuer. */
const retryIntervalMs = 5000;
const maxAgeMs = 24 * 60 * 60 * 1000;
const answerTimeoutMs = 5000;
const maxAnswerBytes = 256 * 1024;
/** How far clocks may differ. */
const clockToleranceS = 30;
/** GitLab's live as long as their job. */
const maxTokenAge = "24h";

export class IssuerKeys {
  readonly #config: IssuerConfig;
  readonly #log: Log;
  readonly #now: () => number;
  #known: { readonly set: ReturnType<typeof createLocalJWKSet>; readonly at: number } | undefined;
  #triedAt = Number.NEGATIVE_INFINITY;
  #asking: Promise<void> | undefined;
  /** How often its keys couldn't be had. */
  failures = 0;

  /** @param now in milliseconds */
  constructor(config: IssuerConfig, log: Log, now: () => number = Date.now) {
    this.#config = config;
    this.#log = log.child({ issuer: config.name });
    this.#now = now;
  }

  get config(): IssuerConfig {
    return this.#config;
  }

  /** @throws Refusal unauthenticated, or unavailable when no key is known */
  async verify(token: string): Promise<JWTPayload> {
    const now = this.#now();
    if (!this.#known || now - this.#known.at > refreshIntervalMs) await this.#refresh();
    try {
      return await this.#verify(token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw refusal(error);
      await this.#refresh();
      return await this.#verify(token).catch((again: unknown) => {
        throw refusal(again);
      });
    }
  }

  async #verify(token: string): Promise<JWTPayload> {
    if (this.#known && this.#now() - this.#known.at > maxAgeMs) this.#known = undefined;
    if (!this.#known) {
      const why = `the keys of the issuer ${this.#config.name} can't be had`;
      throw new Refusal("unavailable", "the token can't be checked now", { why });
    }
    const { payload } = await jwtVerify(token, this.#known.set, {
      ...{ issuer: this.#config.url, audience: this.#config.audience, algorithms },
      ...{ clockTolerance: clockToleranceS, maxTokenAge, requiredClaims: ["exp", "iat", "sub"] },
      currentDate: new Date(this.#now()),
    });
    return payload;
  }

  /** Never rejects; many that ask at the same time ask once. */
  async #refresh(): Promise<void> {
    if (this.#now() - this.#triedAt < retryIntervalMs) return this.#asking;
    this.#triedAt = this.#now();
    this.#asking = this.#ask().catch((error: unknown) => {
      this.failures += 1;
      this.#log.warn({}, `the keys of ${this.#config.url} can't be had: ${reason(error)}`);
    });
    await this.#asking;
  }

  async #ask(): Promise<void> {
    const { url } = this.#config;
    const discovered = await getJson(`${url.replace(/\/$/, "")}/.well-known/openid-configuration`);
    // OpenID Connect Discovery 1.0, 4.3: it must be the same.
    if (discovered.issuer !== url) throw new Error(`it says that it is ${shown(discovered.issuer)}`);
    const keys = discovered.jwks_uri;
    if (typeof keys !== "string" || !isSafeUrl(keys)) throw new Error("it has no safe jwks_uri");
    const set = createLocalJWKSet((await getJson(keys)) as unknown as JSONWebKeySet);
    this.#known = { set, at: this.#now() };
  }
}

/** What jose says, as one line for the log. */
function refusal(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  return new Refusal("unauthenticated", "the token isn't accepted", { why: explain(error) });
}

function explain(error: unknown): string {
  if (error instanceof errors.JWTExpired)
    return error.claim === "iat" ? "the token is too old" : "the token has expired";
  if (error instanceof errors.JWTClaimValidationFailed) {
    const { claim, payload, reason: kind } = error;
    if (kind === "missing") return `the token has no ${claim}`;
    if (claim === "nbf" || claim === "iat") return `the token isn't valid yet (${claim})`;
    return `the token's ${claim} is another one: ${shown(String(payload[claim]), 200)}`;
  }
  if (error instanceof errors.JWSSignatureVerificationFailed)
    return "the token isn't signed by the issuer's key";
  if (error instanceof errors.JWKSNoMatchingKey) return "no key of the issuer has signed the token";
  if (error instanceof errors.JOSEAlgNotAllowed) return "the token's algorithm isn't allowed";
  if (error instanceof errors.JOSEError) return `the token can't be used: ${error.code}`;
  throw error;
}

/** Never follows a redirect. */
async function getJson(url: string): Promise<Record<string, unknown>> {
  const signal = AbortSignal.timeout(answerTimeoutMs);
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const request = url.startsWith("https:")
      ? getHttps(
          url,
          { signal, ca: [...getCACertificates("default"), ...getCACertificates("system")] },
          resolve,
        )
      : getHttp(url, { signal }, resolve);
    request.on("error", reject);
  });
  if (response.statusCode !== 200) {
    response.destroy();
    throw new Error(`${url} answers ${response.statusCode}`);
  }
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response) {
    size += chunk.length;
    if (size > maxAnswerBytes) throw new Error(`${url} answers with more than ${maxAnswerBytes} bytes`);
    chunks.push(chunk);
  }
  const value: unknown = JSON.parse(Buffer.concat(chunks).toString());
  if (typeof value !== "object" || value === null) throw new Error(`${url} answers with no JSON object`);
  return value as Record<string, unknown>;
}
