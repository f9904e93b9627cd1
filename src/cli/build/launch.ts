/** Submits a build to a job server, as any client would, and follows it to its end. */

import { ManagerCalls } from "#/client/calls.ts";
import { askServer, isOffered } from "#/client/registered.ts";
import { Signer } from "#/client/signer.ts";
import { fetchFunction } from "#/exchange/functions.ts";
import { type AnnouncedInput, formatInputs } from "#/exchange/inputs.ts";
import { BuildKey } from "#/exchange/key.ts";
import type { JsonObject } from "#/exchange/message.ts";
import type { FunctionStatus } from "#/gearman/client/admin.ts";
import { Client, type SubmitOptions } from "#/gearman/client/client.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { nodesFor, whyNoneIsFree } from "#/lab/demand.ts";
import { buildFunction } from "#/zuul/functions.ts";
import { askInfo } from "../transfer/info.ts";
import type { AnnouncedFile, InputFile } from "../transfer/inputs.ts";
import { type AgentResults, askAgent, BuildResults } from "../transfer/results.ts";
import { ShownConsole } from "./console.ts";
import type { Renderer } from "./events.ts";
import { type Ending, followBuild } from "./follow.ts";
import { Line } from "./line.ts";
import { watchQueue } from "./queue.ts";
import { steadyEvents } from "./resume.ts";
import { BuildStop } from "./stop-build.ts";
import { BuildSupply } from "./supply.ts";

export interface Launch {
  readonly job: string;
  /** A class of nodes, or a node's name; absent: any node. */
  readonly node?: string | undefined;
  readonly parameters: Readonly<Record<string, string>>;
  readonly priority?: SubmitOptions["priority"];
  readonly queueTimeoutMs?: number | undefined;
  /** Stops the build, or takes it out of the queue. */
  readonly withdraw?: AbortSignal | undefined;
  /** Called with what the agent says of the build. */
  readonly onData?: ((data: JsonObject) => void) | undefined;
  /** Whether the job server passes data on. */
  readonly receivesData?: boolean;
  /** Without a sign of life for so long the agent stops the build; absent: it doesn't ask for any. */
  readonly clientTimeoutMs?: number | undefined;
  readonly files?: readonly InputFile[];
  /** What the parameters say of the files. */
  readonly announced?: readonly AnnouncedInput[];
  /** Whose signature fetches the results later; absent: a key that ends with this process. */
  readonly key?: BuildKey | undefined;
}

/** A build that has ended, and how its results can be had. */
export interface Launched {
  readonly ending: Ending;
  /** @param manager whose build it was */
  readonly openResults: (manager: string) => OpenResults;
}

export interface OpenResults extends AsyncDisposable {
  readonly results: BuildResults;
}

const defaultLostTimeoutMs = 60_000;

/** Submits a build and doesn't wait for it. @throws GearmanError */
export async function submitBuild(server: ServerAddress, launch: Launch, renderer: Renderer): Promise<void> {
  await using client = await Client.connect(server);
  const { key, parameters } = launch;
  const { uuid, request } = prepare({
    ...launch,
    parameters: { ...(key && { LABGEAR_KEY: key.publicKey }), ...parameters },
  });
  const { handle } = await client.submit({ ...request, background: true });
  renderer.show({ event: "created", job: launch.job, uuid, handle });
}

/**
 * Runs a build to its end.
 * @throws GearmanError; CommandError noServer when the connection is lost for good
 */
export async function launchBuild(
  server: ServerAddress,
  launch: Launch,
  renderer: Renderer,
): Promise<Launched> {
  const { job, node, clientTimeoutMs } = launch;
  const files = announcedFiles(launch);
  const signer = new Signer(launch.key ?? BuildKey.generate());
  const { uuid, request } = prepare({
    ...launch,
    parameters: {
      LABGEAR_STREAM: "1",
      LABGEAR_KEY: signer.key.publicKey,
      ...(launch.announced?.length && { LABGEAR_INPUTS: formatInputs(launch.announced) }),
      ...(clientTimeoutMs !== undefined && { LABGEAR_CLIENT_TIMEOUT: `${clientTimeoutMs / 1000}` }),
      ...launch.parameters,
    },
  });
  const say = (text: string) => renderer.show({ event: "notice", text });
  await using calls = new ManagerCalls(server);
  await using supply = new BuildSupply({ server, signer, uuid, files, clientTimeoutMs, say });
  const resultsAt = (manager: string) =>
    new BuildResults(askAgent({ calls, manager, build: { uuid }, signer }));
  const console = new ShownConsole({
    show: (text) => renderer.show({ event: "output", text }),
    warn: say,
    async results() {
      const { manager } = supply;
      if (manager === undefined) return undefined;
      return isOffered(await askServer(server), fetchFunction(manager)) ? resultsAt(manager) : undefined;
    },
  });
  await using line = new Line(server, request);
  const first = await line.submit();
  renderer.show({ event: "created", job, uuid, handle: line.handle });
  const queued = new AbortController();
  const explain = async (functions: readonly FunctionStatus[]) =>
    whyNoneIsFree(nodesFor(await askInfo(server, functions), { job, target: node }));
  void watchQueue(
    server,
    { function: request.function, handle: line.handle },
    renderer,
    queued.signal,
    explain,
  );
  const stop = new BuildStop(server, line, uuid);
  const events = steadyEvents(first, {
    ...{ server, resultsAt, console, say, lostTimeoutMs: clientTimeoutMs ?? defaultLostTimeoutMs },
    manager: () => supply.manager,
    // The agent knows better, and says so to the first piece.
    wants: () => files.map(({ name }) => ({ name, offset: 0 })),
    time: () => signer.time,
    hasLeft: () => line.left,
    isHandedOut: () => line.isHandedOut(),
    resubmit: () => line.submit(),
  });
  try {
    const ending = await followBuild(events, {
      ...{ renderer, console, stop: (manager, attempt) => stop.try(manager, attempt) },
      ...{
        queueTimeoutMs: launch.queueTimeoutMs,
        withdraw: launch.withdraw,
        receivesData: launch.receivesData,
      },
      onData(data) {
        queued.abort();
        supply.take(data);
        launch.onData?.(data);
      },
    });
    await stop.makeSure();
    return { ending, openResults: (manager) => openResults(server, { manager, build: { uuid }, signer }) };
  } finally {
    queued.abort();
  }
}

function openResults(server: ServerAddress, of: Omit<AgentResults, "calls">): OpenResults {
  const calls = new ManagerCalls(server);
  const results = new BuildResults(askAgent({ calls, ...of }));
  return { results, [Symbol.asyncDispose]: () => calls[Symbol.asyncDispose]() };
}

function announcedFiles({ files = [], announced = [] }: Launch): AnnouncedFile[] {
  return files.map((file) => ({
    ...file,
    size: announced.find(({ name }) => name === file.name)?.size ?? 0,
  }));
}

function prepare({ job, node, parameters, priority = "normal" }: Launch) {
  const uuid = parameters.ZUUL_UUID ?? crypto.randomUUID().replaceAll("-", "");
  const all = { ZUUL_UUID: uuid, ...(node !== undefined && { ZUUL_NODE: node }), ...parameters };
  const request = { function: buildFunction(job, node), unique: uuid, data: JSON.stringify(all), priority };
  return { uuid, request };
}
