/** `servers` and `tls`: the Gearman job servers, and TLS to them. */
import type { SchemaObject } from "ajv";
import { formatAddress } from "#/lib/address.ts";
import type { Finding, Path } from "../errors.ts";
import { address, kinds } from "../kinds.ts";
import { entries, isMapping, type Mapping, mapping } from "../merge.ts";
import { checkFile, type ResolveFile } from "../named-files.ts";

/** TLS to a job server; absolute paths. */
export interface TlsConfig {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

export interface ServerConfig {
  readonly host: string;
  readonly port: number;
  readonly tls?: TlsConfig;
}

export interface TlsDocument {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

/** Both options once they have passed the schema. */
export interface ServersDocument {
  readonly servers?: readonly (string | { readonly server: string; readonly tls?: TlsDocument })[];
  readonly tls?: TlsDocument;
}

function tlsSchema(description: string): SchemaObject {
  return {
    type: "object",
    description,
    additionalProperties: false,
    dependentRequired: { cert: ["key"], key: ["cert"] },
    properties: {
      ca: {
        type: "string",
        kind: kinds.file,
        description:
          "The CA certificates that the server's certificate is verified with (PEM). Default: the system's.",
      },
      cert: { type: "string", kind: kinds.file, description: "This box's client certificate (PEM)." },
      key: { type: "string", kind: kinds.file, description: "The private key of cert (PEM)." },
    },
  };
}

export const serversSchema = {
  type: "array",
  description:
    "The Gearman job servers that labgear takes work from, all at the same time: HOST[:PORT] (default port 4730), or a mapping with server and tls. Without any, labgear uses the job server that listens on 127.0.0.1:4730, or starts an embedded one there.",
  items: {
    type: ["string", "object"],
    kind: kinds.server,
    additionalProperties: false,
    required: ["server"],
    properties: {
      server: { type: "string", kind: kinds.server, description: "The address, HOST[:PORT]." },
      tls: tlsSchema("TLS to this server; replaces the tls for all servers."),
    },
  },
} as const satisfies SchemaObject;

export const allServersTlsSchema = tlsSchema(
  "TLS to all servers. Relative file names start at the folder of the file that contains them.",
);

/** @param data the merged files */
export function checkServers({ servers, tls }: Mapping, resolveFile: ResolveFile): Finding[] {
  const hasNone = servers === undefined || (Array.isArray(servers) && servers.length === 0);
  return [
    ...repeatedServers(servers),
    ...(tls !== undefined && hasNone
      ? [
          {
            path: ["tls"],
            message: "has no effect without servers: the embedded job server listens on loopback only",
          },
        ]
      : []),
    ...checkTls(["tls"], tls, resolveFile),
    ...entries(servers).flatMap(([index, server]) =>
      checkTls(["servers", index, "tls"], server.tls, resolveFile),
    ),
  ];
}

function repeatedServers(servers: unknown): Finding[] {
  if (!Array.isArray(servers)) return [];
  const seen = new Map<string, number>();
  const findings: Finding[] = [];
  for (const [index, entry] of servers.entries()) {
    const text: unknown = isMapping(entry) ? entry.server : entry;
    if (typeof text !== "string" || kinds.server.refuse(text) !== undefined) continue;
    const name = formatAddress(address(text)).toLowerCase();
    const first = seen.get(name);
    if (first === undefined) seen.set(name, index);
    else {
      const message = `the server ${name} is in the list twice (see entry ${first + 1})`;
      findings.push({ path: ["servers", String(index)], message });
    }
  }
  return findings;
}

function checkTls(path: Path, tls: unknown, resolveFile: ResolveFile): Finding[] {
  return ["ca", "cert", "key"].flatMap((key) => checkFile([...path, key], mapping(tls)[key], resolveFile));
}

export function resolveServers(
  { servers = [], tls }: ServersDocument,
  resolveFile: ResolveFile,
): ServerConfig[] {
  return servers.map((entry, index) => {
    const [text, own] = typeof entry === "string" ? [entry, undefined] : [entry.server, entry.tls];
    if (own)
      return { ...address(text), tls: resolveTls(["servers", String(index), "tls"], own, resolveFile) };
    return tls ? { ...address(text), tls: resolveTls(["tls"], tls, resolveFile) } : address(text);
  });
}

function resolveTls(path: Path, tls: TlsDocument, resolveFile: ResolveFile): TlsConfig {
  return Object.fromEntries(
    Object.entries(tls).map(([key, name]) => [key, resolveFile([...path, key], String(name))]),
  );
}
