/** Which build a request means: the same unique with another function or argument is another build. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { execa } from "execa";
import { TestAgent } from "../support/agent.ts";
import { object, submit, type Watched } from "../support/clients.ts";
import { lacks } from "../support/parts.ts";
import { startGearmand } from "../support/servers.ts";

const skip = lacks("gearmand");

/** Each build runs until the test opens its gate, a FIFO in the state directory. */
const yaml = `
name: box7
host: { classes: [lab1], executors: 2 }
builds: { min-free: 1MiB }
jobs:
  gate: { run: "echo N=$N; read line < ../../../gate-$BUILD_NUMBER", parameters: [N] }
`;

async function startAgent(...servers: { port: number }[]): Promise<TestAgent> {
  const agent = await TestAgent.start({ yaml, ports: servers.map(({ port }) => port) });
  await execa(
    "mkfifo",
    [1, 2, 3].map((number) => join(agent.stateDir, `gate-${number}`)),
  );
  return agent;
}

const openGate = (agent: TestAgent, number: number) =>
  writeFile(join(agent.stateDir, `gate-${number}`), "go\n");

const numberOf = async (build: Watched) => (await build.started).number;
const last = async (build: Watched) => object((await build.ended).at(-1));

test("the unique - is no name: gearmand compares arguments then, and so each of them is a build", {
  skip,
}, async () => {
  await using server = await startGearmand();
  await using agent = await startAgent(server);
  const ask = (n: number) =>
    submit(server.port, { function: "build:gate", unique: "-", data: `{"N":"${n}"}` });
  const builds = [await ask(0), await ask(1)];
  assert.deepEqual(new Set(await Promise.all(builds.map(numberOf))), new Set([1, 2]));
  for (const number of [1, 2]) await openGate(agent, number);
  for (const build of builds) assert.equal((await last(build)).result, "SUCCESS");
  const consoles = [1, 2].map(async (number) => `${await agent.file("gate", number, "console.log")}`);
  assert.deepEqual((await Promise.all(consoles)).sort(), ["N=0\n", "N=1\n"]);
  const uuids = await Promise.all([1, 2].map(async (number) => (await agent.record("gate", number)).uuid));
  assert.equal(new Set([...uuids, "-"]).size, 3);
});

for (const [what, other] of [
  ["argument", { function: "build:gate:lab1", data: '{"N":"2"}' }],
  ["function", { function: "build:gate", data: '{"N":"1"}' }],
] as const) {
  const asked = { function: "build:gate:lab1", unique: "w2", data: '{"N":"1"}' };

  test(`the unique of a running build with another ${what} is another build`, { skip }, async () => {
    await using one = await startGearmand();
    await using two = await startGearmand();
    await using agent = await startAgent(one, two);
    const first = await submit(one.port, asked);
    assert.equal(await numberOf(first), 1);
    const second = await submit(two.port, { ...other, unique: "w2" });
    assert.equal(await numberOf(second), 2);
    for (const number of [1, 2]) await openGate(agent, number);
    assert.deepEqual([(await last(first)).number, (await last(second)).number], [1, 2]);
  });

  test(`a kept ending isn't sent to its unique with another ${what}`, { skip }, async () => {
    await using one = await startGearmand();
    await using two = await startGearmand();
    await using agent = await startAgent(one, two);
    const first = await submit(two.port, asked);
    await first.started;
    first.ended.catch(() => {});
    await two[Symbol.asyncDispose]();
    await openGate(agent, 1);
    await agent.logged("is kept until a job server asks for it again");
    const second = await submit(one.port, { ...other, unique: "w2" });
    assert.equal(await numberOf(second), 2);
    await openGate(agent, 2);
    assert.equal((await last(second)).number, 2);
    assert.equal((await last(await submit(one.port, asked))).number, 1, "the same request gets it");
  });
}

test("the same request on another server is the same build", { skip }, async () => {
  await using one = await startGearmand();
  await using two = await startGearmand();
  await using agent = await startAgent(one, two);
  const asked = { function: "build:gate", unique: "w2", data: '{"N":"1"}' };
  const builds = [await submit(one.port, asked), await submit(two.port, asked)];
  for (const build of builds) assert.equal(await numberOf(build), 1);
  await openGate(agent, 1);
  for (const build of builds) assert.equal((await last(build)).result, "SUCCESS");
});

test("a stop by uuid stops every build of that unique", { skip }, async () => {
  await using server = await startGearmand();
  await using _ = await startAgent(server);
  const functions = ["build:gate", "build:gate:lab1"];
  const builds = [];
  for (const name of functions)
    builds.push(await submit(server.port, { function: name, unique: "both", data: "{}" }));
  assert.deepEqual(new Set(await Promise.all(builds.map(numberOf))), new Set([1, 2]));
  const stop = await submit(server.port, { function: "stop:box7", data: '{"uuid":"both"}' });
  await stop.ended;
  for (const build of builds) {
    const data = (await build.ended).filter(({ type }) => type === "data");
    assert.equal(object(data.at(-1)).result, "ABORTED");
  }
});

test("a unique that gearmand cuts is a build all the same: its argument is whole, and its uuid stops it", {
  skip,
}, async () => {
  await using server = await startGearmand();
  await using agent = await startAgent(server);
  const uniques = ["1", "2"].map((digit) => digit.repeat(64));
  const data = (index: number, uuid?: string) => JSON.stringify({ N: `${index}`, ZUUL_UUID: uuid });
  const [first = "", second = ""] = uniques;
  const builds = [
    await submit(server.port, { function: "build:gate", unique: first, data: data(1) }),
    await submit(server.port, { function: "build:gate", unique: second, data: data(2, second) }),
  ];
  for (const [index, build] of builds.entries()) {
    const number = Number(await numberOf(build));
    const stop = await submit(server.port, { function: "stop:box7", data: uniques[index] ?? "" });
    assert.equal((await stop.ended).at(-1)?.type, "complete");
    assert.equal(object((await build.ended).findLast(({ type }) => type === "data")).result, "ABORTED");
    const { uuid, warnings, parameters } = await agent.record("gate", number);
    assert.equal(uuid, index === 0 ? first.slice(1) : second);
    assert.deepEqual(warnings, ["the job server cut the build's unique to its first 63 characters"]);
    assert.equal((parameters as Record<string, string>).N, `${index + 1}`);
  }
});
