/** Hostile job servers, and hostile arguments of jobs, through the agent. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { encode } from "#/gearman/wire/packet.ts";
import { PacketParser } from "#/gearman/wire/parser.ts";
import { TestAgent } from "../support/agent.ts";
import { functions, object, submit, type Watched } from "../support/clients.ts";
import { memory } from "../support/leftovers.ts";
import { lacks } from "../support/parts.ts";
import { type RunningServer, startGearmand, startRawServer } from "../support/servers.ts";

const skip = lacks("gearmand", "gearadmin");

const yaml = `
name: box7
host: { classes: [lab1] }
builds: { min-free: 0 }
jobs:
  quick: { run: "echo quick; env >\\"$LABGEAR_ARTIFACTS/env\\"; cp \\"$LABGEAR_PARAMETERS\\" \\"$LABGEAR_ARTIFACTS/parameters\\"", parameters: [BOARD_REV] }
`;

const mib = 1024 * 1024;

test("a job server that sends garbage after each registration is met more and more rarely, with a line each", {
  skip,
}, async () => {
  await using good = await startGearmand();
  let connections = 0;
  await using hostile = await startRawServer((socket) => {
    connections += 1;
    const parser = new PacketParser({ magic: "REQ", text: true });
    socket.on("data", (chunk: Buffer) => {
      for (const item of parser.push(chunk)) {
        if ("line" in item || !socket.writable) continue;
        if (item.type === "GET_STATUS")
          socket.write(encode("RES", "STATUS_RES", "H:none:0", "0", "0", "0", "0"));
        // Differently each time, so that it isn't the same line.
        if (item.type.startsWith("GRAB")) socket.end(`garbage number ${connections}`);
      }
    });
  });
  await using agent = await TestAgent.start({ yaml, ports: [good.port, hostile.port] });
  const server = `127.0.0.1:${hostile.port}`;
  const isLost = (line: { msg: string }) =>
    line.msg.includes(server) && line.msg.includes("doesn't speak Gearman");
  // The executor's line and the manager's.
  await agent.logged(isLost, 8);
  const build = await submit(good.port, { function: "build:quick", data: "{}" });
  assert.equal(object((await build.ended).at(-1)).result, "SUCCESS");
  const seen = connections;
  const lines = agent.log.filter((line) => line.msg.includes(server));
  assert.ok(lines.length <= 2 * (seen + 2), `${lines.length} lines for ${seen} connections`);
  assert.ok(seen < 60, `${seen} connections`);
  for (const { msg } of lines) assert.match(msg, /^[ -~]{1,300}$/);
});

describe("a job's argument", { skip }, () => {
  let server: RunningServer;
  let agent: TestAgent;
  before(async () => {
    server = await startGearmand();
    agent = await TestAgent.start({ yaml, ports: [server.port] });
  });
  after(async () => {
    await agent?.[Symbol.asyncDispose]();
    await server?.[Symbol.asyncDispose]();
  });

  const send = (data: string | Buffer, unique = "") =>
    submit(server.port, { function: "build:quick", unique, data });

  /** The build's number, once it has passed. */
  async function passed(build: Watched): Promise<number> {
    const last = object((await build.ended).at(-1));
    assert.equal(last.result, "SUCCESS");
    return Number(last.number);
  }

  const parameters = async (number: number) =>
    JSON.parse((await agent.file("quick", number, "artifacts/parameters")).toString());

  for (const [what, data] of [
    ["of 10 MB", () => JSON.stringify({ A: "x".repeat(10_000_000) })],
    ["of 10 MB that would take half a gigabyte", () => `{"A":[${"[],".repeat(3_300_000)}[]]}`],
    ["of 30 MB of brackets", () => "[".repeat(30 * mib)],
    ["that is not JSON", () => "\0\xff{{{"],
    ["that is a list of 100,000 lists", () => "[".repeat(100_000) + "]".repeat(100_000)],
  ] as const) {
    test(`${what} is refused: FAILURE, and no build`, async () => {
      const build = await send(data());
      const events = await build.ended;
      const last = object(events.filter(({ type }) => type === "data").at(-1));
      assert.deepEqual([last.result, last.number], ["FAILURE", undefined]);
      assert.equal(events.at(-1)?.type, "fail");
      const { msg } = await agent.logged("a build's argument");
      assert.match(msg, /^a build's argument [^\p{C}]{1,200}$/u);
      agent.log.length = 0;
      // An order of magnitude more than it has at rest, and far less than the argument could cost.
      assert.ok(memory(agent.child.pid, "VmHWM") < 500 * mib, `${memory(agent.child.pid, "VmHWM")} bytes`);
    });
  }

  test("nested 100,000 deep is a parameter like any other", async () => {
    const deep = "[".repeat(100_000) + "]".repeat(100_000);
    const number = await passed(await send(`{"DEEP":${deep},"BOARD_REV":"b"}`));
    assert.equal((await parameters(number)).DEEP, deep);
    const record = await agent.record("quick", number);
    assert.deepEqual(record.parameters, {
      DEEP: `${deep.slice(0, 1024)}… [200000 characters]`,
      BOARD_REV: "b",
    });
    assert.match(String(record.warnings), /1 of 2 parameters are cut or left out/);
  });

  test("with 100,000 keys gives the job all of them, and the record as many as it has room for", async () => {
    const many = Object.fromEntries(Array.from({ length: 100_000 }, (_, index) => [`ZUUL_${index}`, "v"]));
    const number = await passed(await send(JSON.stringify(many)));
    assert.deepEqual(await parameters(number), many);
    const record = await agent.record("quick", number);
    const kept = Object.keys(record.parameters as object).length;
    assert.ok(kept > 5_000 && kept < 20_000, `${kept} names`);
    assert.match(String(record.warnings), new RegExp(`${100_000 - kept} of 100000 parameters`));
    assert.match(String((record.warnings as string[]).at(-1)), /^not put into the environment: \d+ more$/);
    assert.ok((await agent.file("quick", number, "build.json")).length < mib);
  });

  test("with keys that mean something elsewhere is only text", async () => {
    const odd = JSON.parse(
      `{"__proto__":"p","constructor":"c","toString":"t","":"empty","a\\u0000b":"nul","a\\nb":"newline","a=b":"equals","PATH":"x"}`,
    );
    const number = await passed(await send(JSON.stringify(odd)));
    assert.deepEqual(await parameters(number), odd);
    assert.deepEqual((await agent.record("quick", number)).parameters, odd);
    const env = (await agent.file("quick", number, "artifacts/env")).toString();
    assert.doesNotMatch(env, /newline|nul|equals|^PATH=x$/m);
  });

  test("with half characters and control characters stays readable", async () => {
    const text = '{"BOARD_REV":"\\ud800x\\udfff","ZUUL_NUL":"a\\u0000b","ZUUL_ESC":"\\u001b[31m"}';
    const number = await passed(await send(text));
    assert.deepEqual(await parameters(number), JSON.parse(text));
    assert.deepEqual((await agent.record("quick", number)).parameters, JSON.parse(text));
    const env = (await agent.file("quick", number, "artifacts/env")).toString();
    assert.match(env, /^BOARD_REV=\ufffdx\ufffd$/m);
    assert.doesNotMatch(env, /^ZUUL_NUL/m);
  });

  test("with values of 1 MB gives them to the job by its file, and cuts them in the record", async () => {
    const values = {
      ZUUL_A: "a".repeat(1_000_000),
      BOARD_REV: "b".repeat(1_000_000),
      OTHER: "c".repeat(1_000_000),
    };
    const number = await passed(await send(JSON.stringify(values)));
    assert.deepEqual(await parameters(number), values);
    const { length } = await agent.file("quick", number, "build.json");
    assert.ok(length < 10_000, `${length} bytes`);
    const log = (await agent.file("quick", number, "console.log")).toString();
    assert.match(log, /3 of 3 parameters are cut or left out: this record keeps/);
    assert.match(log, /not put into the environment: ZUUL_A \(longer than 100 KiB\)/);
  });

  test("with a uuid that is none is known by its digest", async () => {
    const number = await passed(await send(JSON.stringify({ ZUUL_UUID: `a\0b\n${"x".repeat(1000)}` })));
    assert.match(String((await agent.record("quick", number)).uuid), /^sha256-[0-9a-f]{64}$/);
  });

  test("of any of these kinds leaves the agent as it was, over a restart too", async () => {
    assert.equal((await functions(server.port)).get("build:quick")?.workers, 1);
    const count = JSON.parse((await agent.command("builds", "--json")).stdout).length;
    assert.ok(count >= 6);
    assert.equal(await agent.end(), 0);
    await using again = await TestAgent.start({ yaml, ports: [server.port], folder: agent.folder });
    assert.deepEqual(
      again.log.filter(({ level, msg }) => level >= 40 && !msg.startsWith("no control groups")),
      [],
    );
    assert.equal(JSON.parse((await again.command("builds", "--json")).stdout).length, count);
    assert.deepEqual(JSON.parse(readFileSync(join(agent.stateDir, "state.json"), "utf8")).numbers, {
      quick: count,
    });
  });
});
