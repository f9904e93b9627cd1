/** The demo, as a newcomer sees it: a build streams, the lab stays up or ends, and nothing of it is left. */
import assert from "node:assert/strict";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { labgear } from "../support/agent.ts";
import { Running } from "./running.ts";

let folder = "";

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "labgear-test-demo-"));
});

after(() => rm(folder, { recursive: true, force: true }));

/** A demo in a temporary directory of its own, and what is left there once it has ended. */
async function demoIn(name: string): Promise<{ env: NodeJS.ProcessEnv; left: () => Promise<string[]> }> {
  const tmp = await mkdtemp(join(folder, `${name}-`));
  return { env: { TMPDIR: tmp }, left: () => readdir(tmp) };
}

test("demo --once streams a build on the box and one on the board, and ends 0", async () => {
  const { env, left } = await demoIn("once");
  const { exitCode, stdout, stderr } = await labgear(["demo", "--once"], { env });
  assert.equal(exitCode, 0, stderr);
  assert.match(stdout, /^hello#1 runs on demo: /m);
  assert.match(stdout, /configure … done\n.*test … done\nSUCCESS after /s);
  assert.match(stdout, /^board-hello#1 runs on board-1: .*measurement 3 … ok\nSUCCESS after /ms);
  assert.deepEqual(await left(), []);
});

test("demo stays up, the commands that it prints work, and Ctrl-C ends it", async () => {
  const { env, left } = await demoIn("up");
  await using demo = Running.start(["demo"], env);
  await demo.until("stdout", "The lab stays up until Ctrl-C.");
  const printed = [...demo.stdout.matchAll(/npm run -s labgear -- (.+)/g)].map(([, line = ""]) => line);
  assert.deepEqual(
    printed.map((line) => line.split(" ", 1)[0]),
    ["functions", "build", "build", "status", "devices", "console", "builds"],
  );
  for (const line of printed) {
    if (line.startsWith("console")) {
      await using watching = Running.start(line.split(" "), {});
      await watching.until("stdout", "\n");
      continue;
    }
    const { exitCode, stdout, stderr } = await labgear(line.split(" "));
    assert.equal(exitCode, 0, stderr);
    assert.match(stdout + stderr, /demo|board-1/, line);
  }
  demo.child.kill("SIGINT");
  assert.equal(await demo.ended, 0);
  assert.deepEqual(await left(), []);
});

test("one Ctrl-C during the build ends the whole lab", async () => {
  const { env, left } = await demoIn("early");
  await using demo = Running.start(["demo"], env);
  await demo.until("stdout", "hello#1 runs on demo");
  demo.child.kill("SIGINT");
  assert.equal(await demo.ended, 3);
  assert.match(demo.stdout, /ABORTED after/);
  assert.deepEqual(await left(), []);
});
