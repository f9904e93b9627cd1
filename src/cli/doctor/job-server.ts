/** What a job server is, by its own word, and the traps that are known of it. */
import { Admin } from "#/gearman/client/admin.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { describeProcess, listProcesses } from "#/host/proc.ts";
import { formatAddress, isLoopback } from "#/lib/address.ts";
import { shown } from "#/lib/text.ts";
import type { Finding } from "./finding.ts";

/** geard never answers, and everything else does at once. */
const versionTimeoutMs = 3000;
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
