import assert from "node:assert/strict";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { SignsOfLife, watchSilence } from "#/agent/nodes/watchdogs.ts";
import { Build } from "#/builds/build.ts";
import type { JobConfig } from "#/config/model.ts";
import { record } from "../../builds/build-parts.ts";
import { testFolder } from "../../support/folders.ts";

/** Both of Node's clocks in the test's hands. @returns lets seconds pass, one by one */
function clock(t: TestContext) {
  let now = 1000;
  t.mock.method(performance, "now", () => now);
  t.mock.timers.enable({ apis: ["setInterval"] });
  return (seconds: number) => {
    for (let second = 0; second < seconds; second++) {
      now += 1000;
      t.mock.timers.tick(1000);
    }
  };
}

const parameters = new Map([["LABGEAR_CLIENT_TIMEOUT", "30"]]);

test("a build lives for as long as its client gives signs of life", (t) => {
  const pass = clock(t);
  const signs = new SignsOfLife(() => true);
  const build = new Build("/nowhere", record({ key: "a key" }));
  using _ = signs.watch(build, parameters);
  for (let sign = 0; sign < 5; sign++) {
    pass(29);
    signs.heard(build);
  }
  pass(29);
  assert.equal(build.state.phase, "assigned");
  pass(1);
  assert.equal(build.state.phase, "stopping");
});

test("what a client can't say while its job server is away isn't missed", (t) => {
  const pass = clock(t);
  let isReachable = true;
  const signs = new SignsOfLife(() => isReachable);
  const build = new Build("/nowhere", record({ key: "a key" }));
  using _ = signs.watch(build, parameters);
  pass(20);
  isReachable = false;
  pass(1000);
  isReachable = true;
  pass(9);
  assert.equal(build.state.phase, "assigned");
  pass(1);
  assert.equal(build.state.phase, "stopping");
});

test("output keeps a silent job's build, and silence counts only while the job runs", async (t) => {
  const pass = clock(t);
  using folder = testFolder();
  const build = new Build(join(folder.path, "1"), record());
  const console = await build.open(1024 * 1024);
  using _ = watchSilence(build, { silenceMs: 30_000 } as JobConfig);
  build.enter("preparing");
  pass(1000);
  build.enter("running");
  for (let line = 0; line < 5; line++) {
    pass(29);
    await console.write(Buffer.from("a line\n"));
  }
  pass(30);
  assert.equal(build.state.phase, "running");
  pass(1);
  assert.equal(build.state.phase, "stopping");
  await console.close();
});
