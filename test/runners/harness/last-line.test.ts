/** Output as firmware and kernels really print it: without the last line end, with other line ends, behind time stamps. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { VerdictConfig } from "#/config/model.ts";
import { Harness } from "#/runners/harness/harness.ts";
import { lines, read } from "./feeding.ts";

type Kind = "zephyr" | "unity" | "tap";

/** A harness that has read the text, and then nothing for a while. */
function silentAfter(config: VerdictConfig | Kind, text: string): Harness {
  const harness = new Harness(typeof config === "string" ? { kind: config } : config);
  harness.feed(Buffer.from(text));
  harness.quiet();
  return harness;
}

const unity = "a.c:1:test_a:PASS\r\na.c:2:test_b:PASS\r\n\r\n---\r\n2 Tests 0 Failures 0 Ignored \r\n";

const passes: [Kind, string][] = [
  ["unity", `${unity}OK`],
  ["tap", "1..2\nok 1 - a\nok 2 - b"],
  ["tap", "ok 1 - a\nok 2 - b\n1..2"],
  ["zephyr", "START - test_a\nPASS - test_a in 0.001 seconds\nPROJECT EXECUTION SUCCESSFUL"],
];

for (const [kind, text] of passes)
  test(`${kind}: a last line without its end counts after a silence: ${JSON.stringify(text.slice(-12))}`, () => {
    const harness = silentAfter(kind, text);
    assert.equal(harness.verdict?.passed, true);
    const { length } = harness.cases;
    assert.equal(harness.end().passed, true);
    assert.equal(harness.cases.length, kind === "tap" && text.endsWith("b") ? length + 1 : length);
  });

test("a last line that goes on after a silence counts as what it becomes", () => {
  const tap = silentAfter("tap", "1..2\nok 1\nnot ok 2 - b");
  assert.deepEqual([tap.verdict?.passed, tap.isFinal], [false, false]);
  tap.feed(Buffer.from(" # TODO later\n"));
  assert.equal(tap.verdict?.passed, true);
  const plan = silentAfter("tap", "ok 1\nok 2\n1..2");
  plan.feed(Buffer.from("0\n"));
  assert.equal(plan.verdict, undefined, "twenty are planned");
  const okay = silentAfter("unity", `${unity}OK`);
  okay.feed(Buffer.from("AY"));
  assert.equal(okay.verdict, undefined);
  assert.equal(okay.end().cause, "verdict-missing");
});

test("a crash on a last line without its end", () => {
  assert.equal(silentAfter("tap", "1..2\nok 1\nKernel panic - not syncing: x").end().cause, "panic");
  const harness = silentAfter("tap", "1..1\nHardFault");
  harness.feed(Buffer.from("_Handler installed\nok 1\n"));
  assert.equal(harness.verdict?.passed, true);
});

test("faults: ignore, for faults that the tests provoke", () => {
  const text = lines(
    "*** Booting Zephyr OS build v4.1.0 ***",
    "START - test_fault",
    "E: >>> ZEPHYR FATAL ERROR 3: Kernel oops on CPU 0",
    "PASS - test_fault in 0.001 seconds",
    "PROJECT EXECUTION SUCCESSFUL",
  );
  assert.equal(read("zephyr", text).verdict.cause, "panic");
  assert.equal(read({ kind: "zephyr", faults: "ignore" }, text).verdict.passed, true);
});

test("lines end with carriage returns alone, or with a line feed and a carriage return", () => {
  assert.equal(silentAfter("tap", "1..2\rok 1 - a\rok 2 - b\r").verdict?.passed, true);
  assert.equal(read("tap", "1..2\n\rok 1 - a\n\rok 2 - b\n\r").verdict.passed, true);
  assert.equal(read("unity", unity.replaceAll("\r\n", "\n\r").concat("OK\n\r")).verdict.passed, true);
  const damaged = read("tap", "1..2\nok 1 - a\nnot \rok 2 - b\n");
  assert.equal(damaged.verdict.passed, false, "between line feeds it ends no line");
});

const stamps = [
  (n: number) => `[    ${n}.234567] `,
  (n: number) => `[12345${n}.000001][    T1] `,
  (n: number) => `<6>[   1${n}.234567] `,
  (n: number) => `[00:00:0${n}.123,456] <inf> test: `,
];

test("KTAP behind time stamps, with a nested report", () => {
  const ktap = [
    "KTAP version 1",
    "1..2",
    "    KTAP version 1",
    "    # Subtest: example",
    "    1..1",
    "    ok 1 example_add",
    "ok 1 example",
    "random: crng init done",
    "ok 2 - x # SKIP no device",
  ];
  for (const stamp of stamps) {
    const text = lines(...ktap.map((line, n) => stamp(n) + line));
    const { verdict, cases } = read("tap", text);
    assert.deepEqual(verdict, { passed: true, reason: "2 tests, none failed" }, text);
    assert.deepEqual(
      cases.map(({ name }) => name),
      ["example", "x"],
    );
    assert.equal(read("tap", text.replace("ok 1 example\r", "not ok 1 example\r")).verdict.passed, false);
  }
});

test("ztest and Unity behind time stamps", () => {
  const ztest = ["Running TESTSUITE s", "START - test_a", " PASS - test_a in 0.001 seconds"];
  for (const stamp of stamps) {
    const text = lines(...[...ztest, "PROJECT EXECUTION SUCCESSFUL"].map((line, n) => stamp(n) + line));
    const { verdict, cases } = read("zephyr", text);
    assert.equal(verdict.passed, true, verdict.reason);
    assert.deepEqual(cases[0]?.name, "test_a");
    const counts = [...unity.split("\r\n").slice(0, -1), "OK"].map((line) => stamp(1) + line);
    assert.equal(read("unity", lines(...counts)).verdict.passed, true);
  }
});
