/** Verdicts from the outcomes of runs: a table, and planted cases. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  describeVerdict,
  judge,
  nextRun,
  type Outcome,
  type Run,
  type Verdict,
} from "#/cli/investigate/verdict.ts";
import { seeded } from "../../support/random.ts";

const outcomes: Record<string, Outcome> = { p: "passed", f: "failed", i: "infrastructure" };

/** One letter a run: on the board, on its sibling; with the inputs that passed, on the board, on its sibling. */
function runsOf(text: string): Run[] {
  const kinds = [
    { on: "board", inputs: "failed" },
    { on: "sibling", inputs: "failed" },
    { on: "board", inputs: "passed" },
    { on: "sibling", inputs: "passed" },
  ] as const;
  return text.split(" ").flatMap((letters, index) =>
    [...letters].map((letter) => {
      const [kind, outcome] = [kinds[index], outcomes[letter]];
      if (!kind || !outcome) throw new Error(`no run in ${text}`);
      return { ...kind, outcome };
    }),
  );
}

const names = { board: "mcu-1", sibling: "mcu-2", passed: "smoke#4" };

describe("verdicts", () => {
  const table: readonly [string, Verdict | undefined, RegExp][] = [
    [
      "ff ff p p",
      "software",
      /^software: it fails on both \(2 of 2 on mcu-1, 2 of 2 on mcu-2, 0 of 2 with the inputs of smoke#4\)$/,
    ],
    ["fff fff", "software", /no build that passed was repeated\)$/],
    ["ff p f p", "board", /^board: mcu-1 fails 3 of 3, its sibling mcu-2 0 of 2$/],
    ["ffff pppp", "board", /^board: mcu-1 fails 4 of 4, its sibling mcu-2 0 of 4$/],
    ["fpfpp pfppf", "flaky", /^flaky: .*2 of 5 on mcu-1, 2 of 5 on mcu-2/],
    ["fpp ppf pfp ppf", "flaky", /^flaky: .*2 of 6 with the inputs of smoke#4/],
    ["f f p p", undefined, /^can't tell: .*software 94 %, flaky 6 %\)$/],
    ["i i p i", "infrastructure", /^infrastructure: 3 of 4 runs ended without a result/],
    ["fff fff fff fff", "infrastructure", /^infrastructure: everything fails on both/],
    ["p p", undefined, /^can't tell: time is up \(0 of 1 on mcu-1, .*; (flaky|board) \d+ %, /],
    ["f", undefined, /^can't tell: time is up \(1 of 1 on mcu-1, 0 of 0 on mcu-2; no build that passed/],
    ["f p", undefined, /^can't tell/],
  ];
  for (const [text, verdict, sentence] of table) {
    test(`${text}: ${verdict ?? "can't tell"}`, () => {
      const runs = runsOf(text);
      const judgement = judge("failed", runs);
      assert.equal(judgement.verdict, verdict, JSON.stringify(judgement.likelihoods));
      assert.match(describeVerdict(judgement, "failed", runs, names, "time is up"), sentence);
    });
  }

  test("a build that ended without a result, and passes when repeated: infrastructure", () => {
    const runs = runsOf("ppp ppp ppp ppp");
    const judgement = judge("infrastructure", runs);
    assert.equal(judgement.verdict, "infrastructure", JSON.stringify(judgement.likelihoods));
    const sentence = describeVerdict(judgement, "infrastructure", runs, names, "");
    assert.match(sentence, /its repetitions fail 0 of 12$/);
  });

  test("the likelihoods add up to 1", () => {
    const { likelihoods } = judge("failed", runsOf("f p i f"));
    assert.ok(Math.abs(Object.values(likelihoods).reduce((sum, p) => sum + p) - 1) < 1e-9);
  });
});

test("each node runs each of the inputs before there is a verdict, and it ends", () => {
  const runs: Run[] = [];
  for (let next = nextRun("failed", runs, true); next; next = nextRun("failed", runs, true))
    runs.push({ ...next, outcome: next.inputs === "failed" ? "failed" : "passed" });
  assert.deepEqual(runs.slice(0, 4), runsOf("f f p p"));
  assert.equal(nextRun("failed", runsOf("ff ff"), true)?.inputs, "passed");
  assert.equal(nextRun("failed", runsOf(`${"fp".repeat(8)} ${"f".repeat(16)}`), false), undefined);
});

const verdicts = ["software", "board", "flaky", "infrastructure"] as const;

/** A build that failed for a known reason, and how its repetitions end, with chance in both. */
function plant(verdict: Verdict, random: (bound: number) => number, hasPassed: boolean) {
  const between = (from: number, to: number) => from + ((to - from) * random(1_000_000)) / 1_000_000;
  const base = between(0, 0.02);
  const rates = {
    software: [0.9, 1],
    board: [0.6, 1],
    flaky: [0.15, 0.5],
    infrastructure: [0.3, 1],
  } as const;
  const [least, most] = rates[verdict];
  const fails = between(least, most);
  const isOldFlake = random(2) === 0;
  /** What all boards share is broken; without a build that passed it looks like the software. */
  const isShared = hasPassed && random(10) < 3;
  const chance = (p: number) => between(0, 1) < p;
  const run = ({ on, inputs }: Pick<Run, "on" | "inputs">): Outcome => {
    if (verdict === "infrastructure" && !isShared && chance(fails)) return "infrastructure";
    const p = {
      software: inputs === "failed" ? fails : base,
      board: on === "board" ? fails : base,
      flaky: inputs === "failed" || isOldFlake ? fails : base,
      infrastructure: isShared ? 0.95 : base,
    };
    return chance(p[verdict]) ? "failed" : "passed";
  };
  for (;;) {
    const first = run({ on: "board", inputs: "failed" });
    if (first !== "passed") return { first, run };
  }
}

function investigatePlanted(seed: number, hasPassed: boolean) {
  const random = seeded(seed);
  const counts = { right: 0, wrong: 0, untold: 0 };
  for (let index = 0; index < 300; index++) {
    const verdict = verdicts[index % verdicts.length] ?? "software";
    const { first, run } = plant(verdict, random, hasPassed);
    const runs: Run[] = [];
    for (let next = nextRun(first, runs, hasPassed); next; next = nextRun(first, runs, hasPassed))
      runs.push({ ...next, outcome: run(next) });
    const found = judge(first, runs).verdict;
    counts[found === undefined ? "untold" : found === verdict ? "right" : "wrong"] += 1;
  }
  return counts;
}

test("of 300 planted cases, and of 3,000, at least 95 % get the right verdict", (t) => {
  const all = Array.from({ length: 10 }, (_, index) => investigatePlanted(index + 1, true));
  t.diagnostic(all.map((counts) => JSON.stringify(counts)).join(" "));
  assert.ok((all[0]?.right ?? 0) >= 285);
  assert.ok(all.reduce((sum, { right }) => sum + right, 0) >= 2850);
});

test("without the inputs of a build that passed, at least 90 % of what can be told apart", (t) => {
  const counts = investigatePlanted(1, false);
  t.diagnostic(JSON.stringify(counts));
  assert.ok(counts.right >= 270);
});
