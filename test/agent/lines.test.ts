/** Inputs over lines that are cut: they go on where they were, and every byte is right. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { JobServer } from "#/gearman/server/server.ts";
import { GearmanError } from "#/gearman/wire/errors.ts";
import { TestAgent } from "../support/agent.ts";
import { lastData } from "../support/clients.ts";
import { announce, askInfo, fetchAll, fetchRange, send, submitWith } from "../support/exchange.ts";
import { lacks } from "../support/parts.ts";
import { seeded } from "../support/random.ts";
import { startGearmand, startRawServer, temporaryFolder } from "../support/servers.ts";

/** A proxy that cuts one connection after the other, each behind so many bytes from the side that is named. */
async function startCutter(to: number, from: "client" | "server", cuts: number[]) {
  const done = { cuts: 0 };
  const server = await startRawServer((socket) => {
    const upstream = connect(to, "127.0.0.1");
    const end = () => {
      socket.destroy();
      upstream.destroy();
    };
    for (const side of [socket, upstream]) side.on("error", end).on("close", end);
    const [counted, other] = from === "client" ? [socket, upstream] : [upstream, socket];
    other.pipe(counted);
    let passed = 0;
    counted.on("data", (chunk: Buffer) => {
      passed += chunk.length;
      const [limit = Number.POSITIVE_INFINITY] = cuts;
      if (passed < limit) return void other.write(chunk);
      cuts.shift();
      done.cuts += 1;
      other.write(chunk.subarray(0, chunk.length - (passed - limit)), end);
    });
  });
  return { ...server, done };
}

const yaml = `
name: box7
host: { classes: [lab1] }
jobs:
  copy: { inputs: { app: { max: 64MiB } }, run: 'cp "$LABGEAR_INPUT_APP" app.bin', artifacts: ["*.bin"] }
`;
const mib = 1024 * 1024;

test("a line that is cut at twenty places, before the job server and behind it, loses nothing", {
  skip: lacks("gearmand"),
}, async () => {
  await using gearmand = await startGearmand();
  const random = seeded(15);
  const places = () => Array.from({ length: 10 }, () => 1 + random(3 * mib));
  // The agent's other connections never get so many bytes.
  await using behind = await startCutter(
    gearmand.port,
    "server",
    places().map((place) => place + 200_000),
  );
  await using before = await startCutter(gearmand.port, "client", places());
  await using agent = await TestAgent.start({ yaml, ports: [behind.port] });
  const bytes = randomBytes(30 * mib + 5);
  const build = await submitWith(gearmand.port, "build:copy", [announce("app", bytes)]);
  await build.dataPackets(2);
  const server = { host: "127.0.0.1", port: before.port };
  for (let received = 0; received < bytes.length; ) {
    // Told again from its beginning, the agent says where it goes on.
    received = await send(server, "box7", build, "app", bytes).catch((error) => {
      assert.ok(error instanceof GearmanError, String(error));
      return 0;
    });
  }
  assert.equal(before.done.cuts, 10);
  assert.ok(behind.done.cuts > 0);
  const last = await lastData(build);
  assert.equal(last.result, "SUCCESS", `${last.reason}`);
  const artifact = await fetchAll(
    { host: "127.0.0.1", port: gearmand.port },
    "box7",
    { uuid: build.uuid },
    "artifacts/app.bin",
  );
  assert.ok(artifact.bytes.equals(bytes));
  assert.equal((await agent.record("copy", 1)).result, "SUCCESS");
});

test("results are as private as the pages: by the build's key, or for all by remote: { read: true }", async () => {
  await using resources = new AsyncDisposableStack();
  const jobServer = resources.use(new JobServer({ software: "test" }));
  const { port } = await jobServer.listen({ host: "127.0.0.1", port: 0 });
  const server = { host: "127.0.0.1", port };
  const secured = 'http: { listen: "127.0.0.1:0", auth: { user: lab, password-file: pages } }\n';
  const { path: folder } = resources.use(await temporaryFolder());
  await writeFile(join(folder, "pages"), "a password\n", { mode: 0o600 });
  const options = { ports: [port], folder };
  const isUnsigned = (error: { code?: string }) => error.code === "unsigned";
  let first: Awaited<ReturnType<typeof submitWith>>;
  {
    await using closed = await TestAgent.start({ ...options, yaml: secured + yaml });
    first = await submitWith(port, "build:copy", [announce("app", Buffer.alloc(0))]);
    await first.ended;
    const { uuid, key } = first;
    await assert.rejects(fetchRange(server, "box7", { uuid }, "console"), isUnsigned);
    const named = { name: "copy", number: 1 };
    await assert.rejects(fetchRange(server, "box7", named, "record"), isUnsigned);
    for (const build of [{ uuid }, named])
      assert.equal((await fetchRange(server, "box7", build, "record", { key })).end, true);
    assert.equal((await askInfo(server, "box7")).nodes.length, 1);
    assert.equal((await closed.record("copy", 1)).result, "SUCCESS");
  }
  // The key is the build's also after a restart.
  await using open = await TestAgent.start({ ...options, yaml: `${secured}remote: { read: true }\n${yaml}` });
  assert.equal((await fetchRange(server, "box7", { uuid: first.uuid }, "record")).end, true);
  const signed = await fetchRange(server, "box7", { uuid: first.uuid }, "record", { key: first.key });
  assert.equal(signed.end, true);
  assert.equal(await open.end(), 0);
});
