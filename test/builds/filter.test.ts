/** What a build tests, and which builds a list holds. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { changeOf, changeTitle } from "#/builds/change.ts";
import { BuildError } from "#/builds/errors.ts";
import { matches, parseFilter } from "#/builds/filter.ts";
import type { BuildSummary } from "#/builds/record.ts";

const gerrit = {
  ZUUL_PROJECT: "lab/firmware",
  ZUUL_BRANCH: "main",
  ZUUL_CHANGE: "1234",
  ZUUL_PATCHSET: "5",
  ZUUL_PIPELINE: "gate",
  ZUUL_REF: "refs/zuul/main/Z123",
  ZUUL_COMMIT: "0123456789abcdef0123456789abcdef01234567",
};

const changes: [string, Record<string, string>, string | undefined, object | undefined, string?][] = [
  [
    "a change in Gerrit",
    gerrit,
    undefined,
    {
      project: "lab/firmware",
      branch: "main",
      change: "1234",
      patchset: "5",
      pipeline: "gate",
      ref: "refs/zuul/main/Z123",
      commit: "0123456789abcdef0123456789abcdef01234567",
    },
    "lab/firmware 1234,5 (main)",
  ],
  [
    "a ref that was updated",
    { ZUUL_PROJECT: "lab/firmware", ZUUL_REFNAME: "v1.0", ZUUL_NEWREV: "abcdef0123" },
    undefined,
    { project: "lab/firmware", ref: "v1.0", commit: "abcdef0123" },
    "lab/firmware v1.0",
  ],
  [
    "GitHub Actions",
    {
      GITHUB_REPOSITORY: "lab/firmware",
      GITHUB_REF: "refs/pull/7/merge",
      GITHUB_SHA: "abc1",
      GITHUB_HEAD_REF: "spi",
    },
    undefined,
    { project: "lab/firmware", branch: "spi", ref: "refs/pull/7/merge", commit: "abc1" },
    "lab/firmware (spi)",
  ],
  [
    "GitLab CI",
    { CI_PROJECT_PATH: "lab/firmware", CI_MERGE_REQUEST_IID: "9", CI_COMMIT_SHA: "abc1" },
    undefined,
    { project: "lab/firmware", change: "9", commit: "abc1" },
    "lab/firmware 9",
  ],
  ["the commit that was checked out counts", { ZUUL_COMMIT: "aaaa" }, "bbbb", { commit: "bbbb" }, "bbbb"],
  ["nothing", { GREETING: "hello", ZUUL_PROJECT: "" }, undefined, undefined],
];
for (const [name, parameters, commit, expected, title] of changes) {
  test(`change: ${name}`, () => {
    const change = changeOf(parameters, commit);
    assert.deepEqual(change, expected);
    if (change) assert.equal(changeTitle(change), title);
  });
}

const build: BuildSummary = {
  job: "boot",
  number: 7,
  uuid: "u-7",
  node: "rpi4-a",
  target: "rpi4",
  labels: ["rpi4", "arm64"],
  assigned: "2026-11-29T08:00:00.000Z",
  ended: "2026-11-29T08:05:00.000Z",
  ending: { kind: "failed", reason: "the job ended with exit code 1" },
  result: "FAILURE",
  change: {
    project: "lab/firmware",
    branch: "main",
    change: "1234",
    patchset: "5",
    commit: "0123456789abcdef",
  },
};

const filters: [Record<string, string>, boolean][] = [
  [{}, true],
  [{ job: "boot" }, true],
  [{ job: "boo" }, false],
  [{ job: "" }, true],
  [{ result: "failure" }, true],
  [{ result: "failed" }, true],
  [{ result: "SUCCESS" }, false],
  [{ result: "running" }, false],
  [{ node: "rpi4-a" }, true],
  [{ node: "rpi4" }, false],
  [{ class: "rpi4" }, true],
  [{ class: "arm64" }, true],
  [{ class: "x86-64" }, false],
  [{ uuid: "u-7" }, true],
  [{ uuid: "u-8" }, false],
  [{ change: "1234" }, true],
  [{ change: "1234,5" }, true],
  [{ change: "1234,4" }, false],
  [{ change: "123" }, false],
  [{ commit: "0123" }, true],
  [{ commit: "0123456789ABCDEF" }, true],
  [{ commit: "1234" }, false],
  [{ project: "lab/firmware", branch: "main" }, true],
  [{ project: "lab/firmware", branch: "dev" }, false],
  [{ pipeline: "gate" }, false],
  [{ since: "2026-11-29T08:00Z", until: "2026-11-29T09:00Z" }, true],
  [{ since: "2026-11-29T08:00:01Z" }, false],
  [{ until: "2026-11-29" }, false],
  [{ since: "9000d" }, true],
];
for (const [query, expected] of filters) {
  test(`${JSON.stringify(query)} ${expected ? "matches" : "doesn't match"}`, () => {
    const filter = parseFilter((name) => query[name]);
    assert.equal(matches(build, false, filter), expected);
  });
}

test("a build that runs, and one without a result", () => {
  const { result: _, ending: _1, ...open } = build;
  assert.ok(matches(open, true, { result: "running" }));
  assert.ok(!matches(open, true, { result: "none" }));
  const lost: BuildSummary = {
    ...open,
    ending: { kind: "lost", reason: "the agent ended while the build ran" },
  };
  assert.ok(matches(lost, false, { result: "lost" }));
  assert.ok(matches(lost, false, { result: "none" }));
});

for (const [query, message] of [
  [
    { since: "yesterday" },
    "since must be a time such as 2026-11-29T08:00Z, or how long ago, such as 2h or 7d",
  ],
  [{ commit: "012" }, "commit must be 4 hexadecimal digits or more"],
  [{ commit: "main" }, "commit must be 4 hexadecimal digits or more"],
  [{ job: "x".repeat(501) }, "job must be 500 characters at most"],
] as const) {
  test(`refused: ${message}`, () => {
    const get = (name: string) => (query as Record<string, string>)[name];
    assert.throws(
      () => parseFilter(get),
      (error) => error instanceof BuildError && error.code === "FILTER" && error.message === message,
    );
  });
}
