/** Submits a build to a job server, as any client would, and follows it to its end. */
import { Admin } from "#/gearman/client/admin.ts";
import { Client } from "#/gearman/client/client.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { buildFunction, stopFunction } from "#/zuul/functions.ts";
import { exitCodes } from "./exit.ts";
import { followBuild } from "./follow.ts";
import type { Renderer } from "./render.ts";
import { stopArgument } from "./stop.ts";

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
  const stop = async (manager: string) => {
    // A background job: it arrives even if a second Ctrl-C ends this process at once.
    const data = stopArgument(uuid);
    await client.submit({ function: stopFunction(manager), data, priority: "high", background: true });
  };
  const cancel = async () => {
    // gearmand cancels a running job, too, and never tells its worker.
    if ((await client.status(handle)).running) return false;
    await using admin = await Admin.connect(server);
    await admin.cancelJob(handle);
    return true;
  };
  return await followBuild(submitted, { renderer, stop, cancel });
}
