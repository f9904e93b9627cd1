/** What TAP output says of a run, whole and damaged. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { lines, read } from "./feeding.ts";

test("plan first, with skips, things to do, subtests and diagnostics", () => {
  const text = lines(
    "TAP version 14",
    "1..5",
    "ok 1 - adds",
    "not ok 2 - divides # TODO no FPU yet",
    "ok 3 - reads \\# sign # SKIP no sensor",
    "# a comment",
    "    # Subtest: inner",
    "    1..1",
    "    not ok 1 - would fail",
    "ok 4 - outer",
    "ok 5",
  );
  const { verdict, cases, said } = read("tap", text);
  assert.deepEqual([verdict, said], [{ passed: true, reason: "5 tests, none failed" }, true]);
  assert.deepEqual(
    cases.map(({ name, status, message }) => [name, status, message]),
    [
      ["adds", "passed", undefined],
      ["divides", "skipped", "TODO no FPU yet"],
      ["reads # sign", "skipped", "SKIP no sensor"],
      ["outer", "passed", undefined],
      ["test 5", "passed", undefined],
    ],
  );
});

test("plan last, and a failure with its details", () => {
  const text = lines("ok", "not ok - boots", "  ---", "  found: 3", "  ...", "1..2");
  const { verdict, cases } = read("tap", text);
  assert.deepEqual(verdict, { passed: false, reason: "1 of 2 tests failed" });
  assert.deepEqual(cases[1], {
    suite: "",
    name: "boots",
    time: 0,
    status: "failed",
    details: "---\nfound: 3\n...\n",
  });
});

test("a plan that isn't met, met twice, or missing is no pass", () => {
  const bad: (readonly string[])[] = [
    ["1..2", "ok 1", "ok 2", "ok 3"],
    ["1..2", "ok 2", "ok 1"],
    ["1..2", "ok 1", "ok 1"],
    ["1..2", "1..2", "ok 1", "ok 2"],
    ["ok 1", "ok 2", "1..1"],
    ["1..1", "ok 1", "1..1"],
    ["1..0"],
    ["1..2", "ok 1", "Bail out! no sensor", "ok 2"],
    ["1..1", "ok 1", "Bail out!"],
    ["TAP version 13", "1..2", "ok 1", "TAP version 13", "1..2", "ok 1", "ok 2"],
    ["1..1", "ok 1", "assert failed: app_main main.c:3 (x)"],
  ];
  for (const all of bad) {
    const { verdict, said } = read("tap", lines(...all));
    assert.deepEqual([verdict.passed, said], [false, true], all.join(" / "));
  }
  for (const all of [
    ["1..3", "ok 1", "ok 2"],
    ["ok 1", "ok 2"],
    [],
    ["1..2", "ok 1", "ok2"],
    ["1..2", "ok 1ok 2"],
  ]) {
    const { verdict } = read("tap", lines(...all));
    assert.deepEqual([verdict.passed, verdict.cause], [false, "verdict-missing"], all.join(" / "));
  }
  assert.equal(read("tap", "1..1\nok 1").said, false, "the last line isn't whole");
});

test("all tests skipped", () => {
  assert.deepEqual(read("tap", lines("1..0 # SKIP no radio")).verdict, {
    passed: true,
    reason: "all tests are skipped: SKIP no radio",
  });
});

test("a failing run passes only if the very word `not ` is lost", () => {
  const whole = Buffer.from(lines("TAP version 13", "1..3", "ok 1 - a", "not ok 2 - b", "ok 3 - c"));
  for (let at = 0; at < whole.length; at += 1) {
    const [before, after] = [whole.subarray(0, at), whole.subarray(at + 1)];
    for (const middle of ["", "\0", "xx"])
      assert.equal(read("tap", Buffer.concat([before, Buffer.from(middle), after])).verdict.passed, false);
  }
});
