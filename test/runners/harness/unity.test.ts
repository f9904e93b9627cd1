/** What Unity's output says of a run, whole and damaged. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { lines, read } from "./feeding.ts";

const cases = [
  "test/test_led.c:12:test_on:PASS",
  "test/test_led.c:20:test_off:PASS",
  "C:\\src\\test_led.c:31:test_blink:IGNORE: no timer",
];
const end = ["", "-----------------------", "3 Tests 0 Failures 1 Ignored ", "OK"];

test("a run that passes, with its cases", () => {
  const reading = read("unity", lines(...cases, ...end));
  assert.deepEqual(reading.verdict, { passed: true, reason: "3 tests, no failure" });
  assert.deepEqual(
    reading.cases.map(({ suite, name, status, message }) => [suite, name, status, message]),
    [
      ["test/test_led.c", "test_on", "passed", undefined],
      ["test/test_led.c", "test_off", "passed", undefined],
      ["C:\\src\\test_led.c", "test_blink", "skipped", "no timer"],
    ],
  );
});

test("a failing test, with what it says", () => {
  const text = lines(
    "test/test_led.c:12:test_on:FAIL: Expected 1 Was 0",
    "",
    "-----------------------",
    "1 Tests 1 Failures 0 Ignored",
    "FAIL",
  );
  const { verdict, cases } = read("unity", text);
  assert.deepEqual(verdict, { passed: false, reason: "1 of 1 tests failed" });
  assert.deepEqual(cases, [
    {
      suite: "test/test_led.c",
      name: "test_on",
      time: 0,
      status: "failed",
      message: "Expected 1 Was 0",
      details: "test/test_led.c:12: Expected 1 Was 0",
    },
  ]);
});

test("names with colons, colours, and a fixture's verbose and quiet ways", () => {
  const esp = lines(
    "Running i2c: reads...",
    "./main/test_i2c.c:9:i2c: reads:PASS",
    "\x1b[0;32mI (321) wifi: up\x1b[0m",
    "1 Tests 0 Failures 0 Ignored ",
    "\x1b[0;32mOK\x1b[0m",
  );
  assert.equal(read("unity", esp).cases[0]?.name, "i2c: reads");
  assert.equal(read("unity", esp).verdict.passed, true);
  const verbose = lines("TEST(led, on) PASS", "IGNORE_TEST(led, off)", "2 Tests 0 Failures 1 Ignored", "OK");
  assert.equal(read("unity", verbose).verdict.passed, true);
  const quiet = lines("Unity test run 1 of 1", "..!.", "", "4 Tests 0 Failures 1 Ignored", "OK");
  assert.equal(read("unity", quiet).verdict.passed, true);
});

test("counts that contradict each other, the cases or the last line are no pass", () => {
  const ends: (readonly string[])[] = [
    ["0 Tests 0 Failures 0 Ignored", "OK"],
    ["4 Tests 0 Failures 1 Ignored", "OK"],
    ["3 Tests 0 Failures 0 Ignored", "OK"],
    ["3 Tests 1 Failures 1 Ignored", "OK"],
    ["3 Tests 0 Failures 1 Ignored", "FAIL"],
    ["3 Tests 0 Failures 1 Ignored", "3 Tests 0 Failures 1 Ignored", "OK"],
    ["3 Tests 0 Failures 1 Ignored", "OK", "3 Tests 0 Failures 1 Ignored", "OK"],
    ["3 Tests 0 Failures 1 Ignored", "OK", "test.c:9:test_late:PASS"],
    ["3 Tests 0 Failures 1 Ignored", "OK", "***** HARD FAULT *****"],
  ];
  for (const last of ends) {
    const { verdict, said } = read("unity", lines(...cases, ...last));
    assert.deepEqual([verdict.passed, said], [false, true], last.join(" / "));
  }
  const hidden = lines(...cases, "t.c:1:test_x:FAIL: no", "4 Tests 0 Failures 1 Ignored", "OK");
  assert.match(read("unity", hidden).verdict.reason, /among the counts/);
});

test("a damaged or missing end is no verdict", () => {
  const ends = [
    "3 Tests 0 Failures 1 Ignored\r\nOK",
    "3 Tests 0 Failures 1 Ignored\r\nO\0K\r\n",
    "3 Tests 0 Failures 1 Ignored\r\n",
    "3 Tests  Failures 1 Ignored\r\nOK\r\n",
    "OK\r\n",
  ];
  for (const last of ends) {
    const { verdict, said } = read("unity", lines(...cases) + last);
    assert.deepEqual([verdict.passed, verdict.cause, said], [false, "verdict-missing", false], last);
  }
});

test("a failing run never passes, whichever byte is lost or doubled", () => {
  const failing = [
    "a.c:1:test_a:PASS",
    "a.c:2:test_b:FAIL: no",
    "",
    "---",
    "2 Tests 1 Failures 0 Ignored",
    "FAIL",
  ];
  const whole = Buffer.from(lines(...failing));
  for (let at = 0; at < whole.length; at += 1) {
    const before = whole.subarray(0, at);
    for (const after of [
      whole.subarray(at + 1),
      Buffer.concat([whole.subarray(at, at + 1), whole.subarray(at)]),
    ])
      assert.equal(read("unity", Buffer.concat([before, after])).verdict.passed, false);
  }
});
