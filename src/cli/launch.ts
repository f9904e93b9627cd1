/** Submits a build to a job server, as any client would, and follows it to its end. */
import { Admin } from "#/gearman/client/admin.ts";
import { Client } from "#/gearman/client/client.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { buildFunction, stopFunction } from "#/zuul/functions.ts";
import { exitCodes } from "./exit.ts";
import { followBuild } from "./follow.ts";
import type { Renderer } from "./render.ts";
import { askAllManagers, askManager, stopArgument } from "./stop.ts";

export interface Launch {
  readonly job: string;
  /** A class of nodes, or a node's name; absent: any node. */
  readonly node?: string | undefined;
  readonly parameters: Readonly<Record<string, string>>;
  /** Do not follow it. */
  readonly detach?: boolean;
}

/**
 * Runs a build.
 * @returns the exit code for its result; success for a detached one
 * @throws GearmanError; CommandError noServer when the connection is lost
 */
export async function launchBuild(
  server: ServerAddress,
  launch: Launch,
  renderer: Renderer,
): Promise<number> {
  const { job, node, detach = false } = launch;
  const uuid = launch.parameters.ZUUL_UUID ?? crypto.randomUUID().replaceAll("-", "");
  const parameters = {
    ZUUL_UUID: uuid,
    ...(node !== undefined && { ZUUL_NODE: node }),
    ...(!detach && { LABGEAR_STREAM: "1" }),
    ...launch.parameters,
  };
  await using client = await Client.connect(server);
  // Without this option gearmand does not pass on why an argument was refused.
  client.wantExceptions();
  const data = JSON.stringify(parameters);
  const asked = { function: buildFunction(job, node), unique: uuid, data, background: detach };
  const submitted = await client.submit(asked);
  const { handle } = submitted;
  renderer.show({ event: "created", job, uuid, handle });
  if (detach) return exitCodes.success;
  let cancelled = false;
  const stop = async (manager: string | undefined, attempt: number) => {
    // A background job: it arrives even if a second Ctrl-C ends this process at once. The unique joins it to an earlier one.
    const ask = { data: stopArgument(uuid), unique: `stop-${uuid}`.slice(0, 64), background: true };
    const asked = manager
      ? client.submit({ function: stopFunction(manager), priority: "high", ...ask })
      : Promise.resolve();
    asked.catch(() => {});
    // The agent that it ran on may be gone, and the build is queued again.
    if (!(await client.status(handle)).running) {
      await using admin = await Admin.connect(server);
      await admin.cancelJob(handle);
      cancelled = true;
      return "cancelled";
    }
    if (manager === undefined) return "unreported";
    await asked;
    // Of agents that share the name, another may have taken that one.
    if (attempt > 1) await askManager(server, manager, uuid);
    return "stopping";
  };
  const code = await followBuild(submitted, { renderer, stop });
  // gearmand also cancels one that has just begun, without a word to its worker.
  if (cancelled) await askAllManagers(server, uuid);
  return code;
}
