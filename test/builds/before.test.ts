/** A failed build among the others of its job. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { compareTests, type TestTrend, testKey } from "#/builds/before.ts";
import type { TestCase, TestStatus } from "#/builds/junit-reader.ts";

function aCase(name: string, status: TestStatus, suite = "all"): TestCase {
  return { suite, classname: "spi", name, time: 0, status };
}

const letters: Record<string, TestStatus> = { p: "passed", f: "failed", e: "error", s: "skipped" };

/** The outcomes of a test in the builds before number 100, the newest first; `-`: it wasn't there. */
const histories: [string, TestTrend][] = [
  ["", { kind: "new" }],
  ["-", { kind: "new" }],
  ["ppp", { kind: "new" }],
  ["s", { kind: "new" }],
  ["f", { kind: "known", since: 99 }],
  ["fffp", { kind: "known", since: 97 }],
  ["fef", { kind: "known", since: 97 }],
  ["-sf", { kind: "known", since: 97 }],
  ["fpf", { kind: "known", since: 99 }],
  ["pfpp", { kind: "flaky", failed: 1, of: 4 }],
  ["pfpfff", { kind: "flaky", failed: 4, of: 6 }],
];
for (const [history, expected] of histories) {
  test(`a failure after "${history}" is ${expected.kind}`, () => {
    const before = [...history].map((letter, index) => {
      const status = letters[letter];
      const other = aCase("another", "passed");
      return { number: 99 - index, cases: status ? [other, aCase("it", status)] : [other] };
    });
    const found = compareTests([aCase("it", "failed"), aCase("another", "passed")], before);
    assert.deepEqual([...found], [[testKey(aCase("it", "failed")), expected]]);
  });
}

test("tests of the same name in other suites are other tests", () => {
  const before = [{ number: 1, cases: [aCase("it", "failed", "one")] }];
  const found = compareTests([aCase("it", "failed", "one"), aCase("it", "failed", "two")], before);
  assert.deepEqual([...found.values()], [{ kind: "known", since: 1 }, { kind: "new" }]);
});
