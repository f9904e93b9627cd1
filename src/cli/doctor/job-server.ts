/** What a job server is, by its own word, the traps that are known of it, and whether builds reach it, too. */
import { Admin } from "#/gearman/client/admin.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { buildAccounts } from "#/host/accounts.ts";
import { describeProcess, listProcesses } from "#/host/proc.ts";
import { formatAddress, isLoopback } from "#/lib/address.ts";
import { shown } from "#/lib/text.ts";
import type { Finding } from "./finding.ts";

/** geard never answers, and everything else does at once. */
const versionTimeoutMs = 3000;
/** Of a job server that is tried as a build would. */
const doorTimeoutMs = 4000;
const about = "job server";

/** @param server one that answers */
export async function checkTraps(server: ServerAddress): Promise<Finding[]> {
  const version = await versionOf(server);
  return [identity(server, version), ...plainText(server), ...(await retries(server, version))];
}

async function versionOf(server: ServerAddress): Promise<string | undefined> {
  try {
    const timeouts = { timeoutMs: versionTimeoutMs, answerTimeoutMs: versionTimeoutMs };
    await using admin = await Admin.connect(server, timeouts);
    return await admin.version();
  } catch {
    return undefined;
  }
}

function identity(server: ServerAddress, version: string | undefined): Finding {
  const name = formatAddress(server);
  if (version !== undefined && /^(\d|labgear)/.test(version)) {
    const what = version.startsWith("labgear") ? "the embedded server" : "gearmand";
    return {
      about,
      state: "good",
      text: `${name} is ${what}, version ${shown(version.replace(/^labgear /, ""))}`,
    };
  }
  const text = `${name} doesn't say which version of gearmand it is`;
  const advice =
    "with the Perl job server, clients get no live output and can't send inputs: use gearmand 1.1 or newer";
  return { about, state: "warning", text, advice };
}

function plainText({ host, port, tls }: ServerAddress): Finding[] {
  if (tls || isLoopback(host)) return [];
  const text = `${formatAddress({ host, port })} is reached without TLS: anyone on the way can read and submit jobs`;
  return [
    { about, state: "warning", text, advice: "set tls:, or keep the job server on a network of its own" },
  ];
}

/** gearmand(8), --job-retries: 1, and 0 in versions after 2.0.0, mean that a job is tried once. */
async function retries({ host }: ServerAddress, version = ""): Promise<Finding[]> {
  if (!isLoopback(host)) return [];
  const isDropping = (count: string) => count === "1" || (count === "0" && !/^(1\.|2\.0\.0)/.test(version));
  for (const stat of await listProcesses()) {
    const { command } = await describeProcess(stat);
    const [, count] = /\bgearmand .*(?:--job-retries[= ]|-j ?)(\d+)/.exec(command) ?? [];
    if (count === undefined || !isDropping(count)) continue;
    const text = `gearmand runs with --job-retries=${count}: it drops a build whose box was lost, which should run elsewhere`;
    return [{ about, state: "warning", text, advice: "remove that option" }];
  }
  return [];
}

/** Gearman has no access control: a finding for each server that answers without a client certificate, so builds, too. */
export async function checkDoors(servers: readonly ServerAddress[]): Promise<Finding[]> {
  // Where builds run as the agent's own user, they can read its certificate, too.
  if ((await buildAccounts()).length === 0) return [];
  const answers = await Promise.all(servers.map(isOpen));
  return servers
    .filter((_, index) => answers[index])
    .map((server) => ({
      about,
      state: "warning",
      text: `${formatAddress(server)} asks for no client certificate: builds can take and submit jobs there, too`,
      advice: "use TLS with client certificates, as the sample configuration shows under tls:",
    }));
}

async function isOpen({ host, port, tls }: ServerAddress): Promise<boolean> {
  const asBuild = { host, port, ...(tls && { tls: tls.ca ? { ca: tls.ca } : {} }) };
  try {
    const timeouts = { timeoutMs: doorTimeoutMs, answerTimeoutMs: doorTimeoutMs };
    await using admin = await Admin.connect(asBuild, timeouts);
    await admin.status();
  } catch {
    return false;
  }
  // The embedded server knows builds by the owner of their sockets.
  return !(await versionOf(asBuild))?.startsWith("labgear ");
}
