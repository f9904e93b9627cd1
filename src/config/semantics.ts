/** What the schema can't say: options that contradict one another, or the box. Reads data that the schema may have refused. */
import { formatAddress, parseAddress } from "#/lib/address.ts";
import { shown } from "#/lib/text.ts";
import { defaults } from "./defaults.ts";
import type { Finding } from "./explain.ts";
import { refuse } from "./kinds.ts";
import { isMapping } from "./merge.ts";
import { checkDevices } from "./sections/semantics-device.ts";
import { checkFiles } from "./sections/semantics-files.ts";
import { checkJobs } from "./sections/semantics-job.ts";
import type { Path } from "./source.ts";
import { mapping } from "./unchecked.ts";

/** A file's name in the configuration @returns its absolute path, from the folder of the file that names it */
export type ResolveFile = (path: Path, name: string) => string;

/**
 * @param data the merged files
 * @param hostName the manager's name where the files give none
 */
export function checkSemantics(
  data: Readonly<Record<string, unknown>>,
  hostName: string,
  resolveFile: ResolveFile,
): Finding[] {
  const { name, servers, tls } = data;
  const host = name ?? hostName;
  const findings = [
    ...repeatedServers(servers),
    ...checkFiles(data, resolveFile),
    ...checkAuth(mapping(data.http).auth),
    ...checkDevices(data, host),
    ...checkJobs(data, host),
  ];
  if (name === undefined && refuse("name", hostName) !== undefined) {
    findings.push({
      path: ["name"],
      message: `is needed: the host's own, ${shown(hostName)}, can't be used`,
    });
  }
  if (tls !== undefined && (servers === undefined || (Array.isArray(servers) && servers.length === 0))) {
    findings.push({
      path: ["tls"],
      message: "has no effect without servers: the embedded server is on loopback alone",
    });
  }
  return findings;
}

function repeatedServers(servers: unknown): Finding[] {
  if (!Array.isArray(servers)) return [];
  const seen = new Map<string, number>();
  const findings: Finding[] = [];
  for (const [index, entry] of servers.entries()) {
    const text: unknown = isMapping(entry) ? entry.server : entry;
    const address = typeof text === "string" ? parseAddress(text, defaults.serverPort) : undefined;
    if (!address) continue;
    const name = formatAddress(address).toLowerCase();
    const first = seen.get(name);
    if (first === undefined) seen.set(name, index);
    else {
      const message = `the server ${name} is in the list twice (see entry ${first + 1})`;
      findings.push({ path: ["servers", String(index)], message });
    }
  }
  return findings;
}

function checkAuth(auth: unknown): Finding[] {
  if (!isMapping(auth)) return [];
  const isToken = "token-file" in auth;
  const isPassword = "user" in auth || "password-file" in auth;
  if (isToken !== isPassword) return [];
  const found = isToken ? "found both" : "found neither";
  return [
    { path: ["http", "auth"], message: `expected user and password-file, or token-file alone, ${found}` },
  ];
}
