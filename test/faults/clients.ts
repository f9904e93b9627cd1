/** The clients of a scenario: each has one build, and in the end one ending of it. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { BuildRecord } from "#/builds/record.ts";
import { Running } from "../cli/running.ts";
import { submit, type Watched } from "../support/clients.ts";
import { sha256 } from "../support/exchange.ts";
import type { PlannedBuild } from "./plan.ts";

export interface ScenarioClient {
  readonly planned: PlannedBuild;
  readonly uuid: string;
  readonly digest: string;
  /** Absent: a command. */
  readonly watched?: Watched;
  readonly running?: Running;
  /** Somebody asked for its end. */
  isStopped: boolean;
  /** It was killed, and hears of no ending. */
  isGone: boolean;
  readonly ended: Promise<unknown>;
}

export async function startClient(
  planned: PlannedBuild,
  uuid: string,
  { port, folder, timeout }: { port: number; folder: string; timeout: string },
): Promise<ScenarioClient> {
  const { job, pauseMs, inputBytes } = planned;
  const PAUSE = (pauseMs / 1000).toFixed(3);
  const input = randomBytes(inputBytes);
  const common = { planned, uuid, digest: sha256(input), isStopped: false, isGone: false };
  const target = job === "ping" ? "mcu" : "lab1";
  if (planned.client === "test") {
    const data = JSON.stringify({ ZUUL_UUID: uuid, PAUSE });
    const watched = await submit(port, { function: `build:${job}:${target}`, unique: uuid, data });
    return { ...common, watched, ended: watched.ended };
  }
  const args = ["build", job, "--node", target, "--server", `127.0.0.1:${port}`, "--json"];
  args.push("-p", `ZUUL_UUID=${uuid}`, ...(job === "ping" ? [] : ["-p", `PAUSE=${PAUSE}`]));
  args.push("--client-timeout", timeout);
  if (job === "copy") {
    const file = join(folder, `${uuid}.input`);
    await writeFile(file, input);
    args.push("--file", `app=${file}`);
  }
  const running = Running.start(args);
  return { ...common, running, ended: running.ended };
}

export interface ToldEnding {
  /** `JOB#NUMBER`; absent: it never began, as far as the client knows. */
  readonly title?: string;
  readonly result?: string;
  readonly cause?: string;
}

const codes = { SUCCESS: 0, FAILURE: 1, ABORTED: 3, TIMED_OUT: 4 } as const;

/** What a command told of its build's end; it says so once, and its exit code fits. */
export async function toldBy(running: Running): Promise<ToldEnding> {
  const code = await running.ended;
  const events = running.stdout.split("\n").filter(Boolean).map(parse);
  // There was no node, or no job server, when it looked: it has submitted nothing.
  if ((code === 6 || code === 7) && !events.some(({ event }) => event === "created")) return {};
  const ends = events.filter(({ event }) => event === "ended");
  assert.equal(ends.length, 1, `one ending, exit code ${code}: ${running.stdout}${running.stderr}`);
  const { name, number, result, cause } = ends[0] ?? {};
  assert.equal(code, result === undefined ? 5 : codes[result as keyof typeof codes], running.stdout);
  return {
    ...(name !== undefined && { title: `${name}#${number}` }),
    ...(result !== undefined && { result }),
    ...(cause !== undefined && { cause }),
  };
}

interface Shown {
  readonly event?: string;
  readonly name?: string;
  readonly number?: number;
  readonly result?: string;
  readonly cause?: string;
}

const parse = (line: string): Shown => JSON.parse(line);

/** The ending is that of a record of this client's uuid. */
export function assertTold(
  { uuid }: ScenarioClient,
  told: ToldEnding,
  records: ReadonlyMap<string, BuildRecord>,
): void {
  const record = told.title === undefined ? undefined : records.get(told.title);
  if (told.result === undefined) {
    const kind = record?.ending?.kind ?? "lost";
    assert.ok(
      ["infrastructure", "lost"].includes(kind),
      `${uuid} was given back, but its record says ${kind}`,
    );
    return;
  }
  const kept = [record?.uuid, record?.result];
  assert.deepEqual(kept, [uuid, told.result], `what was told of ${told.title}`);
}
