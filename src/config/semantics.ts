/** What the schema can't say: options that contradict one another, or the box. Reads data that the schema may have refused. */
import { accessSync, constants, statSync } from "node:fs";
import { formatAddress, parseAddress } from "./address.ts";
import { defaults } from "./defaults.ts";
import type { Finding } from "./explain.ts";
import { refuse } from "./kinds.ts";
import { isMapping } from "./merge.ts";
import type { Path } from "./source.ts";
import { didYouMean, shown } from "./text.ts";

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
  const findings = [...repeatedServers(servers), ...unofferedNodes(data, hostName)];
  if (name === undefined && refuse("name", hostName) !== undefined) {
    findings.push({
      path: ["name"],
      message: `is needed: the host's own, ${shown(hostName)}, can't be used`,
    });
  }
  const tlsPaths: [Path, unknown][] = [[["tls"], tls]];
  if (Array.isArray(servers)) {
    for (const [index, server] of servers.entries()) {
      if (isMapping(server)) tlsPaths.push([["servers", String(index), "tls"], server.tls]);
    }
  }
  findings.push(...tlsPaths.flatMap(([path, value]) => unreadableFiles(path, value, resolveFile)));
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

/** With `auto` among the classes nobody knows yet what the host offers: then none is reported. */
function unofferedNodes(data: Readonly<Record<string, unknown>>, hostName: string): Finding[] {
  const host = isMapping(data.host) ? data.host : {};
  const classes: unknown = host.classes ?? defaults.classes;
  if (!Array.isArray(classes) || classes.includes("auto") || !isMapping(data.jobs)) return [];
  const offered = [...classes, data.name ?? hostName].filter((name) => typeof name === "string");
  const findings: Finding[] = [];
  for (const [job, value] of Object.entries(data.jobs)) {
    const nodes: unknown = isMapping(value) ? value.nodes : undefined;
    if (!Array.isArray(nodes)) continue;
    for (const [index, node] of nodes.entries()) {
      if (typeof node !== "string" || offered.includes(node)) continue;
      const hint = didYouMean(node, offered) || ` (offered: ${offered.map(shown).join(", ")})`;
      findings.push({
        path: ["jobs", job, "nodes", String(index)],
        message: `no node has the name or class ${shown(node)}${hint}`,
      });
    }
  }
  return findings;
}

function unreadableFiles(path: Path, tls: unknown, resolveFile: ResolveFile): Finding[] {
  if (!isMapping(tls)) return [];
  const findings: Finding[] = [];
  for (const key of ["ca", "cert", "key"]) {
    const name = tls[key];
    if (typeof name !== "string" || name === "" || name.includes("\0")) continue;
    const file = resolveFile([...path, key], name);
    const problem = fileProblem(file);
    if (problem !== undefined) findings.push({ path: [...path, key], message: `${shown(file)} ${problem}` });
  }
  return findings;
}

function fileProblem(file: string): string | undefined {
  try {
    if (!statSync(file).isFile()) return "is not a file";
    accessSync(file, constants.R_OK);
    return undefined;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code === "ENOENT" ? "is not there" : `can't be read (${code}): let this user read it`;
  }
}
