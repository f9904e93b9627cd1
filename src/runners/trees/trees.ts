/** Chooses how this agent finds its builds' processes. */
import { createHash } from "node:crypto";
import { Helper } from "#/helper/client.ts";
import { debugSocket, helperSocket } from "#/helper/protocol.ts";
import { HostError } from "#/host/errors.ts";
import { loadSystemCalls } from "#/host/syscalls.ts";
import { detectCgroups, type SignalGroup } from "./cgroup.ts";
import { CgroupBase, type Controller } from "./cgroup-base.ts";
import { CgroupTrees } from "./cgroup-tree.ts";
import { Subreaper } from "./subreaper.ts";
import { SweepTrees } from "./sweep-tree.ts";
import type { ProcessTrees } from "./tree.ts";
import { BuildUsers } from "./users.ts";

export type { ProcessTrees } from "./tree.ts";

export interface OpenTrees extends ProcessTrees, AsyncDisposable {
  /** The controllers that enforce limits of builds; none without control groups. */
  readonly enforced: ReadonlySet<Controller>;
  /** One line each: why there are no control groups. */
  readonly warnings: readonly string[];
  /** Absent where builds have no users of their own. */
  readonly helper: Helper | undefined;
}

/**
 * Control groups if this process may use them, else the sweep. Disposing ends every build and removes all groups.
 *
 * @param options.id any text that only this agent has, and has at each start, such as its state directory
 * @throws HostError BUSY when another living agent has our control group
 */
export async function openTrees(options: { id: string }): Promise<OpenTrees> {
  const id = createHash("sha256").update(options.id).digest("hex").slice(0, 16);
  await using resources = new AsyncDisposableStack();
  const helpers = {
    normal: resources.use(new Helper(helperSocket)),
    debug: resources.use(new Helper(debugSocket)),
  };
  const users = await BuildUsers.find(helpers.normal);
  const helper = users && helpers.normal;
  const base = await openBase(id, helper && ((group, signal) => helper.signal(group, signal)));
  const warnings: string[] = [];
  let trees: ProcessTrees;
  const subreaper = base instanceof CgroupBase ? undefined : await Subreaper.become(loadSystemCalls());
  const reason = base instanceof CgroupBase ? "" : base.unavailable;
  // Also with control groups: an earlier agent may have had none.
  const sweep = new SweepTrees({ id, reason, subreaper });
  if (base instanceof CgroupBase) {
    resources.use(base);
    trees = resources.use(new CgroupTrees(base, users && { users, helpers }));
    await helper?.connect().catch((error: Error) => warnings.push(error.message));
  } else {
    resources.use(subreaper);
    trees = resources.use(sweep);
    const how = "a build's processes are searched in /proc, which can miss one that hides well";
    warnings.push(`no control groups: ${reason}; ${how}`);
  }
  const owned = resources.move();
  return {
    kind: trees.kind,
    enforced: base instanceof CgroupBase ? base.enforced : new Set(),
    apart: trees.apart,
    warnings,
    helper: trees.apart ? helper : undefined,
    create: (...what) => trees.create(...what),
    sweepStale: async () =>
      trees === sweep ? sweep.sweepStale() : [...(await trees.sweepStale()), ...(await sweep.sweepStale())],
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function openBase(
  id: string,
  signalGroup: SignalGroup | undefined,
): Promise<CgroupBase | { unavailable: string }> {
  const home = await detectCgroups();
  if ("unavailable" in home) return home;
  try {
    return await CgroupBase.open(home, id, signalGroup);
  } catch (error) {
    if (error instanceof HostError && error.code === "CGROUP") return { unavailable: error.message };
    throw error;
  }
}
