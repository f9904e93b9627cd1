/** A report of test cases, read back as any other. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { JunitReader } from "#/builds/junit-reader.ts";
import type { TestCase } from "#/runners/harness/convention.ts";
import { junitReport } from "#/runners/harness/run.ts";

function readBack(xml: string) {
  const reader = new JunitReader({
    maxCases: 100,
    maxDetails: 1000,
    maxText: 1e6,
  });
  const document = reader.document();
  document.write(xml);
  assert.equal(document.end(), undefined);
  return reader;
}

const hostile = `"]]>&<script>'\u0000\u0007\u001b[31m\ud800\ufffe\u{1f600}é`;
const harmless = `"]]>&<script>'\ufffd\ufffd\ufffd[31m\ufffd\ufffd\u{1f600}é`;

test("cases of all kinds come back as they were", () => {
  const cases: TestCase[] = [
    { suite: "maths", name: "adds", time: 0.25, status: "passed" },
    { suite: "", name: "lonely", time: 0, status: "skipped", message: "no sensor" },
    {
      suite: "maths",
      name: "divides",
      time: 1,
      status: "failed",
      message: "1 < 2",
      details: "a.c:3: 1 < 2\nand more",
    },
    { suite: "maths", name: "hangs", time: 0, status: "error", message: "no end" },
  ];
  const { cases: read, totals } = readBack(junitReport(cases, "firmware"));
  assert.deepEqual(totals, { tests: 4, failures: 1, errors: 1, skipped: 1, time: 1.25 });
  const suites = read.map(({ suite, classname, name, status }) => [suite, classname, name, status]);
  assert.deepEqual(suites, [
    ["maths", "maths", "adds", "passed"],
    ["maths", "maths", "divides", "failed"],
    ["maths", "maths", "hangs", "error"],
    ["firmware", "firmware", "lonely", "skipped"],
  ]);
  assert.deepEqual([read[1]?.message, read[1]?.details], ["1 < 2", "a.c:3: 1 < 2\nand more"]);
});

test("whatever a board says is text", () => {
  const one: TestCase = {
    suite: hostile,
    name: hostile,
    time: 0,
    status: "failed",
    message: `a\n\t${hostile}`,
    details: hostile,
  };
  const [read] = readBack(junitReport([one], "x")).cases;
  assert.deepEqual(
    [read?.suite, read?.name, read?.message, read?.details],
    [harmless, harmless, `a\n\t${harmless}`, harmless],
  );
});

test("no case at all is a report without any", () => {
  assert.match(junitReport([], "x"), /<testsuites>\n<\/testsuites>/);
});
