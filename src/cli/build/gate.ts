/** A build through a gate: what it says comes as server-sent events, and is shown as what a job server would send. */
import { open } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { type GateBuild, type GateClient, GateRefusal } from "#/client/gate.ts";
import { dataEvent } from "#/client/record-data.ts";
import { parseWants, type WantedInput } from "#/exchange/inputs.ts";
import { isCount, type JsonObject, maxPieceBytes } from "#/exchange/message.ts";
import type { JobEvent } from "#/gearman/client/client.ts";
import { GearmanError } from "#/gearman/wire/errors.ts";
import { isSystemError } from "#/lib/errors.ts";
import { CommandError } from "../exit.ts";
import { asRefused, keepBuild } from "../gate-options.ts";
import type { InputFile } from "../transfer/inputs.ts";
import { BuildResults } from "../transfer/results.ts";
import { ShownConsole } from "./console.ts";
import type { Renderer } from "./events.ts";
import { followBuild } from "./follow.ts";
import type { Launch, Launched } from "./launch.ts";
import type { BuildPlace } from "./retry.ts";

const retryIntervalMs = 1000;
/** While the caller has as many builds, or minutes, as it may, and the gate doesn't say when to try again. */
const busyIntervalMs = 10_000;
const defaultLostTimeoutMs = 60_000;

/** @param keyFile where the build's key is kept */
export function gatePlace(gate: GateClient, keyFile: string | undefined): BuildPlace {
  return {
    launch: (launch, renderer) => launchAtGate(gate, launch, renderer, keyFile),
    // The gate's rule says where it may run.
    nextTarget: async ({ node }) => ({ node }),
  };
}

/** Submits it, and again for as long as the gate is busy or can't be reached. @throws CommandError, GearmanError */
export async function submitAtGate(
  gate: GateClient,
  launch: Launch,
  renderer: Renderer,
  keyFile: string | undefined,
): Promise<GateBuild> {
  const { job, node, parameters, priority, announced = [], clientTimeoutMs } = launch;
  const { ZUUL_UUID: _, ...others } = parameters;
  const request = {
    ...{ job, ...(node !== undefined && { node }), parameters: others, inputs: announced },
    ...(priority !== undefined && { priority }),
    ...(clientTimeoutMs !== undefined && { client_timeout: clientTimeoutMs / 1000 }),
  };
  const say = (text: string) => renderer.show({ event: "notice", text });
  const build = await submitUntilTaken(gate, request, { say, queueTimeoutMs: launch.queueTimeoutMs });
  if (keyFile !== undefined) keepBuild(keyFile, build);
  renderer.show({ event: "created", job, uuid: build.uuid });
  return build;
}

/** Again for as long as the gate is busy, or can't be reached. @throws CommandError, GearmanError */
export async function submitUntilTaken(
  gate: GateClient,
  request: JsonObject,
  options: {
    readonly say: (text: string) => void;
    readonly queueTimeoutMs: number | undefined;
    /** Nothing is wanted any more. */
    readonly signal?: AbortSignal;
  },
): Promise<GateBuild> {
  const { say, queueTimeoutMs, signal } = options;
  // The same build, should an answer be lost.
  const idempotencyKey = crypto.randomUUID();
  const begun = performance.now();
  let said = "";
  for (;;) {
    try {
      return await gate.submit(request, idempotencyKey);
    } catch (error) {
      const isBusy = error instanceof GateRefusal && error.code === "busy";
      const isPassing = isBusy || (error instanceof GearmanError && error.code !== "TLS");
      if (!isPassing) return asRefused(error);
      const limitMs = isBusy ? (queueTimeoutMs ?? Number.POSITIVE_INFINITY) : defaultLostTimeoutMs;
      const waitMs = isBusy ? (error.retryAfterMs ?? busyIntervalMs) : retryIntervalMs;
      if (performance.now() - begun + waitMs > limitMs) {
        if (isBusy) throw new CommandError("gaveUp", error.message, { cause: error });
        throw error;
      }
      if (error.message !== said) say(`${error.message}; trying again`);
      said = error.message;
      await delay(waitMs, undefined, { ...(signal && { signal }) }).catch((cause: Error) => {
        throw new GearmanError("CLOSED", error.message, { cause });
      });
    }
  }
}

async function launchAtGate(
  gate: GateClient,
  launch: Launch,
  renderer: Renderer,
  keyFile: string | undefined,
): Promise<Launched> {
  const say = (text: string) => renderer.show({ event: "notice", text });
  const build = await submitAtGate(gate, launch, renderer, keyFile);
  using supply = new GateSupply(gate, build, launch.files ?? [], say);
  const console = new ShownConsole({
    show: (text) => renderer.show({ event: "output", text }),
    warn: say,
  });
  const events = steadyEvents(gate, build, {
    say,
    renderer,
    lostTimeoutMs: launch.clientTimeoutMs ?? defaultLostTimeoutMs,
  });
  const ending = await followBuild(events, {
    ...{ renderer, console, receivesData: true, queueTimeoutMs: launch.queueTimeoutMs },
    async stop() {
      await gate.stop(build);
      return "stopping";
    },
    onData: (data) => supply.take(data),
  });
  const results = new BuildResults((path, offset, length) => gate.piece(build, path, offset, length));
  return { ending, openResults: () => ({ results, [Symbol.asyncDispose]: async () => {} }) };
}

/** To the build's end, over lost lines: each goes on where the last one was cut. */
async function* steadyEvents(
  gate: GateClient,
  build: GateBuild,
  options: {
    readonly say: (text: string) => void;
    readonly renderer: Renderer;
    readonly lostTimeoutMs: number;
  },
): AsyncGenerator<JobEvent> {
  const { say, renderer, lostTimeoutMs } = options;
  let lastId: string | undefined;
  let lostAt: number | undefined;
  for (;;) {
    try {
      for await (const { event, id, data } of gate.events(build, lastId)) {
        if (lostAt !== undefined) say("the line is back");
        lostAt = undefined;
        if (id !== undefined) lastId = id;
        if (event === "end") return;
        if (event === "queue") renderer.show({ event: "waiting", ...waitOf(data) });
        else yield* asJobEvent(event, data);
      }
    } catch (error) {
      const isPassing =
        error instanceof GearmanError || (error instanceof GateRefusal && [429, 503].includes(error.status));
      if (!isPassing) return asRefused(error);
      if (lostAt === undefined) say(`${error.message}; trying to come back`);
      lostAt ??= performance.now();
      if (performance.now() - lostAt > lostTimeoutMs)
        throw new GearmanError("CLOSED", error.message, { cause: error });
      await delay((error instanceof GateRefusal && error.retryAfterMs) || retryIntervalMs);
    }
  }
}

function* asJobEvent(event: string, data: JsonObject): Generator<JobEvent> {
  if (event === "progress" && isCount(data.percent))
    yield { type: "status", numerator: data.percent, denominator: 100 };
  if (event === "data" || event === "output") yield dataEvent(data);
}

export function waitOf({ queued, workers, running }: JsonObject): {
  readonly queued: number;
  readonly why: string;
} {
  const count = isCount(queued) ? queued : 1;
  if (workers === 0) return { queued: count, why: "no node that runs it is connected now" };
  const isFull = isCount(workers) && isCount(running) && running >= workers;
  return {
    queued: count,
    why: isFull ? "all its nodes are busy" : "its nodes are busy with other jobs, paused, or not ready",
  };
}

/** Sends what the build wants, one file after the other, and goes on until it wants nothing. */
class GateSupply implements Disposable {
  readonly #gate: GateClient;
  readonly #build: GateBuild;
  readonly #files: readonly InputFile[];
  readonly #say: (text: string) => void;
  readonly #over = new AbortController();
  readonly #sending = new Set<string>();
  #said = "";

  constructor(gate: GateClient, build: GateBuild, files: readonly InputFile[], say: (text: string) => void) {
    this.#gate = gate;
    this.#build = build;
    this.#files = files;
    this.#say = say;
  }

  take(data: JsonObject): void {
    for (const wanted of parseWants(data)?.wants ?? [])
      if (!this.#sending.has(wanted.name)) void this.#send(wanted);
  }

  /** Never rejects: the agent ends a build whose files don't come. */
  async #send({ name, offset }: WantedInput): Promise<void> {
    const file = this.#files.find((one) => one.name === name);
    if (!file) return;
    this.#sending.add(name);
    try {
      await this.#sendFile(file, offset);
    } catch (error) {
      if (this.#over.signal.aborted) return;
      const isForeseen =
        error instanceof GearmanError || error instanceof GateRefusal || isSystemError(error);
      if (!isForeseen) throw error;
      const text = `${name} is not sent yet: ${error.message}`;
      if (text !== this.#said) this.#say(text);
      this.#said = text;
    } finally {
      this.#sending.delete(name);
    }
  }

  async #sendFile({ name, path }: InputFile, from: number): Promise<void> {
    const { signal } = this.#over;
    await using handle = await open(path);
    const { size } = await handle.stat();
    for (let offset = from; offset < size && !signal.aborted; ) {
      const content = handle.createReadStream({
        start: offset,
        autoClose: false,
        highWaterMark: maxPieceBytes,
      });
      try {
        offset = await this.#gate.send(this.#build, { name, offset, length: size - offset, content }, signal);
      } catch (error) {
        if (!(error instanceof GateRefusal) || error.offset === undefined || error.offset === offset)
          throw error;
        offset = error.offset;
      } finally {
        content.destroy();
      }
    }
  }

  [Symbol.dispose](): void {
    this.#over.abort();
  }
}
