/** A build that runs as the agent's user can spoil the agent's own files: no later build pays for it. */
import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { after, before, test } from "node:test";
import { TestAgent } from "../support/agent.ts";
import { lastData, submit } from "../support/clients.ts";
import { lacks } from "../support/parts.ts";
import { type RunningServer, startGearmand } from "../support/servers.ts";

const skip = lacks("gearmand");
const yaml = `
name: box5
host: { classes: [lab1] }
builds: { min-free: 0 }
jobs:
  own: { run: 'eval "$AFTER"', parameters: [AFTER] }
  changes: { run: "true", trust: changes }
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

async function run(job: string, AFTER = "true"): Promise<unknown> {
  const data = JSON.stringify({ AFTER });
  return (await lastData(await submit(server.port, { function: `build:${job}`, data }))).result;
}

const mark = (job: string) => `workspaces/0/.changes-$(printf %s ${job} | sha256sum | cut -c 1-32)`;

/** The agent may make the path again, or write below it, at any moment: it is moved away, until what is made instead is there. */
const instead = (path: string, make: string) =>
  `n=0; until n=$((n + 1)); mv -T ${path} ${path}.moved-$BUILD_NUMBER-$n && ${make}; do :; done`;

for (const [what, command] of [
  ["a folder in place of state.json", "rm state.json; mkdir -p state.json/x"],
  ["a pipe in place of state.json", "rm state.json; mkfifo state.json"],
  ["a file in place of the next build", "touch builds/own/$((BUILD_NUMBER + 1))"],
  ["a folder in place of the next build", "mkdir -p builds/own/$((BUILD_NUMBER + 1))/x"],
  ["a file where the next build's folder is made", "touch builds/own/.new-$((BUILD_NUMBER + 1))"],
  [
    "a folder in place of its own record",
    "cd builds/own/$BUILD_NUMBER; until rm -f build.json; mkdir -p build.json/x; do :; done",
  ],
  ["a file in place of the job's builds", instead("builds/own", "true >builds/own")],
  ["a file in place of all builds", instead("builds", "true >builds")],
  ["a link to nowhere in place of all builds", instead("builds", "ln -sT /nowhere/at/all builds")],
  ["a file in place of all workspaces", instead("workspaces", "true >workspaces")],
  [
    "folders in place of the marks of trust",
    `mkdir -p ${mark("own")}/x; rm -f ${mark("changes")}; mkdir -p ${mark("changes")}/x`,
  ],
  ["a state directory that is gone", 'mv "$PWD" "$PWD.moved"'],
] as const) {
  test(`${what}: the build itself and the next ones pass`, { skip }, async () => {
    assert.equal(await run("own", `cd '${agent.stateDir}'; ${command}`), "SUCCESS");
    const { number } = await lastData(await submit(server.port, { function: "build:own", data: "{}" }));
    for (const job of ["changes", "own"]) assert.equal(await run(job), "SUCCESS");
    assert.equal((await agent.record("own", Number(number))).result, "SUCCESS");
  });
}

test("a state directory that is a file takes no builds: what is queued waits until it is one again", {
  skip,
}, async () => {
  const dir = agent.stateDir;
  assert.equal(await run("own", instead(dir, `true >${dir}`)), "SUCCESS");
  const waiting = await Promise.all(
    ["own", "changes"].map((job) => submit(server.port, { function: `build:${job}`, data: "{}" })),
  );
  while (!/^box: /.test(String((await agent.status()).nodes[0]?.reasons)));
  for (const { events } of waiting) assert.equal(events.length, 0);
  rmSync(dir);
  for (const build of waiting) assert.equal((await lastData(build)).result, "SUCCESS");
});

test("checkouts on a box that has lost its git hold the node, not the queue", { skip }, async () => {
  const job = 'jobs: { change: { checkout: true, run: "true" } }';
  await using box = await TestAgent.start({
    yaml: `name: box6\nhost: { classes: [lab2] }\nbuilds: { min-free: 0 }\n${job}`,
    ports: [server.port],
    env: { PATH: "/nonexistent" },
  });
  const data = JSON.stringify({ ZUUL_URL: "file:///srv", ZUUL_PROJECT: "a", ZUUL_REF: "refs/heads/main" });
  const submitted = await Promise.all(
    Array.from({ length: 4 }, () => submit(server.port, { function: "build:change", data })),
  );
  await box.logged("no build is taken for 5 minutes: the last 3 builds ended without a result");
  assert.match(String((await box.status()).nodes[0]?.reasons), /failing: .*git can't be started/);
  const ended = submitted.filter(({ events }) => events.length > 0);
  assert.ok(ended.length <= 3, `${ended.length} builds have begun`);
});
