/** Ten deliberate mistakes, each put into a copy of the sources: a test has to notice. */
import assert from "node:assert/strict";
import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { execa } from "execa";
import { scale } from "../support/scale.ts";
import { temporaryFolder } from "../support/servers.ts";

interface Mutant {
  readonly mistake: string;
  readonly file: string;
  readonly from: string;
  readonly to: string;
  /** What has to fail. */
  readonly test: string;
  /** One test of it, where the others would wait in vain. */
  readonly only?: string;
}

const mutants: readonly Mutant[] = [
  {
    mistake: "drops one ending",
    file: "agent/nodes/job-report.ts",
    from: "for (const job of jobs) this.#options.message.end(job, ending, result);",
    to: "for (const job of jobs.slice(1)) this.#options.message.end(job, ending, result);",
    test: "agent/nodes/job-report.test.ts",
  },
  {
    mistake: "leaks one lock",
    file: "host/lock.ts",
    from: "[Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())),",
    to: "[Symbol.asyncDispose]: () => Promise.resolve(),",
    test: "host/lock.test.ts",
  },
  {
    mistake: "starts a build twice",
    file: "agent/nodes/executor.ts",
    from: "const running = reports.find(uuid, digest);",
    to: 'const running = reports.find(uuid, digest + "0");',
    test: "agent/line.test.ts",
    only: "the line is cut three times during one build, 1 executors",
  },
  {
    mistake: "counts a stale report",
    file: "builds/workspace/period.ts",
    from: "return ctimeNs >= from && ",
    to: "return ctimeNs >= from - from && ",
    test: "builds/workspace/period.test.ts",
  },
  {
    mistake: "accepts a wrong digest",
    file: "builds/inputs/transfer.ts",
    from: 'this.#hash.digest("hex") === this.#options.digest ? "sound" : "wrong"',
    to: 'this.#hash.digest("hex") !== "" ? "sound" : "wrong"',
    test: "agent/inputs.test.ts",
  },
  {
    mistake: "answers a stop that stops nothing",
    file: "agent/nodes/manager.ts",
    from: "return builds.length > 0;",
    to: "return builds.length >= 0;",
    test: "agent/life.test.ts",
    only: "a paused node stays registered",
  },
  {
    mistake: "keeps a lease after its time",
    file: "agent/nodes/lease/lease.ts",
    from: 'build.stop({ kind: "timed-out", reason });',
    to: 'if (reason === "") build.stop({ kind: "timed-out", reason });',
    test: "agent/leases.test.ts",
    only: "a drain warns the holder",
  },
  {
    mistake: "allows one more claim",
    file: "gate/rules.ts",
    from: "for (const [name, patterns] of when) {",
    to: "for (const [name, patterns] of [...when].slice(0, -1)) {",
    test: "gate/rules.test.ts",
  },
  {
    mistake: "loses one byte of the console",
    file: "builds/console/log.ts",
    from: "for (let at = 0; at < bytes.length; ) {",
    to: "for (let at = bytes.length > 1000 ? 1 : 0; at < bytes.length; ) {",
    test: "builds/console/log.test.ts",
  },
  {
    mistake: "numbers a build twice",
    file: "agent/state-store.ts",
    from: "const next = 1 + Math.max(last?.number ?? saved, floor);",
    to: "const next = 1 + Math.max((last?.number ?? saved) - (last ? 1 : 0), floor);",
    test: "agent/state-store.test.ts",
    only: "numbers go on after reopening",
  },
];

const root = new URL("../..", import.meta.url).pathname;

/** The sources and tests, with what they need beside them. */
function copyTree(into: string): void {
  const isOutput = (path: string) => path.startsWith(join(root, "test/.out"));
  for (const name of ["src", "test"])
    cpSync(join(root, name), join(into, name), { recursive: true, filter: (path) => !isOutput(path) });
  for (const name of ["package.json", "tsconfig.json", "packaging"])
    cpSync(join(root, name), join(into, name), { recursive: true });
  symlinkSync(join(root, "node_modules"), join(into, "node_modules"));
  mkdirSync(join(into, "test/.out"));
  symlinkSync(join(root, "test/.out/parts"), join(into, "test/.out/parts"));
}

/** The tests that fail. */
async function failures(tree: string, { test: file, only }: Mutant): Promise<string[]> {
  const args = [
    "--disable-warning=ExperimentalWarning",
    "--test",
    "--test-reporter=tap",
    "--test-timeout=120000",
  ];
  if (only !== undefined) args.push(`--test-name-pattern=${only}`);
  // Without it this process's runner would take the results.
  const env = { NODE_TEST_CONTEXT: undefined };
  const { stdout } = await execa(process.execPath, [...args, join("test", file)], {
    cwd: tree,
    env,
    reject: false,
  });
  return [...stdout.matchAll(/^ *not ok \d+ - (.*)$/gm)].map(([, name = ""]) => name);
}

const skip = scale<false | string>("only in the long run", false);

for (const mutant of mutants) {
  const { mistake, file, from, to, test: killer } = mutant;
  test(`a labgear that ${mistake} is caught`, { skip, timeout: 900_000 }, async (t) => {
    await using tree = await temporaryFolder();
    copyTree(tree.path);
    const path = join(tree.path, "src", file);
    const source = readFileSync(path, "utf8");
    assert.equal(source.split(from).length, 2, `${file} has this once: ${from}`);
    writeFileSync(
      path,
      source.replace(from, () => to),
    );
    const failed = await failures(tree.path, mutant);
    assert.notDeepEqual(failed, [], `${killer} passes`);
    t.diagnostic(`${killer}: ${failed[0]}`);
  });
}
