/** Why a build didn't pass: on its console's last line, in its last data, and in what `labgear build` shows. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { labgear, TestAgent } from "../support/agent.ts";
import { gearman, object, submit } from "../support/clients.ts";
import { lacks } from "../support/parts.ts";
import { type RunningServer, startGearmand } from "../support/servers.ts";

const skip = lacks("gearmand", "gearman");

const yaml = `
name: box7
host: { classes: [lab1], executors: 1 }
builds: { min-free: 1MiB }
jobs:
  passes: { run: "echo out" }
  exits: { run: "exit 7" }
  killed: { run: "kill -KILL $$" }
  late: { run: "exec sleep 300", timeout: 1s, grace: 1s }
  unstarted: { run: "#!/no/such/interpreter" }
  stays: { run: "echo up; exec sleep 300", grace: 1s }
  flood: { run: "head -c 6000000 /dev/zero | tr '\\\\0' x" }
`;

let server: RunningServer;
let agent: TestAgent;

before(async () => {
  if (skip) return;
  server = await startGearmand();
  agent = await TestAgent.start({ yaml, ports: [server.port] });
});

after(async () => {
  await agent?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});

const start = (job: string, parameters: object = {}) =>
  submit(server.port, { function: `build:${job}`, unique: `r-${job}`, data: JSON.stringify(parameters) });

const lastData = (events: readonly { type: string }[]) =>
  object(events.findLast(({ type }) => type === "data") as never);

for (const [job, result, reason] of [
  ["exits", "FAILURE", /^the job ended with exit code 7$/],
  ["killed", "FAILURE", /^the job was ended by SIGKILL$/],
  ["late", "TIMED_OUT", /^the job's timeout of 1s ran out$/],
  ["unstarted", undefined, /^the script's interpreter can't be run: /],
] as const) {
  test(`${job}: ${result ?? "no result"}`, { skip }, async () => {
    const data = lastData(await (await start(job)).ended);
    assert.equal(data.result, result);
    assert.match(`${data.reason}`, reason);
    const console = `${await agent.file(job, 1, "console.log")}`;
    assert.equal(console.split("\n").at(-2), `[labgear] ${data.reason}`);
    assert.equal(console.split(`${data.reason}`).length, 2, "once");

    const shown = await labgear(["build", job, "--json", "--server", `127.0.0.1:${server.port}`]);
    const ended = JSON.parse(shown.stdout.trim().split("\n").at(-1) ?? "");
    assert.deepEqual([ended.result, ended.reason, ended.cause], [result, data.reason, data.cause]);
    assert.match(ended.url, new RegExp(`/builds/${job}/2$`));
  });
}

test("stays, stopped", { skip }, async () => {
  const build = await start("stays", { LABGEAR_STREAM: "1" });
  await build.said("up");
  assert.equal((await gearman(server.port, ["-f", "stop:box7", "r-stays"])).exitCode, 0);
  const data = lastData(await build.ended);
  assert.deepEqual([data.result, data.reason], ["ABORTED", "stopped from afar"]);
  assert.equal(`${await agent.file("stays", 1, "console.log")}`, "up\n[labgear] stopped from afar\n");
});

test("passes: nothing is added", { skip }, async () => {
  const data = lastData(await (await start("passes")).ended);
  assert.deepEqual([data.result, data.reason, data.cause], ["SUCCESS", "the job passed", "passed"]);
  assert.equal(`${await agent.file("passes", 1, "console.log")}`, "out\n");
});

test("a flood that is followed: what is left out can be had, and the rest keeps no executor", {
  skip,
}, async () => {
  const { port } = server;
  const { stdout, stderr, exitCode } = await labgear(["build", "flood", "--server", `127.0.0.1:${port}`]);
  assert.equal(exitCode, 0);
  assert.equal(stdout.length, 6_000_000, "what came too fast was fetched");
  assert.doesNotMatch(stderr, /bytes/);
  const [, number] = /^flood#(\d+) runs on/m.exec(stderr) ?? [];

  const build = await start("flood", { LABGEAR_STREAM: "1" });
  const next = await start("passes");
  assert.equal((await build.ended).at(-1)?.type, "complete");
  const output = build.events.flatMap((event) => (event.type === "data" ? [object(event).output] : []));
  assert.ok(`${output.at(-2)}`.endsWith("x"), "the end is there");
  assert.ok((await agent.record("flood", Number(number) + 1)).ended);
  assert.equal((await next.ended).at(-1)?.type, "complete");
});
