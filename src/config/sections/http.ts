/** `http`: where the pages and the API are served, and who may see them. */
import type { SchemaObject } from "ajv";
import { type Address, formatAddress } from "#/lib/address.ts";
import type { Finding } from "../errors.ts";
import { address, addressKind, type Kind, kinds } from "../kinds.ts";
import { isMapping, type Mapping, mapping } from "../merge.ts";
import { checkPassword, type ResolveFile } from "../named-files.ts";

export type HttpAuth =
  | { readonly kind: "basic"; readonly user: string; readonly passwordFile: string }
  | { readonly kind: "token"; readonly tokenFile: string };

export interface HttpConfig {
  readonly host: string;
  readonly port: number;
  readonly url: string;
  /** Who may see the pages; undefined: everybody. */
  readonly auth?: HttpAuth;
}

/** The section once it has passed the schema. */
export interface HttpDocument {
  readonly listen?: string;
  readonly url?: string;
  readonly auth?:
    | { readonly user: string; readonly "password-file": string }
    | { readonly "token-file": string };
}

const defaultListen = "127.0.0.1:8430";

function refuseUrl(text: string): string | true | undefined {
  if (!URL.canParse(text)) return true;
  const url = new URL(text);
  if (url.protocol !== "http:" && url.protocol !== "https:") return true;
  if (url.username || url.password) return "must not contain a user name or a password: everybody can see it";
  if (/[?#\s]/.test(text)) return "must not have a query, a fragment or white space";
  return undefined;
}

const listen = addressKind("HOST:PORT, IPv6 in brackets", 0);
const url: Kind = { expected: "an http:// or https:// address", refuse: refuseUrl };

export const httpSchema: SchemaObject = {
  type: ["object", "null"],
  description: "The web pages and the API. They are read-only.",
  additionalProperties: false,
  properties: {
    listen: {
      type: "string",
      kind: listen,
      default: defaultListen,
      description:
        "The address they are served on, HOST:PORT. 0.0.0.0 and [::] mean all addresses, port 0 means any free port.",
    },
    url: {
      type: "string",
      kind: url,
      description:
        "The address that users reach them at, for the links sent to clients. Default: made from listen.",
    },
    auth: {
      type: "object",
      description:
        "Who may see them: either user and password-file, or token-file. Default: everybody who reaches the address.",
      additionalProperties: false,
      dependentRequired: { user: ["password-file"], "password-file": ["user"] },
      properties: {
        user: { type: "string", kind: kinds.user, description: "The user name that goes with the password." },
        "password-file": {
          type: "string",
          kind: kinds.file,
          description: "The file with the password; a relative name starts at the folder of this file.",
        },
        "token-file": {
          type: "string",
          kind: kinds.file,
          description: "The file with the token that clients send as 'Authorization: Bearer TOKEN'.",
        },
      },
    },
  },
};

/** @param data the merged files */
export function checkHttp(data: Mapping, resolveFile: ResolveFile): Finding[] {
  const { auth } = mapping(data.http);
  const path = ["http", "auth"];
  const files = ["password-file", "token-file"].flatMap((key) =>
    checkPassword([...path, key], mapping(auth)[key], resolveFile),
  );
  return [...files, ...(isMapping(auth) ? checkAuth(auth).map((message) => ({ path, message })) : [])];
}

function checkAuth(auth: Mapping): string[] {
  const isToken = "token-file" in auth;
  const isPassword = "user" in auth || "password-file" in auth;
  if (isToken !== isPassword) return [];
  return [`expected either user and password-file or token-file, found ${isToken ? "both" : "neither"}`];
}

export function resolveHttp(document: HttpDocument, hostName: string, resolveFile: ResolveFile): HttpConfig {
  const { host, port } = address(document.listen ?? defaultListen);
  return {
    host,
    port,
    url: (document.url ?? defaultUrl({ host, port }, hostName)).replace(/\/+$/, ""),
    ...(document.auth && { auth: resolveAuth(document.auth, resolveFile) }),
  };
}

/**
 * The address for links when none is configured. For all addresses it has the host's name. For a single address it has that one:
 * links to 127.0.0.1 work on the box itself and through a tunnel, while the host's name would lead to a closed port.
 * Port 0 stays 0: the actual port is known only once the server listens.
 */
function defaultUrl({ host, port }: Address, hostName: string): string {
  return `http://${formatAddress({ host: host === "0.0.0.0" || host === "::" ? hostName : host, port })}`;
}

function resolveAuth(auth: NonNullable<HttpDocument["auth"]>, resolveFile: ResolveFile): HttpAuth {
  const path = ["http", "auth"];
  if ("token-file" in auth)
    return { kind: "token", tokenFile: resolveFile([...path, "token-file"], auth["token-file"]) };
  const passwordFile = resolveFile([...path, "password-file"], auth["password-file"]);
  return { kind: "basic", user: auth.user, passwordFile };
}
