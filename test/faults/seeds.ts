/** Plays many seeds, and keeps what came of each in test/.out/faults.jsonl, so that a run can go on where it ended. */
import { execFileSync } from "node:child_process";
import { appendFileSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { inspect } from "node:util";
import { planOf } from "./plan.ts";
import { playScenario } from "./scenario.ts";

const root = new URL("../..", import.meta.url).pathname;
const results = join(root, "test/.out/faults.jsonl");

interface Result {
  readonly seed: number;
  /** Of the sources and tests that it was played with. */
  readonly tree: string;
  readonly ms: number;
  readonly error?: string;
}

export interface SeedsOptions {
  /** How many at once. */
  readonly jobs: number;
  /** Also those that have passed. */
  readonly again: boolean;
  readonly say: (line: string) => void;
}

export const replayOf = (seed: number): string => `npm run faults -- --seed ${seed}`;

export async function playSeeds(
  from: number,
  to: number,
  { jobs, again, say }: SeedsOptions,
): Promise<{ failed: number[]; played: number; resumed: number }> {
  const tree = treeOf();
  const passed = again || tree === undefined ? new Set<number>() : passedSeeds(tree);
  const seeds = Array.from({ length: to - from + 1 }, (_, index) => from + index);
  const left = seeds.filter((seed) => !passed.has(seed));
  const count = left.length;
  const failed: number[] = [];
  const play = async () => {
    for (let seed = left.shift(); seed !== undefined; seed = left.shift()) {
      const begun = performance.now();
      const error = await playScenario(planOf(seed)).then(() => undefined, inspect);
      const ms = Math.round(performance.now() - begun);
      keep({ seed, tree: tree ?? "", ms, ...(error !== undefined && { error }) });
      if (error === undefined) continue;
      failed.push(seed);
      say(
        `seed ${seed} fails after ${ms} ms: ${JSON.stringify(planOf(seed))}\n${error}\nagain: ${replayOf(seed)}`,
      );
    }
  };
  await Promise.all(Array.from({ length: jobs }, play));
  return { failed, played: count, resumed: seeds.length - count };
}

/** Undefined outside a repository, or with changes that no name tells apart. */
function treeOf(): string | undefined {
  try {
    const git = (...args: string[]) => execFileSync("git", args, { cwd: root, encoding: "utf8" }).trim();
    if (git("status", "--porcelain", "--", "src", "test") !== "") return undefined;
    return `${git("rev-parse", "HEAD:src")} ${git("rev-parse", "HEAD:test/faults")}`;
  } catch {
    return undefined;
  }
}

function passedSeeds(tree: string): Set<number> {
  try {
    const lines = readFileSync(results, "utf8").split("\n").filter(Boolean);
    const kept = lines.map((line): Result => JSON.parse(line));
    return new Set(
      kept.filter((one) => one.tree === tree && one.error === undefined).map(({ seed }) => seed),
    );
  } catch {
    return new Set();
  }
}

function keep(result: Result): void {
  mkdirSync(join(root, "test/.out"), { recursive: true });
  appendFileSync(results, `${JSON.stringify(result)}\n`);
}
