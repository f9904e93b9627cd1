/** A verdict by a job's own patterns. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Harness } from "#/runners/harness/harness.ts";
import { lines, read } from "./feeding.ts";

const config = {
  kind: "patterns",
  pass: ["self-test: ok"],
  fail: ["(?i)error|self-test: bad"],
} as const;

test("the first of the two patterns, and a failure takes a pass back", () => {
  const pass = { passed: true, reason: 'the output has "self-test: ok"' };
  assert.deepEqual(read(config, lines("hello", "self-test: \x1b[32mok\x1b[0m")).verdict, pass);
  assert.deepEqual(read(config, "self-test: ok").verdict, pass, "it needs no line end");
  for (const text of [
    lines("ERROR 4", "self-test: ok"),
    lines("self-test: ok", "Error 4"),
    "self-test: ok error",
  ])
    assert.equal(read(config, text).verdict.passed, false, text);
  assert.deepEqual(read(config, lines("hello")).verdict, {
    passed: false,
    reason: "nothing matched self-test: ok",
    cause: "verdict-missing",
  });
});

test("crashes and reboots around the patterns count only if the job says so", () => {
  const own = lines("HardFault handler installed: ok", "***** MPU FAULT *****", "self-test: ok");
  assert.equal(read(config, own).verdict.passed, true);
  const boots = "*** Booting Zephyr OS build v3.7.0 ***";
  assert.equal(read(config, lines(boots, "a watchdog test", boots, "self-test: ok")).verdict.passed, true);
});

test("several patterns in any order, each with its own output", () => {
  const both = { kind: "patterns", pass: ["wifi: ok", "flash: ok"], fail: ["bad", "worse"] } as const;
  for (const all of [
    ["wifi: ok", "flash: ok"],
    ["flash: ok", "x", "wifi: ok"],
  ])
    assert.equal(read(both, lines(...all)).verdict.passed, true, all.join());
  assert.equal(read(both, "flash: ok wifi: ok").verdict.passed, true, "on one line");
  assert.equal(read(both, lines("wifi: ok", "wifi: ok")).verdict.reason, "nothing matched flash: ok");
  for (const all of [
    ["wifi: ok", "worse", "flash: ok"],
    ["wifi: ok", "flash: ok", "bad"],
  ])
    assert.equal(read(both, lines(...all)).verdict.passed, false, all.join());
});

test("with faults: fail, crashes and reboots around the patterns count", () => {
  const config = {
    kind: "patterns",
    pass: ["self-test: ok"],
    fail: ["(?i)error|self-test: bad"],
    faults: "fail",
  } as const;
  assert.equal(read(config, lines("***** MPU FAULT *****", "self-test: ok")).verdict.cause, "panic");
  assert.equal(read(config, lines("self-test: ok", "***** MPU FAULT *****")).verdict.cause, "panic");
  const boot = "*** Booting Zephyr OS build v3.7.0 ***";
  assert.equal(read(config, lines(boot, "self-test: ok")).verdict.passed, true);
  assert.equal(read(config, lines(boot, "E: a log line", boot, "self-test: ok")).verdict.passed, true);
  assert.equal(read(config, lines(boot, "hello", boot, "self-test: ok")).verdict.cause, "rebooted");
  const esp = ["ets Jun  8 2016 00:22:57", "", "rst:0x1 (POWERON_RESET),boot:0x13", "hello"];
  assert.equal(read(config, lines(...esp, "self-test: ok")).verdict.passed, true);
  assert.equal(read(config, lines(...esp, ...esp, "self-test: ok")).verdict.cause, "rebooted");
});

test("what comes before the start text is never matched", () => {
  assert.equal(read(config, lines("self-test: ok", "app 2"), "app 2").verdict.passed, false);
  assert.equal(read(config, lines("error", "app 2", "self-test: ok"), "app 2").verdict.passed, true);
  assert.equal(read(config, lines("app 21", "self-test: ok"), "app 2").verdict.passed, false);
  assert.equal(read(config, "xx app 2 self-test: ok", "app 2").verdict.passed, true);
});

test("a prompt at the end of what came counts when nothing follows", () => {
  const harness = new Harness({ kind: "patterns", pass: ["^> $"], fail: [] });
  harness.feed(Buffer.from("booted\r\n> "));
  const before = harness.verdict;
  harness.quiet();
  assert.deepEqual([before, harness.verdict?.passed], [undefined, true]);
});
