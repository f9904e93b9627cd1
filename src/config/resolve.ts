/** From the validated files to the configuration that the program uses: defaults filled in, units resolved. */
import { dirname, resolve as resolvePath } from "node:path";
import { formatAddress } from "#/lib/address.ts";
import { defaults } from "./defaults.ts";
import type { Config, HttpAuth, ServerConfig, TlsConfig } from "./model.ts";
import type { ConfigDocument, TlsDocument } from "./schema.ts";
import type { HttpAuthDocument } from "./sections/http.ts";
import { resolveDevice } from "./sections/resolve-device.ts";
import { resolveJob } from "./sections/resolve-job.ts";
import type { ResolveFile } from "./semantics.ts";
import { address, bytes, milliseconds } from "./values.ts";

/**
 * @param document has passed the schema and the semantic checks
 * @param files the files it was read from
 * @param hostName for the options that default to it
 */
export function resolveConfig(
  document: ConfigDocument,
  files: readonly string[],
  hostName: string,
  resolveFile: ResolveFile,
): Config {
  const listen = address(document.http?.listen ?? defaults.listen);
  const result = document["infrastructure-result"];
  return {
    files,
    name: document.name ?? hostName,
    servers: (document.servers ?? []).map((_, index) => server(document, index, resolveFile)),
    http: {
      ...listen,
      url: (document.http?.url ?? defaultUrl(listen, hostName)).replace(/\/+$/, ""),
      ...(document.http?.auth && { auth: httpAuth(document.http.auth, resolveFile) }),
    },
    host: {
      classes: document.host?.classes ?? defaults.classes,
      executors: document.host?.executors ?? defaults.executors,
    },
    builds: {
      keep: document.builds?.keep ?? defaults.keep,
      keepDays: document.builds?.["keep-days"] ?? defaults.keepDays,
      minFree: bytes(document.builds?.["min-free"] ?? defaults.minFree),
      maxConsole: bytes(document.builds?.["max-console"] ?? defaults.maxConsole),
    },
    jobs: new Map(
      Object.entries(document.jobs ?? {}).map(([name, entry]) => [name, resolveJob(name, entry)]),
    ),
    devices: new Map(
      Object.entries(document.devices ?? {}).map(([name, entry]) => [
        name,
        resolveDevice(name, entry, resolveFile),
      ]),
    ),
    stopTimeout: milliseconds(document["stop-timeout"] ?? defaults.stopTimeout),
    orphanTimeout: milliseconds(document["orphan-timeout"] ?? defaults.orphanTimeout),
    ...(result !== undefined && { infrastructureResult: result }),
  };
}

/**
 * Where users reach the pages when the files don't say. Behind every address: the host's name. Behind one address,
 * that one; so behind 127.0.0.1 the links work on the box itself and through a tunnel, and nowhere else:
 * the host's name in their place would lead to a port that is closed there. Whoever puts a proxy before it gives the url.
 * With port 0 the port is known only once it listens, so the url is then the caller's to complete.
 */
function defaultUrl({ host, port }: { host: string; port: number }, hostName: string): string {
  return `http://${formatAddress({ host: host === "0.0.0.0" || host === "::" ? hostName : host, port })}`;
}

function server(document: ConfigDocument, index: number, resolveFile: ResolveFile): ServerConfig {
  const entry = document.servers?.[index] ?? "";
  const [text, own] = typeof entry === "string" ? [entry, undefined] : [entry.server, entry.tls];
  const parsed = address(text);
  if (own) return { ...parsed, tls: tls(own, ["servers", String(index), "tls"], resolveFile) };
  return document.tls ? { ...parsed, tls: tls(document.tls, ["tls"], resolveFile) } : parsed;
}

function tls(document: TlsDocument, path: readonly string[], resolveFile: ResolveFile): TlsConfig {
  return Object.fromEntries(
    Object.entries(document).map(([key, name]) => [key, resolveFile([...path, key], String(name))]),
  );
}

function httpAuth(document: HttpAuthDocument, resolveFile: ResolveFile): HttpAuth {
  const path = ["http", "auth"];
  if ("token-file" in document) {
    return { kind: "token", tokenFile: resolveFile([...path, "token-file"], document["token-file"]) };
  }
  const passwordFile = resolveFile([...path, "password-file"], document["password-file"]);
  return { kind: "basic", user: document.user, passwordFile };
}

/** @returns a resolver that takes a name from the folder of the file that `fileOf` says it stands in */
export function fileResolver(fileOf: (path: readonly string[]) => string): ResolveFile {
  return (path, name) => resolvePath(dirname(fileOf(path)), name);
}
