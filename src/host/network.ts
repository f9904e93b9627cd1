/** How this host is known on the network. */
import { execFile } from "node:child_process";
import { hostname, networkInterfaces } from "node:os";
import { promisify } from "node:util";

export interface HostFacts {
  readonly hostname: string;
  readonly fqdn: string;
  /** Those that others can reach: no loopback, no link-local. */
  readonly ips: readonly string[];
}

/** Asks the system; the resolver is given two seconds for the full name, then the short one stands for it. */
export async function hostFacts(): Promise<HostFacts> {
  const asked = await promisify(execFile)("hostname", ["--fqdn"], { timeout: 2000 }).catch(() => undefined);
  const name = asked?.stdout.trimEnd() ?? "";
  const fqdn = /^[\w.-]+$/.test(name) ? name : hostname();
  const ips = Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(({ internal, address }) => !internal && !/^(fe80:|169\.254\.)/.test(address))
    .map(({ address }) => address);
  return { hostname: hostname(), fqdn, ips };
}
