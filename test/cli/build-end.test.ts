/** The end of a build's output is shown, also when the agent's line to the job server is lost just as the console closes. */
import assert from "node:assert/strict";
import { open } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { execa } from "execa";
import { TestAgent } from "../support/agent.ts";
import { startWorker } from "../support/gearman.ts";
import { lacks } from "../support/parts.ts";
import { startGearmand, startRawServer } from "../support/servers.ts";
import { Running } from "./running.ts";

const skip = lacks("gearmand");

const yaml = `
name: box9
host: { classes: [lab1], executors: 1 }
builds: { min-free: 1MiB }
jobs:
  gate: { run: "echo begun; read line < ../../../gate; echo on; echo the last line" }
`;

/** In front of a job server. What is sent to it can be held back until its connections are cut; new ones pass. */
async function startProxy(port: number) {
  const sockets = new Set<Socket>();
  let isHeld = false;
  let sent = "";
  const proxy = await startRawServer((socket) => {
    const back = connect(port, "127.0.0.1").on("error", () => {});
    sockets.add(socket).add(back);
    socket.on("data", (bytes: Buffer) => {
      if (isHeld) return;
      sent += bytes.toString("latin1");
      back.write(bytes);
    });
    socket.on("close", () => back.destroy());
    back.on("close", () => socket.destroy()).pipe(socket);
  });
  return {
    port: proxy.port,
    get sent() {
      return sent;
    },
    hold() {
      isHeld = true;
    },
    cut() {
      isHeld = false;
      for (const socket of sockets) socket.destroy();
      sockets.clear();
    },
    [Symbol.asyncDispose]: () => proxy[Symbol.asyncDispose](),
  };
}

test("the agent's line is lost just as the console closes: its end is fetched", { skip }, async () => {
  await using server = await startGearmand();
  await using behind = await startProxy(server.port);
  await using before = await startProxy(server.port);
  await using agent = await TestAgent.start({ yaml, ports: [behind.port] });
  const gate = join(agent.stateDir, "gate");
  await execa("mkfifo", [gate]);
  // Held open for reading, too: nothing waits for the other end, and the job never reads an end of file.
  await using opened = await open(gate, "r+");
  for (const isCut of [false, true]) {
    await using running = Running.start(["build", "gate", "--server", `127.0.0.1:${before.port}`]);
    await running.until("stdout", "begun\n");
    if (isCut) behind.hold();
    await opened.write("go\n");
    if (isCut) {
      await agent.logged((line) => line.job === "gate" && line.result === "SUCCESS", 2);
      behind.cut();
    }
    assert.equal(await running.ended, 0, running.stderr);
    assert.equal(running.stdout, "begun\non\nthe last line\n");
    assert.doesNotMatch(running.stderr, /missing/);
    assert.equal(before.sent.includes("fetch:box9"), isCut, "without a gap nothing is fetched");
  }
});

test("what can't be fetched is waited for in bounds, and said", { skip }, async () => {
  await using server = await startGearmand();
  await using box = await startWorker([server], ["build:here"]);
  await using running = Running.start(["build", "here", "--server", `127.0.0.1:${server.port}`]);
  const job = await box.jobs.next();
  const facts = { name: "here", number: 1, manager: "box9", node_name: "box9", url: "http://box9/here/1" };
  for (let times = 0; times < 2; times++) job.data(JSON.stringify(facts));
  job.complete(JSON.stringify({ ...facts, result: "SUCCESS", reason: "the job passed", cause: "passed" }));
  job.done();
  assert.equal(await running.ended, 0, running.stderr);
  assert.match(
    running.stderr,
    /^\[the last lines may be missing here; the whole console: `labgear log here#1` on box9, or http:\S+\]\nSUCCESS after /m,
  );
});
