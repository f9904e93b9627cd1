/** Verdicts of real images on an emulated microcontroller, read from its tty. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";
import type { VerdictConfig } from "#/config/model.ts";
import { Harness } from "#/runners/harness/harness.ts";
import { TtyLine } from "../../devices/consoles/tty-line.ts";
import { type Image, runId, startFirmware } from "../../targets/firmware.ts";
import { lacksTarget, type Target } from "../../targets/target.ts";

const shell = promisify(execFile);
const skip = lacksTarget("qemuArm");

/** Flashes an image, and reads until it is silent: what it prints after its verdict must not be the next image's. */
async function run(
  target: Target,
  line: TtyLine,
  image: Image,
  kind: "zephyr" | "unity" | "tap",
  start?: string,
) {
  const config: VerdictConfig = { kind };
  const harness = new Harness(config, start);
  await shell("sh", ["-c", target.powerCommand(`flash ${image}`)]);
  // One image prints for ever.
  for (let count = 0; count < 100_000; ) {
    const bytes = await line.read(harness.verdict ? 500 : 2000);
    if (bytes.length === 0) break;
    count += bytes.length;
    harness.feed(bytes);
  }
  const { passed, reason, cause } = harness.end();
  return { passed, reason, cause, cases: harness.cases.map(({ name, status }) => `${name} ${status}`) };
}

test("images that pass, fail, hang and crash", { skip }, async () => {
  await using target = await startFirmware("silent");
  using line = new TtyLine(target.tty);
  const expected: readonly (readonly [Image, "zephyr" | "unity" | "tap", boolean, string | undefined])[] = [
    ["ztest-pass", "zephyr", true, undefined],
    ["ztest-fail", "zephyr", false, undefined],
    ["ztest-hang", "zephyr", false, "verdict-missing"],
    ["ztest-crash", "zephyr", false, "panic"],
    ["ztest-late-crash", "zephyr", false, "panic"],
    ["silent", "zephyr", false, "verdict-missing"],
    ["unity-pass", "unity", true, undefined],
    ["unity-fail", "unity", false, undefined],
    ["unity-hang", "unity", false, "verdict-missing"],
    ["tap-pass", "tap", true, undefined],
    ["tap-fail", "tap", false, undefined],
    ["tap-short", "tap", false, "verdict-missing"],
    ["tap-bail-out", "tap", false, undefined],
    ["ztest-restart", "zephyr", false, "rebooted"],
  ];
  for (const [image, kind, passed, cause] of expected) {
    const verdict = await run(target, line, image, kind);
    assert.deepEqual([image, verdict.passed, verdict.cause], [image, passed, cause], JSON.stringify(verdict));
    if (passed) assert.ok(verdict.cases.length > 1 && !/failed|error/.test(verdict.cases.join()), image);
  }
});

test("an image's own start is told from the one that was there before", { skip }, async () => {
  await using target = await startFirmware("silent");
  using line = new TtyLine(target.tty);
  const start = `RunID: ${runId}`;
  assert.equal((await run(target, line, "ztest-pass", "zephyr", start)).passed, true);
  const old = await run(target, line, "ztest-old", "zephyr", start);
  assert.deepEqual([old.passed, old.cause, old.cases], [false, "verdict-missing", []]);
  const again = await run(target, line, "ztest-again", "zephyr", start);
  assert.deepEqual([again.passed, again.cause], [false, "verdict-missing"]);
});
