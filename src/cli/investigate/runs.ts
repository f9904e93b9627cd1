/** Runs a build again and again, within so many board minutes, until its verdict is clear. */
import { askServer } from "#/client/registered.ts";
import { isBoardsFault } from "#/devices/errors.ts";
import type { AnnouncedInput } from "#/exchange/inputs.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { formatDuration } from "#/lib/units.ts";
import type { BuildFacts, Renderer, ShownEvent } from "../build/events.ts";
import type { Ending } from "../build/follow.ts";
import { launchBuild } from "../build/launch.ts";
import { CommandError } from "../exit.ts";
import { askInfo } from "../transfer/info.ts";
import { type Original, outcomeOf, type Passed } from "./original.ts";
import { nextRun, type Run } from "./verdict.ts";

/** A repetition, as it is shown. */
export interface ShownRun extends Run {
  readonly node: string;
  readonly facts: BuildFacts;
  readonly result: string | undefined;
  readonly reason: string | undefined;
  readonly cause: string | undefined;
  /** Of the board. */
  readonly tookMs: number;
}

export interface Investigation {
  readonly server: ServerAddress;
  readonly original: Original;
  readonly sibling: string;
  readonly passed: Passed | undefined;
  /** Of all runs together; also how long each may wait for its node. */
  readonly maxMs: number;
  readonly say: (text: string) => void;
  readonly onRun: (run: ShownRun) => void;
}

export interface Investigated {
  readonly runs: readonly ShownRun[];
  readonly usedMs: number;
  /** Why it went no further. */
  readonly why: string;
  readonly interrupted: boolean;
}

const clientTimeoutMs = 60_000;

/** @throws CommandError failure when its inputs are gone; GearmanError, and see launchBuild() */
export async function investigate(investigation: Investigation): Promise<Investigated> {
  const { server, original, maxMs, say, onRun } = investigation;
  const runs: ShownRun[] = [];
  let { passed } = investigation;
  let usedMs = 0;
  const over = (why: string, interrupted = false): Investigated => ({ runs, usedMs, why, interrupted });
  for (;;) {
    const kind = nextRun(original.outcome, runs, passed !== undefined);
    if (!kind) return over(`${runs.length} runs don't tell`);
    const usedUp = `${formatDuration(maxMs)} of board time are used up`;
    if (usedMs >= maxMs) return over(usedUp);
    const node = kind.on === "board" ? original.node : investigation.sibling;
    const inputs = (kind.inputs === "passed" ? passed?.inputs : undefined) ?? original.inputs;
    const outage = await findOutage(server, node);
    if (outage !== undefined) {
      // What keeps a board from its next run is the board's own: a run on it that failed.
      const run = {
        ...kind,
        outcome: "failed",
        node,
        facts: {},
        result: undefined,
        ...outage,
        tookMs: 0,
      } as const;
      runs.push(run);
      onRun(run);
      return over(`${node} is out of order (${outage.cause})`);
    }
    const { ending, tookMs, missing } = await repeat(investigation, node, inputs, maxMs - usedMs);
    usedMs += tookMs;
    if (missing !== undefined) {
      if (kind.inputs === "failed")
        throw new CommandError("failure", `its input ${missing} is gone from its box`);
      say(
        `the input ${missing} of ${passed?.build} is gone from its box, so no build that passed is repeated`,
      );
      passed = undefined;
      continue;
    }
    if (ending.left === "withdrawn") return over(usedUp);
    if (ending.left === "queue-timeout") return over(`${node} took no build within ${formatDuration(maxMs)}`);
    if (ending.left === "interrupted") return over("interrupted", true);
    const outcome = outcomeOf(ending);
    if (outcome === undefined || ending.left !== undefined)
      return over(`a run on ${node} was stopped${ending.reason === undefined ? "" : `: ${ending.reason}`}`);
    const { result, reason, cause } = ending;
    const run = { ...kind, outcome, node, facts: ending, result, reason, cause, tookMs };
    runs.push(run);
    onRun(run);
  }
}

/** Why a board takes no builds, when that is the board's fault or its link's: not when it is paused, or its agent is away. */
async function findOutage(
  server: ServerAddress,
  name: string,
): Promise<{ readonly cause: string; readonly reason: string | undefined } | undefined> {
  const infos = await askInfo(server, await askServer(server));
  const node = infos.flatMap(({ nodes }) => nodes).find((one) => one.name === name);
  if (node?.state !== "held" || !node.outage || !isBoardsFault(node.outage.cause)) return undefined;
  return { cause: node.outage.cause, reason: node.reason };
}

interface Repeated {
  readonly ending: Ending;
  readonly tookMs: number;
  /** An input that the box asks for: it hasn't kept it. */
  readonly missing: string | undefined;
}

async function repeat(
  { server, original, say, maxMs }: Investigation,
  node: string,
  announced: readonly AnnouncedInput[],
  leftMs: number,
): Promise<Repeated> {
  const withdrawn = new AbortController();
  const { job, parameters } = original;
  let begun: number | undefined;
  let timer: NodeJS.Timeout | undefined;
  let missing: string | undefined;
  const show = (event: ShownEvent) => {
    if (event.event === "notice") say(event.text);
    else if (event.event === "waiting") say(`waiting for ${node}: ${event.why}`);
    else if (event.event === "stopping") say(`stopping the build; ${event.again}`);
    else if (event.event === "started" && begun === undefined) {
      begun = performance.now();
      timer = setTimeout(() => withdrawn.abort(), leftMs);
    }
  };
  const renderer: Renderer = { show, [Symbol.dispose]() {} };
  try {
    const { ending } = await launchBuild(
      server,
      {
        ...{ job, node, parameters, announced, priority: "low", clientTimeoutMs, receivesData: true },
        ...{ queueTimeoutMs: maxMs, withdraw: withdrawn.signal },
        onData({ wants }) {
          const [first] = Array.isArray(wants) ? wants : [];
          if (first === undefined || missing !== undefined) return;
          missing = `${first.name}`;
          withdrawn.abort();
        },
      },
      renderer,
    );
    return { ending, tookMs: begun === undefined ? 0 : performance.now() - begun, missing };
  } finally {
    clearTimeout(timer);
  }
}
