/** Suspect boards and flaky jobs: the test against published values, and 1,000 simulated histories with planted faults. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { dayMs, findFlaky, findSuspects, fisher, lookOf, outcomeOf, tally } from "#/devices/statistics.ts";
import type { BuildEvent } from "#/lib/board-history.ts";
import { seeded } from "../support/random.ts";
import { scale } from "../support/scale.ts";

const start = Date.parse("2026-01-01T00:00:00Z");
/** Of each board; the window of 30 days holds 60. */
const buildsADay = 2;

test("Fisher's exact test, one-sided", () => {
  // Fisher's tea: Agresti, Categorical Data Analysis, table 3.9: 0.243; all eight right: 1/70.
  const tea = (failed: number, siblingFailed: number) =>
    fisher({ failed, builds: 4, siblingFailed, siblingBuilds: 4 });
  assert.ok(Math.abs(tea(3, 1) - 17 / 70) < 1e-12);
  assert.ok(Math.abs(tea(4, 0) - 1 / 70) < 1e-12);
  assert.equal(tea(0, 4), 1);
  assert.equal(fisher({ failed: 5, builds: 5, siblingFailed: 0, siblingBuilds: 0 }), 1);
  const board = fisher({ failed: 7, builds: 20, siblingFailed: 1, siblingBuilds: 140 });
  assert.ok(board > 1e-7 && board < 1e-5, `${board}`);
});

test("endings count by their cause; stopped builds and those that bring a board up don't", () => {
  const outcome = (ending: string, cause: string, more: Partial<BuildEvent> = {}) =>
    outcomeOf({ at: "", build: "j#1", ending, cause, ...more });
  assert.equal(outcome("passed", "passed"), "passed");
  assert.equal(outcome("failed", "panic"), "failed");
  assert.equal(outcome("timed-out", "timeout"), "failed");
  assert.equal(outcome("infrastructure", "silent"), "failed");
  assert.equal(outcome("infrastructure", "box"), undefined);
  assert.equal(outcome("stopped", "client-gone"), undefined);
  assert.equal(outcome("lost", "lost"), undefined);
  assert.equal(outcome("failed", "input"), undefined);
  assert.equal(outcome("failed", "failed", { uncounted: true }), undefined);
});

/** From 0 to below 1. */
function random(seed: number): () => number {
  const next = seeded(seed);
  return () => next(2 ** 24) / 2 ** 24;
}

interface Plan {
  /** How likely a build fails, by board and day. */
  readonly rate: (board: number, day: number) => number;
  readonly days: number;
  readonly boards?: number;
}

/** Builds of a class, board by board. */
function simulate({ rate, days, boards = 4 }: Plan, chance: () => number): BuildEvent[][] {
  return Array.from({ length: boards }, (_, board) =>
    Array.from({ length: days * buildsADay }, (_, build): BuildEvent => {
      const day = Math.floor(build / buildsADay);
      const at = new Date(start + (build / buildsADay) * dayMs + board * 1000).toISOString();
      const failed = chance() < rate(board, day);
      return {
        at,
        build: `smoke#${build}`,
        ending: failed ? "failed" : "passed",
        cause: failed ? "failed" : "passed",
      };
    }),
  );
}

/** @returns the suspects of each day's look */
function looks(events: readonly BuildEvent[][], from: number, to: number): string[][] {
  return Array.from({ length: to - from }, (_, index) => {
    const end = lookOf(start + (from + index) * dayMs);
    const boards = events.map((ofBoard, board) => ({ name: `${board}`, tallies: tally(ofBoard, end) }));
    return findSuspects(boards).map(({ board }) => board.name);
  });
}

/** @returns the share of histories in which the bad board was found within 60 of its builds, and no other one was */
function power(points: number, seed: number, histories: number): { found: number; wrong: number } {
  const chance = random(seed);
  let found = 0;
  let wrong = 0;
  for (let history = 0; history < histories; history++) {
    const base = 0.05 * chance();
    const badFrom = 30;
    // Bad from its 31st day on, after a month like its siblings'.
    const rate = (board: number, day: number) => base + (board === 0 && day >= badFrom ? points / 100 : 0);
    const suspects = looks(simulate({ rate, days: 60 }, chance), badFrom + 1, badFrom + 31).flat();
    if (suspects.includes("0")) found += 1;
    if (suspects.some((name) => name !== "0")) wrong += 1;
  }
  return { found: found / histories, wrong: wrong / histories };
}

test("a board 30 points worse than its siblings is found within 60 builds in 90 % of histories", (t) => {
  const { found, wrong } = power(30, 1, 1000);
  t.diagnostic(`30 points: found in ${found}, another board suspected in ${wrong}`);
  assert.ok(found >= 0.9, `${found}`);
  assert.ok(wrong <= 0.01, `${wrong}`);
  const weaker = power(15, 2, scale(200, 1000));
  t.diagnostic(`15 points: found in ${weaker.found}`);
  assert.ok(weaker.found >= 0.4, `${weaker.found}`);
  assert.ok(weaker.wrong <= 0.01, `${weaker.wrong}`);
});

test("false alarms: at most 1 % for each class and 30 days, whatever the software does", (t) => {
  const chance = random(3);
  const histories = 1000;
  let alarms = 0;
  for (let history = 0; history < histories; history++) {
    const base = 0.05 * chance();
    const brokenFrom = Math.floor(chance() * 50);
    const plans: readonly Plan["rate"][] = [
      () => base,
      // Broken for ten days, flaky, and half broken: on all boards alike.
      (_, day) => (day >= brokenFrom && day < brokenFrom + 10 ? 0.95 : base),
      () => 0.3,
      (_, day) => (day >= brokenFrom ? 0.5 : base),
    ];
    const rate = plans[history % plans.length] ?? (() => base);
    if (looks(simulate({ rate, days: 60, boards: 2 + (history % 7) }, chance), 31, 61).flat().length > 0)
      alarms += 1;
  }
  t.diagnostic(`false alarms: ${alarms} of ${histories}`);
  assert.ok(alarms <= histories / 100, `${alarms}`);
});

test("flaky: fails now and then on all boards alike; broken software and a bad board are neither", () => {
  const chance = random(4);
  const flaky = (rate: Plan["rate"], suspects: string[] = []) => {
    const events = simulate({ rate, days: 30 }, chance);
    const boards = events.map((ofBoard, board) => ({ name: `${board}`, events: ofBoard }));
    return findFlaky(boards, new Set(suspects), start + 30 * dayMs);
  };
  assert.deepEqual(
    flaky(() => 0.15),
    ["smoke"],
  );
  assert.deepEqual(
    flaky(() => 0),
    [],
  );
  assert.deepEqual(
    flaky((_, day) => (day >= 20 ? 1 : 0)),
    [],
  );
  assert.deepEqual(
    flaky((board) => (board === 0 ? 0.4 : 0)),
    [],
  );
  assert.deepEqual(
    flaky((board) => (board === 0 ? 0.4 : 0.05), ["smoke"]),
    [],
  );
});
