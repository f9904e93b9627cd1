/** Who asks: by a token of an issuer, or by a static one. */
import { createHash, timingSafeEqual } from "node:crypto";
import { readFile } from "node:fs/promises";
import { decodeJwt } from "jose";
import type { Log } from "#/lib/log.ts";
import { inWords, printable, shown } from "#/lib/text.ts";
import { type GateConfig, isSigned } from "./config.ts";
import { Refusal } from "./errors.ts";
import { IssuerKeys } from "./issuer-keys.ts";
import { type Claims, claimsOf } from "./rules.ts";

export interface Caller {
  /** The issuer's name and the token's subject, or the static token's name. */
  readonly id: string;
  readonly claims: Claims;
}

/** What the audit log shows of a caller: no secret, and nothing that only one CI system understands is missing. */
const shownClaims = [
  ...["sub", "repository", "repository_id", "ref", "sha", "event_name", "workflow_ref", "job_workflow_ref"],
  ...["run_id", "run_attempt", "actor", "environment"],
  ...["project_path", "project_id", "pipeline_id", "pipeline_source", "job_id", "user_login"],
];

export function describeCaller({ claims }: Caller): Record<string, string> {
  return Object.fromEntries(
    ["issuer", "token", ...shownClaims].flatMap((name) => {
      const value = claims.get(name);
      return typeof value === "string" ? [[name, value.slice(0, 500)]] : [];
    }),
  );
}

/** In a line, for people in the lab. */
export function nameCaller({ id, claims }: Caller): string {
  const text = (...names: string[]) =>
    names.map((name) => claims.get(name)).find((value) => typeof value === "string");
  const project = text("repository", "project_path");
  const person = text("actor", "user_login", "token") ?? id;
  // A token's claims are text from outside.
  return printable(`${person}${project === undefined ? "" : ` of ${project}`} through the gate`).slice(
    0,
    200,
  );
}

const refuse = (why: string) => new Refusal("unauthenticated", "the token isn't accepted", { why });

export class Callers {
  #issuers: ReadonlyMap<string, IssuerKeys> = new Map();
  #tokens: ReadonlyMap<string, string> = new Map();
  readonly #log: Log;

  constructor(log: Log) {
    this.#log = log;
  }

  /** Issuers that stay as they were keep their keys. */
  use({ issuers, tokens }: Pick<GateConfig, "issuers" | "tokens">): void {
    this.#issuers = new Map(
      issuers.map((config) => {
        const former = this.#issuers.get(config.url);
        const isSame = former && JSON.stringify(former.config) === JSON.stringify(config);
        return [config.url, isSame ? former : new IssuerKeys(config, this.#log)];
      }),
    );
    this.#tokens = tokens;
  }

  get issuers(): readonly IssuerKeys[] {
    return [...this.#issuers.values()];
  }

  /** @throws Refusal unauthenticated, unavailable */
  async identify(token: string | undefined): Promise<Caller> {
    if (token === undefined)
      throw new Refusal("unauthenticated", "a token is needed", { why: "there is no token" });
    return isSigned(token) ? await this.#bySignature(token) : await this.#bySecret(token);
  }

  async #bySignature(token: string): Promise<Caller> {
    const issuer = this.#issuers.get(issuerOf(token));
    if (!issuer) {
      const known = inWords([...this.#issuers.keys()], "or") || "none";
      throw refuse(`the issuer ${shown(issuerOf(token), 200)} is not configured: expected ${known}`);
    }
    const payload = await issuer.verify(token);
    const { name } = issuer.config;
    return { id: `${name}:${payload.sub}`, claims: claimsOf(payload, { issuer: name }) };
  }

  /** All files are read for each token, so a new secret counts at once, and the time doesn't say which one was near. */
  async #bySecret(token: string): Promise<Caller> {
    const given = digest(token);
    let found: string | undefined;
    for (const [name, file] of this.#tokens) {
      const secret = await readFile(file, "utf8").catch((error: Error) => {
        this.#log.error({ token_name: name }, `a token can't be read: ${error.message}`);
        return "";
      });
      if (timingSafeEqual(given, digest(secret.trim())) && secret.trim() !== "") found = name;
    }
    if (found === undefined) throw refuse("no static token is like this one");
    return { id: `token:${found}`, claims: claimsOf({}, { token: found }) };
  }
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}

/** As the token says it; the signature is checked by that issuer's keys. */
function issuerOf(token: string): string {
  try {
    return decodeJwt(token).iss ?? "";
  } catch {
    throw refuse("the token can't be read");
  }
}
