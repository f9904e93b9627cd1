/** Leases on the wire: who may type, what strangers can't do, and what outages do to a lease. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { type LineStatus, Rfc2217Server } from "#/devices/port/rfc2217-server.ts";
import { consoleFunction, formatConsoleRequest, parseConsolePiece } from "#/exchange/console.ts";
import { ExchangeError } from "#/exchange/errors.ts";
import { BuildKey } from "#/exchange/key.ts";
import { formatLeaseRequest, type LeaseNews, leaseFunction } from "#/exchange/lease.ts";
import { formatTyping, type Operation, parseTyped, typeFunction } from "#/exchange/typing.ts";
import { Condition } from "#/lib/condition.ts";
import { Running } from "../cli/running.ts";
import { TestAgent } from "../support/agent.ts";
import { becomes, startNetworkBoard } from "../support/boards.ts";
import { lastData, object, submit, type Watched } from "../support/clients.ts";
import { call } from "../support/exchange.ts";
import { lacks } from "../support/parts.ts";
import { seeded, seededBytes } from "../support/random.ts";
import {
  bounded,
  patienceMs,
  type RunningServer,
  startGearmand,
  startRawServer,
  temporaryFolder,
} from "../support/servers.ts";

type NetworkBoard = Awaited<ReturnType<typeof startNetworkBoard>>;

const yamlFor = (port: number, more = "") => `
name: box7
${more}
devices:
  board-1:
    classes: [raw]
    port: "tcp://127.0.0.1:${port}"
    console: raw
    lease: { max: 1h }
`;

/** What the board hears. */
function hears(board: NetworkBoard, wanted: string): Promise<void> {
  let text = "";
  return bounded(
    new Promise((resolve) => {
      for (const socket of board.connected)
        socket.on("data", (bytes) => {
          text += bytes.toString("latin1");
          if (text.includes(wanted)) resolve();
        });
    }),
  );
}

/** Resolves with the lease's first news that say so. */
async function news(watched: Watched, isWanted: (news: LeaseNews) => boolean): Promise<LeaseNews> {
  for (let count = 1; ; count++) {
    await watched.dataPackets(count);
    const data = object(watched.events.filter(({ type }) => type === "data")[count - 1]);
    if (data.lease && isWanted(data.lease as LeaseNews)) return data.lease as LeaseNews;
  }
}

test("a console from afar, where the lab allows it, and not while the board is leased", {
  skip: lacks("gearmand"),
}, async () => {
  await using server = await startGearmand();
  await using board = await startNetworkBoard();
  const yaml = yamlFor(board.port, "remote: { console: true }");
  await using agent = await TestAgent.start({ yaml, ports: [server.port] });
  await becomes(agent, "board-1", "ready");
  await agent.logged((line) => line.msg.startsWith("registered") && "leases" in line);
  board.say("before; ");
  const address = ["--server", `127.0.0.1:${server.port}`];
  await using watching = Running.start(["console", "board-1", "--manager", "box7", ...address]);
  await watching.until("stdout", "before; ");
  board.say("now");
  await watching.until("stdout", "before; now");
  await using holder = Running.start(["lease", "raw", ...address, "--", "sleep", "300"]);
  await holder.until("stderr", "is yours");
  assert.equal(await watching.ended, 1);
  assert.match(watching.stderr, /^labgear: board-1 is leased by \S+@\S+\n$/);
  holder.child.kill("SIGTERM");
  assert.equal(await holder.ended, 3, holder.stderr);
});

test("a drain warns the holder and ends the lease after its time; a resume takes that back", {
  skip: lacks("gearmand"),
}, async () => {
  await using server = await startGearmand();
  await using board = await startNetworkBoard();
  const yaml = yamlFor(board.port, "drain-leases: 10m");
  await using agent = await TestAgent.start({ yaml, ports: [server.port] });
  await becomes(agent, "board-1", "ready");
  await agent.logged((line) => line.msg.startsWith("registered") && "leases" in line);
  const args = ["lease", "raw", "--server", `127.0.0.1:${server.port}`, "--", "sleep", "300"];
  await using holder = Running.start(args);
  await holder.until("stderr", "is yours");
  await using early = Running.start(["drain", "--control", agent.control]);
  await holder.until("stderr", /the box is being drained: the lease ends in \d+m/);
  assert.equal((await agent.command("resume")).exitCode, 0);
  await holder.until("stderr", "the box isn't drained any more");
  const config = await readFile(agent.config, "utf8");
  await writeFile(agent.config, config.replace("drain-leases: 10m", "drain-leases: 1s"));
  assert.equal((await agent.command("reload")).exitCode, 0);
  const drained = await agent.command("drain");
  assert.equal(drained.exitCode, 0, drained.stderr);
  assert.equal(await holder.ended, 4, holder.stderr);
  assert.match(
    holder.stderr,
    /the lease ends in [01]s\n[\s\S]*lease ended after .*: the box is being drained/,
  );
  const { result, ending } = await agent.record("lease", 1);
  assert.equal(result, "TIMED_OUT");
  assert.deepEqual(ending, { kind: "timed-out", reason: "the box is being drained" });
  const console = (await agent.file("lease", 1, "console.log")).toString();
  assert.match(console, /^\[labgear\] the box is being drained: \d+m/m);
  assert.equal(await early.ended, 0, early.stderr);
});

/** A console server of RFC 2217 that records what its port is set to and gets. */
async function startSerialServer() {
  const heard: string[] = [];
  const changed = new Condition();
  let setLines = (_lines: LineStatus) => {};
  const server = await startRawServer((socket) => {
    const protocol = new Rfc2217Server(9600);
    setLines = (lines) => void socket.write(protocol.setLines(lines));
    socket.write(protocol.greeting());
    socket.on("data", (bytes: Buffer) => {
      for (const event of protocol.push(bytes)) {
        if (event.kind === "reply") socket.write(event.bytes);
        else if (event.kind === "data") heard.push(Buffer.from(event.bytes).toString());
        else if (event.kind === "format") heard.push(`${event.bits} ${event.parity} ${event.stop}`);
        else if (event.kind === "dtr" || event.kind === "rts") heard.push(`${event.kind} ${event.on}`);
      }
      changed.wake();
    });
  });
  const said = (count: number) => changed.until(() => heard.length >= count, AbortSignal.timeout(patienceMs));
  const set = (lines: LineStatus) => setLines(lines);
  return {
    ...server,
    heard,
    said,
    setLines: set,
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

test("a tool's settings and bytes reach the board in order; lines are put back", {
  skip: lacks("gearmand"),
}, async () => {
  await using server = await startGearmand();
  await using board = await startSerialServer();
  const yaml = yamlFor(board.port).replace("tcp://", "rfc2217://");
  await using agent = await TestAgent.start({ yaml, ports: [server.port] });
  await becomes(agent, "board-1", "ready");
  await agent.logged((line) => line.msg.startsWith("registered") && "leases" in line);
  const script = `
    const [, host, port] = /^rfc2217:\\/\\/(.*):(\\d+)$/.exec(process.env.LABGEAR_PORT);
    const sub = (...bytes) => Buffer.from([255, 250, 44, ...bytes, 255, 240]);
    const socket = require("net").connect(port, host);
    socket.write(Buffer.from([255, 251, 44]));
    socket.write(sub(5, 9));
    setTimeout(() => socket.write(sub(5, 12)), 100);
    setTimeout(() => socket.end(Buffer.concat([sub(5, 11), sub(3, 3), Buffer.from("even"), sub(3, 1), Buffer.from("none")]), () => process.exit(0)), 150);
  `;
  const args = ["lease", "raw", "--server", `127.0.0.1:${server.port}`, "--", process.execPath, "-e", script];
  await using running = Running.start(args);
  assert.equal(await running.ended, 0, running.stderr);
  await becomes(agent, "board-1", "ready", 2);
  const from = board.heard.indexOf("dtr false");
  await board.said(from + 9);
  assert.deepEqual(board.heard.slice(from), [
    ...["dtr false", "rts false", "rts true", "8 even 1", "even", "8 none 1", "none", "dtr true", "rts true"],
  ]);
});

test("the modem's lines and the port's errors reach the tool, by its masks", {
  skip: lacks("gearmand"),
}, async () => {
  await using server = await startGearmand();
  await using board = await startSerialServer();
  const yaml = yamlFor(board.port).replace("tcp://", "rfc2217://");
  await using agent = await TestAgent.start({ yaml, ports: [server.port] });
  await becomes(agent, "board-1", "ready");
  const script = `
    const [, host, port] = /^rfc2217:\\/\\/(.*):(\\d+)$/.exec(process.env.LABGEAR_PORT);
    const sub = (...bytes) => Buffer.from([255, 250, 44, ...bytes, 255, 240]);
    const socket = require("net").connect(port, host);
    let got = Buffer.alloc(0);
    socket.on("data", (bytes) => { got = Buffer.concat([got, bytes]); socket.emit("more"); });
    const until = async (...bytes) => { while (!got.includes(sub(...bytes))) await require("events").once(socket, "more"); };
    (async () => {
      socket.write(Buffer.concat([Buffer.from([255, 251, 44]), sub(10, 8)]));
      await until(110, 8);
      console.log("masked");
      // CTS has gone; framing errors were asked for, and overruns weren't.
      await until(107, 0xa1);
      await until(106, 8);
      process.exit(got.includes(sub(106, 10)) ? 1 : 0);
    })();
  `;
  const args = ["lease", "raw", "--server", `127.0.0.1:${server.port}`, "--", process.execPath, "-e", script];
  await using running = Running.start(args);
  await running.until("stdout", "masked");
  board.setLines({ cts: false, framing: 1, overrun: 1 });
  assert.equal(await running.ended, 0, running.stderr);
});

test("a line lost while the board is made ready, or in the queue: the client goes on waiting", {
  skip: lacks("gearmand"),
}, async () => {
  await using folder = await temporaryFolder();
  const go = join(folder.path, "go");
  await using board = await startNetworkBoard();
  let server = await startGearmand();
  await using _ = { [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
  const { port } = server;
  const jobs = "jobs: { by-the-lab: { nodes: [raw], trust: lab, steps: [{ sleep: 1ms }] } }";
  // After a job of another trust the board is restored, which lasts until the test lets it.
  const restore = `    restore: { flash: "while [ ! -e ${go} ]; do sleep 0.1; done" }\n`;
  await using agent = await TestAgent.start({ yaml: yamlFor(board.port, jobs) + restore, ports: [port] });
  await becomes(agent, "board-1", "ready");
  const run = (...args: string[]) => {
    const [command = "", ...others] = args;
    return Running.start([
      command,
      ...others.slice(0, 1),
      "--server",
      `127.0.0.1:${port}`,
      ...others.slice(1),
    ]);
  };
  await using building = run("build", "by-the-lab");
  assert.equal(await building.ended, 0, building.stderr);
  await using holder = run("lease", "raw", "--", "sleep", "300");
  await holder.until("stderr", "waits until board-1 is ready");
  await server[Symbol.asyncDispose]();
  server = await startGearmand({ port });
  await holder.until("stderr", "the line is back, and the board is still being made ready");
  await writeFile(go, "");
  await holder.until("stderr", "is yours");
  holder.child.kill("SIGTERM");
  assert.equal(await holder.ended, 3, holder.stderr);
  await using next = run("lease", "raw", "--", "sleep", "300");
  await next.until("stderr", "is yours");
  await using waiting = run("lease", "raw", "--", "sleep", "300");
  await waiting.until("stderr", "waiting: ");
  await using given = run("lease", "raw", "--", "true");
  await given.until("stderr", "waiting: ");
  await server[Symbol.asyncDispose]();
  await given.until("stderr", "trying to come back");
  given.child.kill("SIGINT");
  assert.equal(await given.ended, 3, given.stderr);
  assert.match(
    given.stderr,
    /trying to come back\n\[labgear\] lease ended after .*: given up in the queue\n$/,
  );
  server = await startGearmand({ port });
  await waiting.until("stderr", "the line is back: waiting in the queue again");
  next.child.kill("SIGTERM");
  assert.equal(await next.ended, 3, next.stderr);
  await waiting.until("stderr", "is yours");
  waiting.child.kill("SIGTERM");
  assert.equal(await waiting.ended, 3, waiting.stderr);
});

describe("a lease on the wire", { skip: lacks("gearmand") }, () => {
  let server: RunningServer;
  let board: NetworkBoard;
  let agent: TestAgent;
  before(async () => {
    server = await startGearmand();
    board = await startNetworkBoard();
    agent = await TestAgent.start({ yaml: yamlFor(board.port), ports: [server.port] });
    await becomes(agent, "board-1", "ready");
    await agent.logged((line) => line.msg.startsWith("registered") && "leases" in line);
  });
  after(async () => {
    await agent?.[Symbol.asyncDispose]();
    await board?.[Symbol.asyncDispose]();
    await server?.[Symbol.asyncDispose]();
  });
  const address = () => ({ host: "127.0.0.1", port: server.port });
  const begin = async (key: BuildKey, target = "raw") => {
    const data = formatLeaseRequest({ forMs: 60_000, reason: "a test", who: "me" }, key.publicKey);
    const watched = await submit(server.port, {
      function: leaseFunction(target),
      unique: randomUUID(),
      data,
    });
    const { session } = await news(watched, ({ left }) => left !== undefined);
    const number = Number((await watched.started).number);
    return { watched, session, number };
  };
  let time = Date.now();
  const message = (
    key: BuildKey,
    { number, session }: { number: number; session: string },
    sequence: number,
    ...operations: Operation[]
  ) => {
    time = Math.max(time + 1, Date.now());
    const burst = operations.length > 0 ? { sent: 1, operations } : undefined;
    return formatTyping(key, { number, session, sequence, time }, burst);
  };
  const type = async (bytes: Buffer) => parseTyped(await call(address(), typeFunction("box7"), bytes));
  const write = (text: string): Operation => ({
    ...{ at: 1, op: "write" },
    data: Buffer.from(text).toString("base64"),
  });
  const release: Operation = { at: 2, op: "release", reason: "done" };
  const isRefused = (code: string) => (error: unknown) =>
    error instanceof ExchangeError && error.code === code;

  test("what the holder types is done once and in order; strangers, forgers and repeaters get nowhere", async () => {
    const key = BuildKey.generate();
    const lease = await begin(key);
    const first = message(key, lease, 1, write("first "));
    const heard = hears(board, "first second ");
    assert.equal((await type(first)).next, 2);
    // The same again is answered, and not done again.
    assert.equal((await type(first)).next, 2);
    await assert.rejects(type(message(key, lease, 3, write("third"))), isRefused("offset"));
    await assert.rejects(type(message(BuildKey.generate(), lease, 2, write("evil"))), isRefused("signature"));
    const other = { ...lease, session: "f".repeat(32) };
    await assert.rejects(type(message(key, other, 2, write("evil"))), isRefused("unknown-build"));
    await assert.rejects(
      type(message(key, { ...lease, number: 99 }, 2, release)),
      isRefused("unknown-build"),
    );
    // Another process of the holder extends without a sequence, once, and does nothing else.
    const extend: Operation = { at: 0, op: "extend", seconds: 600 };
    const order = message(key, lease, 0, extend);
    const { left = 0 } = await type(order);
    assert.ok(left > 60_000, `${left} ms left`);
    await assert.rejects(type(order), isRefused("unavailable"));
    await assert.rejects(type(message(BuildKey.generate(), lease, 0, release)), isRefused("signature"));
    await assert.rejects(type(message(key, lease, 0, extend, write("evil"))), isRefused("malformed"));
    assert.equal((await type(message(key, lease, 2, write("second ")))).next, 3);
    await heard;
    assert.equal((await type(message(key, lease, 3, release))).next, 4);
    assert.equal((await lastData(lease.watched)).result, "SUCCESS");
    await assert.rejects(type(first), isRefused("unknown-build"));
    const capture = (await agent.command("log", `lease#${lease.number}`, "--serial")).stdout;
    assert.match(capture, / > first \n[\s\S]* > second \n/);
    assert.doesNotMatch(capture, /evil|third/);
    await becomes(agent, "board-1", "ready", 2);
  });

  test("the console is its holder's alone while it is leased, and nobody's from afar before", async () => {
    const key = BuildKey.generate();
    const lease = await begin(key);
    board.say("a secret of the holder");
    const read = async (by?: BuildKey, offset?: number) => {
      const { number, session } = lease;
      const signed = by && { key: by, number, session, time: Date.now() };
      const request = formatConsoleRequest("board-1", offset, signed);
      return parseConsolePiece(await call(address(), consoleFunction("box7"), request));
    };
    await assert.rejects(read(), isRefused("unsigned"));
    await assert.rejects(read(BuildKey.generate()), isRefused("signature"));
    for (let piece = await read(key); !piece.bytes.includes("holder"); ) piece = await read(key);
    await type(message(key, lease, 1, release));
    assert.equal((await lastData(lease.watched)).result, "SUCCESS");
    await assert.rejects(read(key), isRefused("unknown-build"));
    await becomes(agent, "board-1", "ready", 3);
  });

  test("half a mebibyte both ways at once: not a byte is lost or out of place", async () => {
    const args = ["lease", "raw", "--server", `127.0.0.1:${server.port}`, "--tcp", "0"];
    await using holder = Running.start(args);
    await holder.until("stderr", /is served on \S+:\d+/);
    const program = connect(Number(/is served on \S+:(\d+)/.exec(holder.stderr)?.[1]), "127.0.0.1");
    await once(program, "connect");
    const [far] = [...board.connected];
    assert.ok(far);
    const sent = [seededBytes(seeded(1), 512 * 1024), seededBytes(seeded(2), 512 * 1024)] as const;
    const got = [program, far].map(
      (socket) =>
        new Promise<Buffer>((resolve) => {
          const pieces: Buffer[] = [];
          const take = (bytes: Buffer) => {
            pieces.push(bytes);
            if (pieces.reduce((sum, { length }) => sum + length, 0) < sent[0].length) return;
            socket.off("data", take);
            resolve(Buffer.concat(pieces));
          };
          socket.on("data", take);
        }),
    );
    program.write(sent[0]);
    far.write(sent[1]);
    const [atProgram, atBoard] = await bounded(Promise.all(got));
    assert.ok(atBoard?.equals(sent[0]), "what the program wrote");
    assert.ok(atProgram?.equals(sent[1]), "what the board said");
    program.destroy();
    holder.child.kill("SIGINT");
    assert.equal(await holder.ended, 3, holder.stderr);
    await becomes(agent, "board-1", "ready", 4);
  });

  test("a request without terms that can be is FAILURE, and the board isn't touched", async () => {
    for (const data of ['{"for": 10}', '{"for": "x", "LABGEAR_KEY": "x"}', "[]"]) {
      const watched = await submit(server.port, {
        function: leaseFunction("raw"),
        unique: randomUUID(),
        data,
      });
      assert.equal((await lastData(watched)).result, "FAILURE");
    }
  });

  test("a job server that restarts: the lease goes on, and what is typed meanwhile arrives", async () => {
    const script = `
      const [, host, port] = /^rfc2217:\\/\\/(.*):(\\d+)$/.exec(process.env.LABGEAR_PORT);
      const socket = require("net").connect(port, host, () => console.error("connected"));
      let text = "";
      socket.on("data", (bytes) => { text += bytes.toString("latin1"); if (text.includes("pong")) process.exit(9); });
      process.stdin.on("data", (bytes) => socket.write(bytes));
    `;
    const args = [
      "lease",
      "raw",
      "--server",
      `127.0.0.1:${server.port}`,
      "--",
      process.execPath,
      "-e",
      script,
    ];
    await using running = Running.start(args);
    await running.until("stderr", "connected");
    const { port } = server;
    await server[Symbol.asyncDispose]();
    await running.until("stderr", "trying to come back");
    const heard = hears(board, "ping");
    running.child.stdin?.write("ping");
    server = await startGearmand({ port });
    await heard;
    await running.until("stderr", "the board is still yours");
    board.say("pong");
    assert.equal(await running.ended, 9, running.stderr);
    const number = Number(/lease\/(\d+)/.exec(running.stderr)?.[1]);
    // The client hears of the end before the record's file is written.
    await agent.logged((line) => line.msg.startsWith(`lease#${number} ended`));
    const { result, ending } = await agent.record("lease", number);
    assert.equal(result, "SUCCESS", JSON.stringify(ending));
    await becomes(agent, "board-1", "ready", 5);
  });

  test("an agent that dies: the lease that begins anew isn't the command's, which ends with 5", async () => {
    const args = ["lease", "raw", "--server", `127.0.0.1:${server.port}`, "--", "sleep", "300"];
    await using running = Running.start(args);
    await running.until("stderr", "is yours");
    agent.child.kill("SIGKILL");
    await once(agent, "exit");
    const { folder } = agent;
    const again = await TestAgent.start({ yaml: yamlFor(board.port), ports: [server.port], folder });
    const dead = agent;
    agent = again;
    assert.equal(await running.ended, 5, running.stderr);
    assert.match(
      running.stderr,
      /the lease of board-1 is lost: the job server has given it the same board, anew/,
    );
    await agent.logged((line) => line.msg.startsWith("lease#") && line.ending === "stopped");
    await dead[Symbol.asyncDispose]();
  });
});
