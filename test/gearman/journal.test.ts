/** What of the embedded job server's queue the next one finds, with the usual Gearman client. */
import assert from "node:assert/strict";
import { appendFileSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { execa } from "execa";
import { JobServer, type ServerEvent } from "#/gearman/server/server.ts";
import { testFolder } from "../support/folders.ts";
import { lacks, part, partsEnv } from "../support/parts.ts";
import { Peer } from "./peer.ts";

const skip = lacks("gearman");

async function start(journal: string) {
  const events: ServerEvent[] = [];
  const server = new JobServer({ journal, log: (event) => events.push(event) });
  const { port } = await server.listen({ port: 0 });
  return { port, events, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

async function submit(port: number, ...args: string[]): Promise<void> {
  const { exitCode } = await execa(part("gearman"), ["-h", "127.0.0.1", "-p", `${port}`, ...args], {
    env: partsEnv,
    stdin: "ignore",
    timeout: 60_000,
    reject: false,
  });
  assert.equal(exitCode, 0);
}

/** A worker of `f` that takes what there is: the data of each job. */
async function takeAll(port: number): Promise<string[]> {
  await using worker = await Peer.connect(port);
  worker.send("CAN_DO", "f");
  const taken: string[] = [];
  for (;;) {
    worker.send("GRAB_JOB_UNIQ");
    const [type, handle = "", , , data = ""] = (await worker.next()).split(" ");
    if (type === "NO_JOB") return taken;
    taken.push(data);
    worker.send("WORK_COMPLETE", handle, "");
  }
}

test("background jobs wait for their worker over a restart, in their order, and run once", {
  skip,
}, async () => {
  using folder = testFolder();
  const journal = join(folder.path, "queue");
  {
    await using server = await start(journal);
    for (const args of [["-L", "low"], ["normal"], ["-I", "high"], ["-u", "ü", "named"]])
      await submit(server.port, "-b", "-f", "f", ...args);
    assert.equal(statSync(journal).mode & 0o777, 0o600);
  }
  {
    await using server = await start(journal);
    assert.match(server.events[0]?.message ?? "", /^jobs back in the queue: 4$/);
    // The unique is the same job's still, and handles go on.
    await submit(server.port, "-b", "-f", "f", "-u", "ü", "other");
    await submit(server.port, "-b", "-f", "f", "last");
    assert.deepEqual(await takeAll(server.port), ["high", "normal", "named", "last", "low"]);
  }
  await using server = await start(journal);
  assert.deepEqual(server.events, []);
  assert.deepEqual(await takeAll(server.port), []);
});

test("a client that submits its foreground job again has its old place", async () => {
  using folder = testFolder();
  const journal = join(folder.path, "queue");
  const send = async (peer: Peer, unique: string) => {
    peer.send("SUBMIT_JOB", "f", unique, `data-${unique}`);
    assert.match(await peer.next(), /^JOB_CREATED /);
  };
  const before = await start(journal);
  await using waiting = await Peer.connect(before.port);
  for (const unique of ["one", "two", "gone"]) await send(waiting, unique);
  {
    await using leaving = await Peer.connect(before.port);
    await send(leaving, "left");
  }
  // It has left before the server ends.
  while (!readFileSync(journal, "utf8").includes('"end"')) {
    waiting.send("ECHO_REQ", "x");
    await waiting.next();
  }
  await before[Symbol.asyncDispose]();
  await using server = await start(journal);
  await using client = await Peer.connect(server.port);
  for (const unique of ["left", "three", "two", "one"]) await send(client, unique);
  assert.deepEqual(
    await takeAll(server.port),
    ["one", "two", "left", "three"].map((unique) => `data-${unique}`),
  );
});

test("a job whose server ends thrice under its worker isn't given out again; half a line is no job", async () => {
  using folder = testFolder();
  const journal = join(folder.path, "queue");
  {
    await using server = await start(journal);
    await using client = await Peer.connect(server.port);
    client.send("SUBMIT_JOB_BG", "f", "u", "deadly");
    await client.next();
  }
  for (let loss = 1; loss <= 3; loss++) {
    const server = await start(journal);
    const worker = await Peer.connect(server.port);
    worker.send("CAN_DO", "f");
    worker.send("GRAB_JOB_UNIQ");
    assert.match(await worker.next(), /^JOB_ASSIGN_UNIQ /);
    await server[Symbol.asyncDispose]();
    await worker[Symbol.asyncDispose]();
    appendFileSync(journal, '{"keep": {"handle": "H:');
  }
  await using server = await start(journal);
  assert.deepEqual(await takeAll(server.port), []);
});

test("the file is bounded by what waits, and a server without it goes on", async () => {
  using folder = testFolder();
  const journal = join(folder.path, "queue");
  {
    await using server = await start(journal);
    await using client = await Peer.connect(server.port);
    const data = "x".repeat(100_000);
    for (let count = 0; count < 60; count++) {
      client.send("SUBMIT_JOB_BG", "f", `${count}`, data);
      await client.next();
      await takeAll(server.port);
    }
    assert.ok(statSync(journal).size < 2_000_000, `${statSync(journal).size}`);
  }
  await using server = await start(join(folder.path, "missing/queue"));
  assert.match(server.events[0]?.message ?? "", /can't be kept in .*ENOENT/);
  await using client = await Peer.connect(server.port);
  client.send("SUBMIT_JOB_BG", "f", "", "all-the-same");
  await client.next();
  assert.deepEqual(await takeAll(server.port), ["all-the-same"]);
  assert.equal(server.events.length, 1);
});
