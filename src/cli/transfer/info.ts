/** What all agents on a job server say of themselves: why nobody takes a build, and which boards could in place of another. */
import { answerOf } from "#/client/calls.ts";
import { managersWith } from "#/client/registered.ts";
import { infoFunction } from "#/exchange/functions.ts";
import { type AgentInfo, parseInfo } from "#/exchange/info.ts";
import type { FunctionStatus } from "#/gearman/client/admin.ts";
import { Client } from "#/gearman/client/client.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { nodesFor, type WantedNode } from "#/lab/demand.ts";

const answerTimeoutMs = 4000;

/** Asks all agents at once. Those that don't answer in time are left out; never rejects. */
export async function askInfo(
  server: ServerAddress,
  functions: readonly FunctionStatus[],
): Promise<AgentInfo[]> {
  const managers = managersWith(functions, infoFunction);
  if (managers.length === 0) return [];
  const infos: AgentInfo[] = [];
  try {
    await using client = await Client.connect(server, { timeoutMs: answerTimeoutMs });
    const timer = setTimeout(() => void client[Symbol.asyncDispose](), answerTimeoutMs);
    try {
      await Promise.allSettled(
        managers.map(async (manager) => {
          const name = infoFunction(manager);
          const asked = { function: name, unique: crypto.randomUUID(), data: "", priority: "high" } as const;
          infos.push(parseInfo(await answerOf(await client.submit(asked), name)));
        }),
      );
    } finally {
      clearTimeout(timer);
    }
  } catch {
    // Who follows the build finds out what is wrong with the server.
  }
  return infos;
}

/** Another node for a build that the tried ones have ended without a result: a free one first. */
export function chooseSibling(
  infos: readonly AgentInfo[],
  wanted: WantedNode,
  tried: ReadonlySet<string>,
  isOffered: (node: string) => boolean,
): string | undefined {
  const candidates = nodesFor(infos, wanted).filter(
    ({ name, state }) => state !== "held" && !tried.has(name) && isOffered(name),
  );
  return (candidates.find(({ state }) => state === "free") ?? candidates[0])?.name;
}
