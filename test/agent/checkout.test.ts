/** Builds of changes: checked out from a real repository, with artifacts and test reports in the record. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, test } from "node:test";
import { folder, Repository, silentServer } from "../builds/checkout/git-parts.ts";
import { TestAgent } from "../support/agent.ts";
import { object, submit } from "../support/clients.ts";
import { lacks } from "../support/parts.ts";
import { startGearmand } from "../support/servers.ts";

const skip = lacks("gearmand", "git");

const yaml = `
name: box7
host: { classes: [lab1] }
jobs:
  hurried: { checkout: true, timeout: 1s, run: "true" }
  change:
    checkout: true
    artifacts: ["out/*.bin", "none/*"]
    junit: ["reports/*.xml"]
    run: |
      test "$(git rev-parse HEAD)" = "$ZUUL_COMMIT"
      mkdir out reports
      cp version out/fw.bin
      cat >reports/unit.xml <<XML
      <testsuite name="unit" tests="3" failures="1" skipped="1">
        <testcase classname="c" name="passes" time="0.5"/>
        <testcase classname="c" name="fails"><failure message="no">why</failure></testcase>
        <testcase classname="c" name="skips"><skipped/></testcase>
      </testsuite>
      XML
`;

const resources = new AsyncDisposableStack();
let port: number;
let agent: TestAgent;
let repository: Repository;
let commit: string;
let launch: Record<string, string>;

before(async () => {
  if (skip) return;
  const { path } = resources.use(await folder());
  repository = await Repository.make(path);
  await repository.commit({ version: "one\n" });
  commit = await repository.commit({ version: "two\n" });
  repository.git("update-ref", "refs/zuul/master/Z1", commit);
  const server = resources.use(await startGearmand());
  port = server.port;
  agent = resources.use(await TestAgent.start({ yaml, ports: [port] }));
  launch = {
    ...{ ZUUL_URL: `file://${path}`, ZUUL_PROJECT: "org/project", ZUUL_BRANCH: "master" },
    ...{ ZUUL_REF: "refs/zuul/master/Z1", ZUUL_COMMIT: commit },
  };
});

after(() => resources.disposeAsync());

/** Runs a build of a change, and says what the client was told and what is kept. */
async function build(unique: string, parameters: Record<string, string>, to = { agent, port }) {
  const data = JSON.stringify({ ...launch, ...parameters });
  const events = await (await submit(to.port, { function: "build:change:lab1", unique, data })).ended;
  const last = object(events.at(-2));
  const number = Number(last.number);
  const console = (await to.agent.file("change", number, "console.log")).toString();
  return { last, end: events.at(-1)?.type, console, record: await to.agent.record("change", number) };
}

test("a change passes, and its commit, artifacts and test reports are in the record", { skip }, async () => {
  const { last, end, record, console } = await build("c-pass", {});
  assert.equal(last.result, "SUCCESS", console);
  assert.equal(end, "complete");
  assert.equal(record.commit, commit);
  const sha256 = createHash("sha256").update("two\n").digest("hex");
  assert.deepEqual(record.artifacts, [{ path: "out/fw.bin", size: 4, sha256 }]);
  assert.deepEqual(record.tests, { tests: 3, failures: 1, errors: 0, skipped: 1, time: 0.5 });
  assert.equal(
    (await agent.file("change", Number(record.number), "artifacts/out/fw.bin")).toString(),
    "two\n",
  );
  const steps = record.steps as { name: string; took: number }[];
  assert.deepEqual(
    steps.map(({ name }) => name),
    ["checkout", "run", "collect"],
  );
  assert.ok(steps.every(({ took }) => took >= 0));
  assert.match(console, new RegExp(`\\[labgear\\] checkout: HEAD is at ${commit}`));
});

test("another change follows in the same workspace, with nothing of the one before", { skip }, async () => {
  const next = await repository.commit({ version: "three\n", "reports/old.xml": "" });
  repository.git("update-ref", "refs/zuul/master/Z2", next);
  const { last, record } = await build("c-next", { ZUUL_REF: "refs/zuul/master/Z2", ZUUL_COMMIT: next });
  // The script's mkdir fails where the change has that folder: it ran in a clean workspace and got that far.
  assert.equal(last.result, "FAILURE");
  assert.equal(record.commit, next);
});

for (const [what, parameters, console] of [
  ["a commit that the ref doesn't have", { ZUUL_COMMIT: "c".repeat(40) }, /no longer has the commit c{40}/],
  ["a repository that isn't there", { ZUUL_PROJECT: "org/gone" }, /attempt 3 of 3/],
  ["a ref that isn't there", { ZUUL_REF: "refs/zuul/master/Zgone" }, /Zgone does not exist/],
] as const) {
  test(`${what}: no result and WORK_FAIL, so that Zuul runs it again`, { skip }, async () => {
    const tried = await build(`c-${what.length}`, parameters);
    assert.ok(!("result" in tried.last), tried.console);
    assert.equal(tried.end, "fail");
    assert.equal((tried.record.ending as { kind: string }).kind, "infrastructure");
    assert.equal(tried.record.result, undefined);
    assert.match(tried.console, console);
  });
}

test("a launch whose input is refused: FAILURE, since elsewhere it would end the same way", {
  skip,
}, async () => {
  for (const [unique, parameters] of Object.entries<Record<string, string>>({
    "c-ext": { ZUUL_URL: "ext::touch /tmp/evil" },
    "c-up": { ZUUL_PROJECT: "../../etc" },
    "c-option": { ZUUL_REF: "--upload-pack=touch /tmp/evil" },
    "c-none": { ZUUL_URL: "" },
  })) {
    const { last, end, record, console } = await build(unique, parameters);
    assert.equal(last.result, "FAILURE", unique);
    assert.equal(end, "fail");
    assert.equal(record.commit, undefined);
    assert.match(console, /\[labgear\] .*(ZUUL_|not a project's path|not a ref that git allows)/, unique);
  }
});

test("a stop in the midst of a checkout that waits ends it as ABORTED", { skip }, async () => {
  const data = JSON.stringify({ ...launch, ZUUL_PROJECT: "org/gone", LABGEAR_STREAM: "1" });
  const waiting = await submit(port, { function: "build:change", unique: "c-stop", data });
  await waiting.said("attempt 2 of 3");
  const stop = await submit(port, { function: "stop:box7", data: "c-stop" });
  assert.equal((await stop.ended).at(-1)?.type, "complete");
  assert.equal(object((await waiting.ended).at(-2)).result, "ABORTED");
});

test("a server that hangs until the job's timeout runs out is not the change's fault", { skip }, async () => {
  await using server = await silentServer();
  const data = JSON.stringify({ ...launch, ZUUL_URL: server.url });
  const events = await (await submit(port, { function: "build:hurried", unique: "c-hang", data })).ended;
  assert.equal(events.at(-1)?.type, "fail");
  assert.equal(object(events.at(-2)).result, undefined);
});

test("infrastructure-result: NODE_FAILURE sends that string in place of none", { skip }, async () => {
  await using server = await startGearmand();
  const old = `${yaml}infrastructure-result: NODE_FAILURE\n`;
  await using other = await TestAgent.start({ yaml: old, ports: [server.port] });
  const gone = await build("c-old", { ZUUL_COMMIT: "c".repeat(40) }, { agent: other, port: server.port });
  assert.equal(gone.last.result, "NODE_FAILURE");
  assert.equal(gone.end, "fail");
  assert.equal((gone.record.ending as { kind: string }).kind, "infrastructure");
});
