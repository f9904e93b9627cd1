/** Takes a queued build out of a job server's queue, by its uuid. */
import { Admin } from "#/gearman/client/admin.ts";
import { Client } from "#/gearman/client/client.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { GearmanError } from "#/gearman/wire/errors.ts";
import { parseFunction } from "#/zuul/functions.ts";

/** For the connections and for each answer. */
const serverTimeoutMs = 4000;

/** No agent makes a build of it: see parseBuildArgument. */
const noArgument = "labgear stop asks for the handle of this build";

/**
 * @returns "unknown": nothing of this uuid is queued there; "unable": the server can't say, or can't cancel
 * @throws GearmanError when the server doesn't answer
 */
export async function cancelQueued(
  server: ServerAddress,
  uuid: string,
): Promise<"cancelled" | "unknown" | "unable"> {
  const timeouts = { timeoutMs: serverTimeoutMs, answerTimeoutMs: serverTimeoutMs };
  await using client = await Client.connect(server, timeouts);
  await using admin = await Admin.connect(server, timeouts);
  // geard never answers a request that it doesn't know.
  const timer = setTimeout(() => void client[Symbol.asyncDispose](), serverTimeoutMs);
  try {
    const { known, running } = await client.statusOfUnique(uuid);
    if (!known || running) return "unknown";
    const handle = await findHandle(client, admin, uuid);
    // It may have begun meanwhile, and gearmand cancels a running job, too, without a word to its worker.
    if (handle === undefined || (await client.status(handle)).running) return "unknown";
    await admin.cancelJob(handle);
    return "cancelled";
  } catch (error) {
    if (error instanceof GearmanError && ["REFUSED", "TIMEOUT", "CLOSED"].includes(error.code))
      return "unable";
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

/**
 * No command tells a job's handle by its unique. But a server joins a second submission to the first, and answers with its
 * handle. It does so only within a function, so each with queued builds is tried. What a wrong one makes of it has an argument
 * that no agent builds, and is cancelled at once.
 */
async function findHandle(client: Client, admin: Admin, uuid: string): Promise<string | undefined> {
  const functions = (await admin.status()).filter(
    (entry) => entry.total > entry.running && parseFunction(entry.function)?.kind === "build",
  );
  const jobs = new Map((await admin.showJobs()).map((job) => [job.handle, job]));
  for (const { function: name } of functions) {
    const joined = await client.submit({ function: name, unique: uuid, data: noArgument, priority: "low" });
    const job = jobs.get(joined.handle);
    if (job && !job.ignored) return joined.handle;
    // Our own, or one that was cancelled before: gearmand keeps it until it is its turn.
    await admin.cancelJob(joined.handle).catch(() => {});
  }
  return undefined;
}
