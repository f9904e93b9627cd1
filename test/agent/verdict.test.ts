/** A verdict is a verdict: once the script has ended, only a disk of the box that is full or fails changes the result. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { TestAgent } from "../support/agent.ts";
import { object, submit } from "../support/clients.ts";
import { lacks } from "../support/parts.ts";
import { type RunningServer, startGearmand } from "../support/servers.ts";

const skip = lacks("gearmand");

const yaml = `
name: box7
host: { classes: [lab1] }
builds: { min-free: 0, max-artifact-files: 3, max-artifacts: 3GiB }
jobs:
  job: { run: 'eval "$AFTER"', parameters: [AFTER], artifacts: ["out/**"], junit: ["*.xml"] }
  plain: { run: 'eval "$AFTER"', parameters: [AFTER] }
  kept: { run: 'eval "$AFTER"', parameters: [AFTER], artifacts: ["out/**"], junit: ["*.xml"], stale: keep }
  short: { run: 'eval "$AFTER"', parameters: [AFTER], artifacts: ["out/**"], timeout: 2s, grace: 0s }
`;

const resources = new AsyncDisposableStack();
let server: RunningServer;
let agent: TestAgent;

before(async () => {
  if (skip) return;
  server = resources.use(await startGearmand());
  agent = resources.use(await TestAgent.start({ yaml, ports: [server.port] }));
});

after(() => resources.disposeAsync());

interface Ended {
  readonly result: unknown;
  readonly record: Record<string, unknown>;
  readonly console: string;
}

const launch = (job: string, AFTER: string) =>
  submit(server.port, {
    function: `build:${job}`,
    unique: crypto.randomUUID(),
    data: JSON.stringify({ AFTER }),
  });

async function run(job: string, after: string): Promise<Ended> {
  return await endOf(job, await launch(job, after));
}

async function endOf(job: string, build: Awaited<ReturnType<typeof launch>>): Promise<Ended> {
  const events = await build.ended;
  const last = object(events.findLast(({ type }) => type === "data"));
  const number = Number(last.number);
  const console = (await agent.file(job, number, "console.log")).toString();
  return { result: last.result, record: await agent.record(job, number), console };
}

const deep = 'd=$(printf "%0200d" 0); for i in $(seq 20); do mkdir "$d" && cd -P "$d" || break; done';

const deeds: [what: string, deed: string][] = [
  ["the workspace is gone", 'rm -rf "$WORKSPACE"'],
  ["the workspace has moved", 'mv "$WORKSPACE" "$WORKSPACE.moved"'],
  ["the workspace is a link", 'rm -rf "$WORKSPACE"; ln -s / "$WORKSPACE"'],
  ["the artifacts' folder is gone", 'rm -rf "$LABGEAR_ARTIFACTS"'],
  ["the build's folder is gone", 'rm -rf "$(dirname "$LABGEAR_ARTIFACTS")"'],
  ["an artifact's name isn't UTF-8", ': >"$LABGEAR_ARTIFACTS/$(printf "caf\\351.txt")"'],
  ["artifacts are nested deep", `cd "$LABGEAR_ARTIFACTS"; ${deep}`],
  ["the console is a FIFO", 'cd "$(dirname "$LABGEAR_ARTIFACTS")"; rm console.log; mkfifo console.log'],
  ["the parameters' file is a folder", 'rm "$LABGEAR_PARAMETERS"; mkdir -p "$LABGEAR_PARAMETERS/x"'],
  [
    "the test report's place is a link",
    'ln -s /nowhere/x "$(dirname "$LABGEAR_ARTIFACTS")/tests.json"; echo "<x/>" >x.xml',
  ],
];

for (const [what, deed] of deeds) {
  test(`${what}: the script's verdict stands`, { skip }, async () => {
    for (const job of ["job", "plain"]) {
      const failed = await run(job, `echo tests failed; ${deed}; exit 7`);
      assert.equal(failed.result, "FAILURE", what);
      assert.equal((failed.record.ending as { exitCode: number }).exitCode, 7);
      assert.match(failed.console, /^tests failed$/m);
      assert.equal((await run(job, deed)).result, "SUCCESS", what);
    }
    assert.deepEqual((await agent.status()).nodes[0]?.reasons, []);
  });
}

test("an artifact that can't be kept is a warning in record and console", { skip }, async () => {
  const { record, console } = await run("job", 'rm -rf "$WORKSPACE"');
  assert.equal(String(record.warnings).split("the job removed its workspace").length, 2, "once");
  assert.match(console, /^\[labgear\] the job removed its workspace/m);
});

/** To copy and hash it takes longer than the timeout of `short`. */
const large = "mkdir -p out; truncate -s 1200M out/big";

test("the timeout ends with the script", { skip }, async () => {
  assert.equal((await run("short", large)).result, "SUCCESS");
  const failed = await run("short", `${large}; exit 7`);
  assert.deepEqual([failed.result, (failed.record.ending as { exitCode: number }).exitCode], ["FAILURE", 7]);
});

test("a stop while artifacts are kept doesn't wait for them, and changes no verdict", { skip }, async () => {
  const build = await launch("job", `${large}; exit 7`);
  await build.started;
  const phase = async () => (await agent.status()).nodes[0]?.executors[0]?.build?.phase;
  while ((await phase()) !== "collecting");
  await (await submit(server.port, { function: "stop:box7", data: String(build.asked.unique) })).ended;
  const ended = await endOf("job", build);
  assert.equal(ended.result, "FAILURE");
  assert.match(String(ended.record.warnings), /the build was stopped; some artifacts are missing/);
});

const report = '<testsuite><testcase name="a"/><testcase name="b"/></testsuite>';

test("artifacts and reports of an earlier build aren't this build's", { skip }, async () => {
  const begin = `rm -rf *; mkdir out; echo 1 >out/b; echo '${report}' >r.xml`;
  const first = await run("job", begin);
  assert.equal((first.record.tests as { tests: number }).tests, 2);
  const second = await run("job", "echo crashed before the tests");
  assert.equal(second.result, "SUCCESS");
  assert.deepEqual([second.record.artifacts, (second.record.tests as { tests: number }).tests], [[], 0]);
  for (const text of [String(second.record.warnings), second.console]) {
    assert.match(text, /left out, since older than this build: "out\/b"/);
    assert.match(text, /test reports: left out, since older than this build: "r.xml"/);
  }
  const third = await run("job", "echo 2 >out/b; touch r.xml");
  assert.equal((third.record.tests as { tests: number }).tests, 2);
  assert.deepEqual(
    (third.record.artifacts as { path: string }[]).map(({ path }) => path),
    ["out/b"],
  );
  await run("kept", begin);
  const { record } = await run("kept", "true");
  assert.equal((record.tests as { tests: number }).tests, 2);
  assert.equal((record.artifacts as { stale?: boolean }[])[0]?.stale, true);
  const url = String(record.url).replace("/builds/", "/api/builds/");
  const view = (await (await fetch(url)).json()) as { artifacts: { stale?: boolean }[] };
  assert.equal(view.artifacts[0]?.stale, true);
  assert.match(await (await fetch(String(record.url))).text(), /older than the build/);
});

test("the limits of artifacts are options", { skip }, async () => {
  const { record } = await run("job", "rm -rf out; mkdir out; cd out; touch 1 2 3 4 5");
  assert.equal((record.artifacts as unknown[]).length, 3);
  assert.match(String(record.warnings), /more than the 3 files that are kept/);
});
