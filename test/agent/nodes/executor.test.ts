import assert from "node:assert/strict";
import { test } from "node:test";
import { estimateProgress } from "#/agent/nodes/executor.ts";
import { Build } from "#/builds/build.ts";
import { record } from "../../builds/build-parts.ts";

test("the progress grows with the time that the job is expected to take, no more than once a second", (t) => {
  let now = 5000;
  t.mock.method(performance, "now", () => now);
  t.mock.timers.enable({ apis: ["setInterval"] });
  const pass = (milliseconds: number) => {
    now += milliseconds;
    t.mock.timers.tick(milliseconds);
  };
  const build = new Build("/nowhere", record());
  let told = 0;
  build.on("changed", () => told++);
  const estimate = estimateProgress(build, 10_000);
  pass(999);
  assert.equal(build.progress, 0);
  pass(1);
  assert.equal(build.progress, 10);
  for (let second = 0; second < 30; second++) pass(1000);
  assert.equal(build.progress, 99);
  assert.equal(told, 10);
  estimate[Symbol.dispose]();
});

test("nothing is said where nothing is known, or after the end of the estimate", (t) => {
  let now = 0;
  t.mock.method(performance, "now", () => now);
  t.mock.timers.enable({ apis: ["setInterval"] });
  const build = new Build("/nowhere", record());
  const estimates = [undefined, 0, Number.NaN].map((expected) => estimateProgress(build, expected));
  estimateProgress(build, 1000)[Symbol.dispose]();
  now += 1_000_000;
  t.mock.timers.tick(1_000_000);
  assert.equal(build.progress, 0);
  for (const estimate of estimates) estimate[Symbol.dispose]();
});
