/** This host's names and addresses on the network. */
import { execFile } from "node:child_process";
import { hostname, networkInterfaces } from "node:os";
import { promisify } from "node:util";

export interface HostFacts {
  readonly hostname: string;
  readonly fqdn: string;
  /** Without loopback and link-local ones. */
  readonly ips: readonly string[];
}

/** The resolver has two seconds for the full name; after that the short one is used. */
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
