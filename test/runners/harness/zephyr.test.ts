/** What Zephyr's output says of a run, whole and damaged. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { lines, read } from "./feeding.ts";

const line = "=".repeat(67);
const boot = "*** Booting Zephyr OS build v3.7.0 ***";
const oneCase = [`START - test_add`, ` PASS - test_add in 0.001 seconds`, line];
const head = [boot, "Running TESTSUITE maths", line, ...oneCase];
const summary = [
  "TESTSUITE maths succeeded",
  "",
  "------ TESTSUITE SUMMARY START ------",
  "",
  "SUITE PASS - 100.00% [maths]: pass = 1, fail = 0, skip = 0, total = 1 duration = 0.001 seconds",
  " - PASS - [maths.test_add] duration = 0.001 seconds",
  "",
  "------ TESTSUITE SUMMARY END ------",
  "",
  line,
];
const passed = [...head, ...summary, "RunID: 42", "PROJECT EXECUTION SUCCESSFUL"];

test("a run that passes, with its cases", () => {
  const { verdict, cases } = read("zephyr", lines(...passed));
  assert.deepEqual(verdict, { passed: true, reason: "PROJECT EXECUTION SUCCESSFUL, 1 test cases" });
  assert.deepEqual(cases, [{ suite: "maths", name: "test_add", time: 0.001, status: "passed" }]);
});

test("colours, the shell's prompt and log lines in between change nothing", () => {
  const noisy = passed.flatMap((one) => [
    `\x1b[0m${one}\x1b[K`,
    "\x1b[1;33m[00:00:01.234,000] <wrn> net: PASS?\x1b[0m",
  ]);
  assert.equal(read("zephyr", lines(...noisy)).verdict.passed, true);
  const shell = passed.map((one) => `\x1b[8D\x1b[J\x1b[1;32muart:~$ \x1b[m${one}`);
  assert.deepEqual(read("zephyr", lines(...shell)).cases.length, 1);
  assert.equal(read("zephyr", lines(...shell)).verdict.passed, true);
});

test("a failing case, a skipped one, and the reason", () => {
  const text = lines(
    ...head,
    "START - test_b",
    "    Assertion failed at WEST_TOPDIR/x.c:3: maths_test_b: (1 == 2 is false)",
    " FAIL - test_b in 0.012 seconds",
    " SKIP - test_c in 0.000 seconds",
    "PROJECT EXECUTION FAILED",
  );
  const { verdict, cases } = read("zephyr", text);
  assert.deepEqual(verdict, { passed: false, reason: "1 of 3 test cases failed, first test_b" });
  assert.deepEqual(
    cases.map(({ status }) => status),
    ["passed", "failed", "skipped"],
  );
});

test("what is known before the summary is a failure stays one, whatever the end says", () => {
  const failing = [...head, " FAIL - test_b in 0.012 seconds", "PROJECT EXECUTION SUCCESSFUL"];
  assert.match(read("zephyr", lines(...failing)).verdict.reason, /but 1 of 2 test cases failed/);
  const suite = [...head, "TESTSUITE maths failed.", "PROJECT EXECUTION SUCCESSFUL"];
  assert.match(read("zephyr", lines(...suite)).verdict.reason, /but the suite maths failed/);
});

test("a case without an end, or counts that don't fit, is no pass", () => {
  const open = [...head, "START - test_hangs", "PROJECT EXECUTION SUCCESSFUL"];
  const { verdict, cases } = read("zephyr", lines(...open));
  assert.equal(verdict.passed, false);
  assert.deepEqual(cases.at(-1), {
    suite: "maths",
    name: "test_hangs",
    time: 0,
    status: "error",
    message: "it started and never ended",
  });
  const sum = passed.map((one) => one.replace("total = 1", "total = 2"));
  assert.match(read("zephyr", lines(...sum)).verdict.reason, /don't add up/);
  const lost = passed.map((one) => one.replace("pass = 1", "pass = 2").replace("total = 1", "total = 2"));
  assert.match(read("zephyr", lines(...lost)).verdict.reason, /has 2 test cases, 1 came/);
});

test("a case whose own line was damaged is known from the summary", () => {
  const damaged = passed.map((one) => one.replace(" PASS - test_add in", " PASS - te[00:00:01] <inf> hello"));
  const { verdict, cases } = read("zephyr", lines(...damaged));
  assert.equal(verdict.passed, true);
  assert.equal(cases.length, 1);
  const suiteless = passed.filter((one) => !one.startsWith("Running"));
  assert.equal(read("zephyr", lines(...suiteless)).cases.length, 1);
});

test("no verdict from a damaged or unfinished last line", () => {
  const ends = [
    "PROJECT EXECUTION SUCCESSFU\r\n",
    "PROJECT EXECUTION SUCCESSFUL",
    "PROJECT EXECUTION SUC\0CESSFUL\r\n",
    "PROJECT EXECUTION SUCCESSFULL\r\n",
    "xPROJECT EXECUTION SUCCESSFUL\r\n",
    "expecting PROJECT EXECUTION SUCCESSFUL\r\n",
    "PROJECT EXEC[00:00:00] <inf> x: y\r\nUTION SUCCESSFUL\r\n",
  ];
  for (const end of ends) {
    const { verdict, said } = read("zephyr", lines(...head, ...summary) + end);
    assert.deepEqual([said, verdict.passed, verdict.cause], [false, false, "verdict-missing"], end);
  }
});

test("each pass that loses any one byte is a pass of the same cases, or none", () => {
  const whole = Buffer.from(lines(...passed));
  for (let at = 0; at < whole.length; at += 1) {
    const { verdict, cases } = read("zephyr", Buffer.concat([whole.subarray(0, at), whole.subarray(at + 1)]));
    if (verdict.passed) assert.equal(cases.filter(({ status }) => status !== "passed").length, 0);
  }
});

test("a failing run never passes, whichever byte is lost, flipped or doubled", () => {
  const failing = [...head, " FAIL - test_b in 0.012 seconds", "PROJECT EXECUTION FAILED"];
  const whole = Buffer.from(lines(...failing));
  for (let at = 0; at < whole.length; at += 1) {
    const [before, after] = [whole.subarray(0, at), whole.subarray(at + 1)];
    const flipped = Buffer.of((whole[at] ?? 0) ^ 0x20);
    const doubled = whole.subarray(at, at + 1);
    for (const middle of ["", flipped, Buffer.concat([doubled, doubled]), "\0"])
      assert.equal(
        read("zephyr", Buffer.concat([before, Buffer.from(middle as string), after])).verdict.passed,
        false,
      );
  }
});

test("a crash fails the run, also after its pass", () => {
  const fault = ["[00:00:00.010,000] <err> os: >>> ZEPHYR FATAL ERROR 0: CPU exception on CPU 0"];
  for (const text of [lines(...head, ...fault), lines(...passed, ...fault)]) {
    const { verdict } = read("zephyr", text);
    assert.deepEqual([verdict.passed, verdict.cause], [false, "panic"]);
  }
  const kinds = [
    "***** BUS FAULT *****",
    "***** Reserved Exception ( -16) *****",
    "ASSERTION FAIL [x > 0] @ ../src/main.c:12",
    "E: HardFault",
    "Guru Meditation Error: Core  0 panic'ed (LoadProhibited). Exception was unhandled.",
    "abort() was called at PC 0x400d on core 0",
  ];
  for (const kind of kinds) assert.equal(read("zephyr", lines(...passed, kind)).verdict.cause, "panic", kind);
  const harmless = " PASS - test_hardfault_handler in 0.001 seconds";
  assert.equal(read("zephyr", lines(...head, harmless, "PROJECT EXECUTION SUCCESSFUL")).verdict.passed, true);
});

test("a boot in the middle of a run, or after it, is a reboot; two before it are none", () => {
  for (const text of [lines(...head, ...passed), lines(...head.slice(1), boot), lines(...passed, boot)])
    assert.equal(read("zephyr", text).verdict.cause, "rebooted");
  assert.equal(
    read("zephyr", lines(boot, "I: Jumping to the first image slot", ...passed)).verdict.passed,
    true,
  );
});

test("the end twice is no pass", () => {
  const again = read("zephyr", lines(...passed, "PROJECT EXECUTION SUCCESSFUL")).verdict;
  assert.deepEqual(again, { passed: false, reason: "the result of the project came twice" });
  assert.equal(read("zephyr", lines(...passed, "PROJECT EXECUTION FAILED")).verdict.passed, false);
});

test("with a start text, the last image's output can't pass for this one's", () => {
  const old = passed.map((one) => one.replace("42", "41"));
  assert.equal(read("zephyr", lines(...old), "RunID: 42").said, false);
  assert.match(read("zephyr", lines(...old), "RunID: 4").verdict.reason, /"RunID: 4" never came/);
  assert.deepEqual(read("zephyr", lines(...old), "RunID: 42").cases, []);
  const { verdict, cases } = read("zephyr", lines(...old, ...passed), "RunID: 42");
  assert.deepEqual([verdict.passed, cases.length], [true, 1]);
  const hung = [...old, ...head, "RunID: 42"];
  assert.equal(read("zephyr", lines(...hung), "RunID: 42").verdict.cause, "verdict-missing");
  // The new image's boot line was lost: what it seems to have passed may be the last image's.
  assert.equal(
    read("zephyr", lines(...old, ...head.slice(1), "RunID: 42"), "RunID: 42").verdict.passed,
    false,
  );
});

test("a failure of this run before its RunID counts", () => {
  const text = lines(
    boot,
    "START - test_a",
    " FAIL - test_a in 0.1 seconds",
    "RunID: 42",
    "PROJECT EXECUTION SUCCESSFUL",
  );
  assert.equal(read("zephyr", text, "RunID: 42").verdict.passed, false);
});

test("a boot line can be the start", () => {
  const start = "*** Booting Zephyr OS build v3.7.0 ***";
  assert.equal(read("zephyr", lines("PROJECT EXECUTION FAILED", ...passed), start).verdict.passed, true);
  assert.equal(read("zephyr", lines(...passed, boot), start).verdict.cause, "rebooted");
});

test("a flood without line ends is bounded and says nothing", () => {
  const { verdict } = read("zephyr", Buffer.alloc(200_000, "x"));
  assert.equal(verdict.cause, "verdict-missing");
});
