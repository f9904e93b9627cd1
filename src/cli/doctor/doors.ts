/** The doctor's check of the job servers that builds can reach as well: Gearman has no access control. */
import { Admin } from "#/gearman/client/admin.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { buildAccounts } from "#/host/accounts.ts";
import { formatAddress } from "#/lib/address.ts";
import type { Finding } from "./finding.ts";

const timeoutMs = 4000;

/** One finding for each server that answers without a client certificate, as it would answer a build. */
export async function checkDoors(servers: readonly ServerAddress[]): Promise<Finding[]> {
  // Where builds run as the agent's own user, they can read its certificate, too.
  if ((await buildAccounts()).length === 0) return [];
  const answers = await Promise.all(servers.map(isOpen));
  return servers
    .filter((_, index) => answers[index])
    .map((server) => ({
      about: "job server",
      state: "warning",
      text: `${formatAddress(server)} asks for no client certificate: builds can take and submit jobs there, too`,
      advice: "use TLS with client certificates, as the sample configuration shows under tls:",
    }));
}

async function isOpen({ host, port, tls }: ServerAddress): Promise<boolean> {
  const asBuild = { host, port, ...(tls && { tls: tls.ca ? { ca: tls.ca } : {} }) };
  try {
    await using admin = await Admin.connect(asBuild, { timeoutMs, answerTimeoutMs: timeoutMs });
    await admin.status();
  } catch {
    return false;
  }
  return !(await refusesBuilds(asBuild));
}

/** The embedded server knows builds by the owner of their sockets. */
async function refusesBuilds(server: ServerAddress): Promise<boolean> {
  try {
    await using admin = await Admin.connect(server, { timeoutMs, answerTimeoutMs: timeoutMs });
    return (await admin.version()).startsWith("labgear ");
  } catch {
    return false;
  }
}
