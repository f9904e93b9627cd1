/** The gate's configuration: where it listens, who may ask, and what for. */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import type { SchemaObject } from "ajv";
import type { Finding } from "#/config/errors.ts";
import { address, addressKind, type Kind, kinds, matching } from "#/config/kinds.ts";
import { loadFile } from "#/config/load.ts";
import { entries, type Mapping, mapping } from "#/config/merge.ts";
import { checkFile, checkPassword, type ResolveFile } from "#/config/named-files.ts";
import {
  allServersTlsSchema,
  checkServers,
  resolveServers,
  type ServerConfig,
  type ServersDocument,
  serversSchema,
} from "#/config/sections/servers.ts";
import { type Address, isLoopback } from "#/lib/address.ts";
import { parseSubnet, type Subnet } from "#/lib/subnet.ts";
import { shown } from "#/lib/text.ts";
import { checkRules, type RuleDocument, resolveRule, rulesSchema } from "./rule-config.ts";
import type { Rule } from "./rules.ts";

export const defaultGateFile = "/etc/labgear/gate.yaml";

/** Which claims an issuer's tokens have. */
export type IssuerKind = "github" | "gitlab" | "other";

export interface IssuerConfig {
  readonly name: string;
  readonly url: string;
  readonly audience: string;
  readonly kind: IssuerKind;
}

export interface GateConfig {
  readonly listen: Address;
  /** Absent: plain HTTP, on loopback, behind a proxy. */
  readonly tls?: { readonly cert: string; readonly key: string };
  /** Whose X-Forwarded-For is believed. */
  readonly proxies: readonly Subnet[];
  readonly servers: readonly ServerConfig[];
  readonly stateDir: string;
  readonly keepDays: number;
  readonly operators?: { readonly listen: Address; readonly tokenFile?: string };
  readonly issuers: readonly IssuerConfig[];
  /** Static tokens: the file of each, by name. */
  readonly tokens: ReadonlyMap<string, string>;
  readonly rules: readonly Rule[];
}

interface GateDocument {
  readonly listen?: string;
  readonly tls?: { readonly cert: string; readonly key: string };
  readonly proxies?: readonly string[];
  readonly gearman: ServersDocument;
  readonly "state-dir"?: string;
  readonly "keep-days"?: number;
  readonly operators?: { readonly listen: string; readonly "token-file"?: string };
  readonly issuers?: Readonly<Record<string, IssuerDocument>>;
  readonly tokens?: Readonly<Record<string, { readonly file: string }>>;
  readonly rules: readonly RuleDocument[];
}

interface IssuerDocument {
  readonly url: string;
  readonly audience: string;
  readonly kind?: IssuerKind;
}

const defaults = { listen: "0.0.0.0:8443", stateDir: "/var/lib/labgear-gate", keepDays: 30 };

const name = matching("a name of letters, digits, - and _", /^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/);
const listen = addressKind("HOST:PORT, IPv6 in brackets", 0);
const audience = matching("the audience that tokens are made for", /^[\x21-\x7e]{1,255}$/);
const subnet: Kind = {
  expected: "a network such as 10.7.0.0/16, or an address",
  refuse: (text) => (parseSubnet(text) === undefined ? true : undefined),
};
const issuerUrl: Kind = {
  expected: "the https:// address of an issuer",
  refuse: (text) => {
    if (!isSafeUrl(text)) return "must begin with https://: whoever is on the way could issue tokens";
    return /[?#\s]/.test(text) || /\/\/.*@/.test(text) ? true : undefined;
  },
};

/** Plain HTTP only where nobody is on the way. */
export function isSafeUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, hostname } = new URL(text);
  return protocol === "https:" || (protocol === "http:" && isLoopback(hostname.replace(/^\[|\]$/g, "")));
}

export const gateSchema = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  title: "the gate's configuration",
  type: "object",
  additionalProperties: false,
  required: ["gearman", "rules"],
  properties: {
    listen: {
      type: "string",
      kind: listen,
      default: defaults.listen,
      description:
        "The address for clients, HOST:PORT. Without tls it has to be on loopback, behind a proxy.",
    },
    tls: {
      type: "object",
      description: "The gate's own certificate. When a file changes, it is read again.",
      additionalProperties: false,
      required: ["cert", "key"],
      properties: {
        cert: {
          type: "string",
          kind: kinds.file,
          description: "The certificate and those between it and its CA (PEM).",
        },
        key: { type: "string", kind: kinds.file, description: "Its private key (PEM)." },
      },
    },
    proxies: {
      type: "array",
      uniqueItems: true,
      items: { type: "string", kind: subnet },
      description:
        "The proxies in front of the gate: the last address in their X-Forwarded-For is the client's.",
    },
    gearman: {
      type: "object",
      description: "The job servers of the lab.",
      additionalProperties: false,
      required: ["servers"],
      properties: {
        servers: {
          ...serversSchema,
          minItems: 1,
          description:
            "gearmand, or labgear's own: HOST[:PORT] (default port 4730), or a mapping with server and tls.",
        },
        tls: allServersTlsSchema,
      },
    },
    "state-dir": {
      type: "string",
      kind: kinds.file,
      default: defaults.stateDir,
      description: "Builds, owners, minutes, the secret behind the keys of builds, and the audit log.",
    },
    "keep-days": {
      type: "integer",
      minimum: 2,
      maximum: 3650,
      default: defaults.keepDays,
      description: "For how many days ended builds can be asked for. The audit log is kept for a year.",
    },
    operators: {
      type: "object",
      description: "A page of refusals and use, and metrics, on an address of their own. Default: none.",
      additionalProperties: false,
      required: ["listen"],
      properties: {
        listen: {
          type: "string",
          kind: listen,
          description: "HOST:PORT. Without token-file it has to be on loopback.",
        },
        "token-file": {
          type: "string",
          kind: kinds.file,
          description: "The file with the token: as Bearer, or as the password of any user.",
        },
      },
    },
    issuers: {
      type: "object",
      description: "Who issues OpenID Connect tokens, by a name of your choice.",
      propertyNames: { kind: name },
      maxProperties: 32,
      additionalProperties: {
        type: "object",
        additionalProperties: false,
        required: ["url", "audience"],
        properties: {
          url: {
            type: "string",
            kind: issuerUrl,
            description:
              "What its tokens have as iss, such as https://token.actions.githubusercontent.com or https://gitlab.com. Its keys are found from there.",
          },
          audience: { type: "string", kind: audience, description: "What tokens for this gate have as aud." },
          kind: {
            enum: ["github", "gitlab", "other"],
            description:
              "Which claims its tokens have, for the checks of rules. Default: by the address, else other.",
          },
        },
      },
    },
    tokens: {
      type: "object",
      description: "Tokens that stay the same, for Jenkins and people, by name.",
      propertyNames: { kind: name },
      maxProperties: 256,
      additionalProperties: {
        type: "object",
        additionalProperties: false,
        required: ["file"],
        properties: {
          file: {
            type: "string",
            kind: kinds.file,
            description:
              "The file with the token and nothing else, of 24 characters or more: openssl rand -hex 32",
          },
        },
      },
    },
    rules: rulesSchema,
  },
} as const satisfies SchemaObject;

const minTokenLength = 24;

function check(data: Mapping, resolveFile: ResolveFile): Finding[] {
  const below: ResolveFile = (path, file) => resolveFile(["gearman", ...path], file);
  const servers = checkServers(mapping(data.gearman), below);
  return [
    ...checkPair(mapping(data.tls), resolveFile),
    ...servers.map(({ path, message }) => ({ path: ["gearman", ...path], message })),
    ...checkListen(data),
    ...checkPassword(["operators", "token-file"], mapping(data.operators)["token-file"], resolveFile),
    ...checkIssuers(data),
    ...checkTokens(entries(data.tokens), resolveFile),
    ...checkRules(data, new Map(issuersOf(data).map((issuer) => [issuer.name, issuer.kind]))),
  ];
}

function checkListen(data: Mapping): Finding[] {
  const findings: Finding[] = [];
  const isOpen = (text: unknown) =>
    typeof text === "string" && listen.refuse(text) === undefined && !isLoopback(address(text).host);
  if (data.tls === undefined && isOpen(data.listen ?? defaults.listen)) {
    const message = "needs tls: tokens would travel in plain text; behind a proxy, listen on 127.0.0.1:PORT";
    findings.push({ path: ["listen"], message });
  }
  const operators = mapping(data.operators);
  if (operators["token-file"] === undefined && isOpen(operators.listen))
    findings.push({ path: ["operators", "listen"], message: "needs token-file: everybody could read it" });
  return findings;
}

function checkIssuers(data: Mapping): Finding[] {
  const all = entries(data.issuers);
  return all.flatMap(([issuer, { url }], index) => {
    const first = all.slice(0, index).find(([, other]) => typeof url === "string" && other.url === url);
    return first ? [{ path: ["issuers", issuer, "url"], message: `is the issuer ${first[0]} already` }] : [];
  });
}

/** The certificate's key has to be the key: else the gate starts, and each handshake fails. */
function checkPair({ cert, key }: Mapping, resolveFile: ResolveFile): Finding[] {
  const missing = Object.entries({ cert, key }).flatMap(([name, file]) =>
    checkFile(["tls", name], file, resolveFile),
  );
  if (missing.length > 0 || typeof cert !== "string" || typeof key !== "string") return missing;
  const [certFile, keyFile] = [resolveFile(["tls", "cert"], cert), resolveFile(["tls", "key"], key)];
  const certificate = readAs(certFile, /-----BEGIN CERTIFICATE-----/, (pem) => new X509Certificate(pem));
  const privateKey = readAs(keyFile, /-----BEGIN .*PRIVATE KEY-----/, (pem) => createPrivateKey(pem));
  if (!certificate)
    return [{ path: ["tls", "cert"], message: `${shown(certFile)} is no certificate in PEM` }];
  if (!privateKey)
    return [
      { path: ["tls", "key"], message: `${shown(keyFile)} is no private key in PEM without a password` },
    ];
  if (certificate.checkPrivateKey(privateKey)) return [];
  const message = `${shown(keyFile)} is not the key of the first certificate in ${shown(certFile)}`;
  return [{ path: ["tls", "key"], message }];
}

function readAs<T>(file: string, form: RegExp, read: (pem: string) => T): T | undefined {
  try {
    const pem = readFileSync(file, "latin1");
    return form.test(pem) ? read(pem) : undefined;
  } catch {
    return undefined;
  }
}

function checkTokens(tokens: readonly (readonly [string, Mapping])[], resolveFile: ResolveFile): Finding[] {
  const names = new Map<string, string>();
  return tokens.flatMap(([token, { file }]) => {
    const path = ["tokens", token, "file"];
    const wrong = checkPassword(path, file, resolveFile);
    if (wrong.length > 0 || typeof file !== "string") return wrong;
    const found = resolveFile(path, file);
    const text = readFileSync(found, "utf8").trim();
    const problem = tokenProblem(text, names.get(text));
    names.set(text, token);
    return problem === undefined ? [] : [{ path, message: `${shown(found)} ${problem}` }];
  });
}

/** @param other the token with the same secret */
function tokenProblem(text: string, other: string | undefined): string | undefined {
  if (text.length < minTokenLength || !/^[\x21-\x7e]+$/.test(text))
    return `has no token of ${minTokenLength} printable characters or more: openssl rand -hex 32 makes one`;
  if (isSigned(text))
    return "has the form of an issuer's token, and none would match it: openssl rand -hex 32 makes one";
  return other && `has the token of ${other}: each needs its own, openssl rand -hex 32`;
}

/** Whether it has the form of a JSON Web Token; static tokens don't. */
export function isSigned(token: string): boolean {
  return /^[\w-]+\.[\w-]+\.[\w-]*$/.test(token);
}

/** The gate starts all the same: a renewed certificate counts at once. */
export function certificateWarnings({ tls }: GateConfig, now: Date): string[] {
  if (!tls) return [];
  const { validFromDate, validToDate } = new X509Certificate(readFileSync(tls.cert));
  if (now > validToDate) return [`${shown(tls.cert)} has expired: no client trusts this gate`];
  const isEarly = now < validFromDate;
  return isEarly ? [`${shown(tls.cert)} isn't valid yet: is this machine's clock right?`] : [];
}

function issuersOf(data: Mapping): IssuerConfig[] {
  return entries(data.issuers).map(([issuer, { url = "", audience: to = "", kind }]) => ({
    ...{ name: issuer, url: String(url), audience: String(to) },
    kind: (kind as IssuerKind | undefined) ?? kindOf(String(url)),
  }));
}

/** Sources: "OpenID Connect reference" of GitHub's documentation, for github.com and for Enterprise Server; that of GitLab. */
function kindOf(url: string): IssuerKind {
  if (/^https:\/\/token\.actions\.githubusercontent\.com(\/|$)|\/_services\/token\/?$/.test(url))
    return "github";
  return /^https:\/\/([^/]*\.)?gitlab\b/.test(url) ? "gitlab" : "other";
}

function resolve(data: Mapping, resolveFile: ResolveFile): GateConfig {
  const document = data as unknown as GateDocument;
  const { tls, operators, gearman } = document;
  const below: ResolveFile = (path, file) => resolveFile(["gearman", ...path], file);
  const operatorToken = operators?.["token-file"];
  return {
    listen: address(document.listen ?? defaults.listen),
    ...(tls && {
      tls: { cert: resolveFile(["tls", "cert"], tls.cert), key: resolveFile(["tls", "key"], tls.key) },
    }),
    proxies: (document.proxies ?? []).flatMap((text) => parseSubnet(text) ?? []),
    servers: resolveServers(gearman, below),
    stateDir: resolveFile(["state-dir"], document["state-dir"] ?? defaults.stateDir),
    keepDays: document["keep-days"] ?? defaults.keepDays,
    ...(operators && {
      operators: {
        listen: address(operators.listen),
        ...(operatorToken && { tokenFile: resolveFile(["operators", "token-file"], operatorToken) }),
      },
    }),
    issuers: issuersOf(data),
    tokens: new Map(
      Object.entries(document.tokens ?? {}).map(([token, { file }]) => [
        token,
        resolveFile(["tokens", token, "file"], file),
      ]),
    ),
    rules: document.rules.map((rule, index) => resolveRule(rule, index + 1)),
  };
}

/** @throws ConfigError */
export function loadGateConfig(file = defaultGateFile): GateConfig {
  return loadFile(file, { schema: gateSchema, check, resolve });
}
