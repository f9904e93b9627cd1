/** The embedded job server against peers that send nonsense, send too much, or never read. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { describe, test } from "node:test";
import { JobServer, type JobServerOptions, type ServerEvent } from "#/gearman/server/server.ts";
import { encode, headerSize, type PacketType } from "#/gearman/wire/packet.ts";
import { bounded } from "../support/servers.ts";
import { Peer } from "./peer.ts";

/** Our server on a free port, with its log. */
async function start(options: JobServerOptions = {}) {
  const events: ServerEvent[] = [];
  const logged = Promise.withResolvers<ServerEvent>();
  const log = (event: ServerEvent) => {
    events.push(event);
    logged.resolve(event);
  };
  const server = new JobServer({ ...options, log });
  const { port } = await server.listen({ port: 0 });
  return {
    port,
    events,
    firstEvent: () => bounded(logged.promise),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

/** One job through the server, by peers that are connected already. */
async function serves(client: Peer, worker: Peer, data: string): Promise<void> {
  client.send("SUBMIT_JOB", "f", "", data);
  const [, handle = ""] = (await client.next()).split(" ");
  worker.send("CAN_DO", "f").send("GRAB_JOB");
  assert.equal(await worker.next(), `JOB_ASSIGN ${handle} f ${data}`);
  worker.send("WORK_COMPLETE", handle, data);
  assert.equal(await client.next(), `WORK_COMPLETE ${handle} ${data}`);
}

/** A generator of numbers from 0 up to 1 (mulberry32): the same seed, the same garbage. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const honest: readonly [PacketType, ...string[]][] = [
  ["CAN_DO", "g"],
  ["PRE_SLEEP"],
  ["SUBMIT_JOB", "g", "u", "data"],
  ["GRAB_JOB"],
  ["WORK_DATA", "H:x:1", "data"],
  ["GET_STATUS", "H:x:1"],
  ["SET_CLIENT_ID", "me"],
];

/** Random bytes, or real packets with some bytes changed and the end cut off. */
function nonsense(next: () => number): Buffer {
  if (next() < 0.3) return Buffer.from(Array.from({ length: 1 + next() * 300 }, () => next() * 256));
  const packets = Array.from({ length: 1 + next() * 6 }, () => {
    const [type, ...args] = honest[Math.floor(next() * honest.length)] ?? ["GRAB_JOB"];
    return encode("REQ", type, ...args);
  });
  const bytes = Buffer.concat(packets);
  for (let i = 0; i < next() * 4; i++) bytes[Math.floor(next() * bytes.length)] = next() * 256;
  return bytes.subarray(0, Math.ceil(next() * bytes.length));
}

describe("the embedded job server", () => {
  test("survives garbage on 200 connections, and logs one line for each", async () => {
    await using server = await start();
    await using client = await Peer.connect(server.port);
    await using worker = await Peer.connect(server.port);
    await serves(client, worker, "before");
    const sendNonsense = async (seed: number) => {
      const socket = connect(server.port, "127.0.0.1");
      socket.on("error", () => {}).resume();
      const closed = once(socket, "close");
      socket.end(nonsense(random(seed)));
      await bounded(closed);
    };
    await Promise.all(Array.from({ length: 200 }, (_, seed) => sendNonsense(seed)));
    const garbage = server.events.filter((event) => event.kind === "garbage");
    assert.ok(garbage.length > 50 && garbage.length <= 200, `${garbage.length} words of garbage`);
    for (const { message } of garbage) assert.doesNotMatch(message, /[^ -~…]/);
    await serves(client, worker, "after");
    await using newcomer = await Peer.connect(server.port);
    assert.deepEqual(await newcomer.ask("version"), ["OK labgear"]);
  });

  test("logs what arrived in place of Gearman, after answering what came before", async () => {
    await using server = await start();
    await using peer = await Peer.connect(server.port);
    peer.send("ECHO_REQ", "hello").socket.write(Buffer.from("\x16\x03\x01\x02\x00\x01", "latin1"));
    assert.equal(await peer.next(), "ECHO_RES hello");
    assert.equal(await peer.next(), "closed");
    assert.deepEqual(
      server.events.map(({ kind }) => kind),
      ["garbage"],
    );
    assert.match(server.events[0]?.message ?? "", /TLS/);
  });

  test("ignores a browser, whatever its request carries", async () => {
    await using server = await start();
    await using peer = await Peer.connect(server.port);
    const job = encode("REQ", "SUBMIT_JOB_BG", "f", "", "").toString("latin1");
    peer.socket.write(`POST / HTTP/1.1\r\nHost: localhost\r\n\r\n${job}`, "latin1");
    assert.equal(await peer.next(), "closed");
    assert.match((await server.firstEvent()).message, /HTTP/);
    await using other = await Peer.connect(server.port);
    assert.deepEqual(await other.ask("status"), ["."]);
  });

  test("refuses a packet by its size, before any of the data", async () => {
    await using server = await start({ maxPacket: 1000 });
    await using peer = await Peer.connect(server.port);
    peer.socket.write(encode("REQ", "ECHO_REQ", Buffer.alloc(1001)).subarray(0, headerSize));
    assert.equal(await peer.next(), "closed");
    assert.match((await server.firstEvent()).message, /1001 bytes is over the limit of 1000/);
  });

  test("refuses one connection too many with an ERROR, and accepts again when one has left", async () => {
    await using server = await start({ maxConnections: 2 });
    await using first = await Peer.connect(server.port);
    await using second = await Peer.connect(server.port);
    await using third = await Peer.connect(server.port);
    assert.match(await third.next(), /^ERROR TOO_MANY_CONNECTIONS This server takes 2 connections/);
    assert.equal(await third.next(), "closed");
    assert.equal((await server.firstEvent()).kind, "refused");
    second.socket.end();
    assert.equal(await second.next(), "closed");
    await using fourth = await Peer.connect(server.port);
    await serves(first, fourth, "still");
  });

  test("refuses jobs over the limit, and accepts again when one has ended", async () => {
    await using server = await start({ maxJobs: 1 });
    await using peer = await Peer.connect(server.port);
    peer.send("SUBMIT_JOB_BG", "f", "", "1").send("SUBMIT_JOB_BG", "f", "", "2");
    const [, handle = ""] = (await peer.next()).split(" ");
    assert.equal(await peer.next(), "ERROR QUEUE_ERROR Job queue is full");
    peer.send("CAN_DO", "f").send("GRAB_JOB").send("WORK_COMPLETE", handle, "");
    peer.send("SUBMIT_JOB_BG", "f", "", "3");
    assert.equal(await peer.next(), `JOB_ASSIGN ${handle} f 1`);
    assert.match(await peer.next(), /^JOB_CREATED/);
  });

  test("drops a client that never reads at the limit, while others are served", async () => {
    await using server = await start({ maxPacket: 64 * 1024 });
    const deaf = connect(server.port, "127.0.0.1").on("error", () => {});
    deaf.pause().write(encode("REQ", "SUBMIT_JOB", "flood", "", ""));
    await using worker = await Peer.connect(server.port);
    worker.send("CAN_DO", "flood").send("PRE_SLEEP");
    assert.equal(await worker.next(), "NOOP");
    worker.send("GRAB_JOB");
    const [, handle = ""] = (await worker.next()).split(" ");
    const data = encode("REQ", "WORK_DATA", handle, Buffer.alloc(60 * 1024));
    // The kernel's buffers take some MB before anything waits in the server.
    for (let sent = 0; sent < 1000 && server.events.length === 0; sent++) {
      if (!worker.socket.write(data)) await bounded(once(worker.socket, "drain"));
    }
    assert.deepEqual(
      server.events.map(({ kind }) => kind),
      ["dropped"],
    );
    assert.match(server.events[0]?.message ?? "", /doesn't read/);
    await using client = await Peer.connect(server.port);
    await serves(client, worker, "others");
    deaf.destroy();
  });

  test("doesn't read from a client that doesn't read its answers", async () => {
    await using server = await start();
    const deaf = connect(server.port, "127.0.0.1").on("error", () => {});
    deaf.pause();
    const echo = encode("REQ", "ECHO_REQ", Buffer.alloc(256 * 1024));
    for (let sent = 0; sent < 200; sent++) deaf.write(echo);
    await using client = await Peer.connect(server.port);
    await using worker = await Peer.connect(server.port);
    await serves(client, worker, "others");
    let read = 0;
    deaf.on("data", (chunk: Buffer) => {
      read += chunk.length;
      if (read === 200 * echo.length) deaf.end();
    });
    deaf.resume();
    await bounded(once(deaf, "close"));
    assert.equal(read, 200 * echo.length);
    assert.deepEqual(server.events, []);
  });

  test("drops the connection that holds most when unfinished packets fill the memory", async () => {
    await using server = await start({ maxMemory: 1024 * 1024 });
    await using small = await Peer.connect(server.port);
    await using hog = await Peer.connect(server.port);
    const promise = encode("REQ", "ECHO_REQ", Buffer.alloc(4 * 1024 * 1024));
    small.socket.write(promise.subarray(0, 100 * 1024));
    hog.socket.write(promise.subarray(0, 2 * 1024 * 1024));
    assert.equal(await hog.next(), "closed");
    assert.match((await server.firstEvent()).message, /the memory is full/);
    small.socket.write(promise.subarray(100 * 1024, 200 * 1024));
    await using other = await Peer.connect(server.port);
    assert.deepEqual(await other.ask("version"), ["OK labgear"]);
  });

  test("answers a peer that has already closed its half", async () => {
    await using server = await start();
    await using peer = await Peer.connect(server.port);
    peer.socket.end("version\nstatus\n");
    assert.deepEqual(
      [await peer.next(), await peer.next(), await peer.next()],
      ["OK labgear", ".", "closed"],
    );
  });

  test("fails a job at the end of its worker's timeout", async () => {
    const { promise: due, resolve } = Promise.withResolvers<() => void>();
    const clock = {
      now: () => 0,
      after: (milliseconds: number, call: () => void) => {
        assert.equal(milliseconds, 7000);
        resolve(call);
        return () => {};
      },
    };
    await using server = await start({ clock });
    await using peer = await Peer.connect(server.port);
    peer.send("SUBMIT_JOB", "f", "", "").send("CAN_DO_TIMEOUT", "f", "7").send("GRAB_JOB");
    const [, handle = ""] = (await peer.next()).split(" ");
    assert.match(await peer.next(), /^JOB_ASSIGN/);
    (await bounded(due))();
    assert.equal(await peer.next(), `WORK_FAIL ${handle}`);
    peer.send("WORK_COMPLETE", handle, "late");
    assert.match(await peer.next(), /^ERROR JOB_NOT_FOUND/);
  });

  test("can't listen where another server does", async () => {
    await using server = await start();
    const port = server.port;
    await using second = new JobServer();
    await assert.rejects(second.listen({ port }), { code: "EADDRINUSE" });
  });
});
