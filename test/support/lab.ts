/** A lab for tests: a job server, and boxes that answer `info:` as a test says. */
import type { AgentInfo, NodeInfo } from "#/exchange/info.ts";
import { JobServer } from "#/gearman/server/server.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import type { Job } from "#/gearman/worker/worker.ts";
import { startWorker } from "./gearman.ts";

export const saturday = "2026-11-28T14:02:00.000Z";

export async function startLabServer(): Promise<ServerAddress & AsyncDisposable> {
  const server = new JobServer({ software: "test" });
  const { port } = await server.listen({ host: "127.0.0.1", port: 0 });
  return { host: "127.0.0.1", port, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

export function nodeInfo(name: string, more: Partial<NodeInfo> = {}): NodeInfo {
  return { name, classes: ["mcu"], device: true, state: "free", ...more };
}

export function agentInfo(
  manager: string,
  nodes: readonly NodeInfo[],
  more: Partial<AgentInfo> = {},
): AgentInfo {
  const job = { trust: "lab" as const, checkout: false, debug: false, timeoutSeconds: 60, inputs: [] };
  return {
    ...{ version: 1, manager, program: "labgear", programVersion: "1.0", hostname: `${manager}.example` },
    ...{ url: `http://${manager}.example:8430/`, state: "running", since: saturday, time: 1, nodes },
    jobs: [{ ...job, name: "smoke", nodes: ["mcu"] }],
    counts: { nodes: nodes.length, jobs: 1, executors: nodes.length, running: 0, waiting: 0 },
    ...more,
  };
}

/** A box: what answers `stop:`, and what answers `info:`. @param answer undefined: it hangs */
export async function startBox(server: ServerAddress, name: string, answer?: (job: Job) => Buffer | string) {
  await using resources = new AsyncDisposableStack();
  resources.use(await startWorker([server], [`stop:${name}`]));
  const onJob = async (job: Job) => {
    if (!answer) return new Promise<void>(() => {});
    job.complete(Buffer.from(answer(job)));
  };
  const options = { clientId: "box", ...(answer && { onJob }) };
  resources.use(await startWorker([server], [`info:${name}`], options));
  return resources.move();
}

export const answering = (said: AgentInfo) => () => JSON.stringify(said);
