/** Thousands of almost valid packets in each direction: no crash, no hang, no growth, no flood of log lines. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { describe, type TestContext, test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Admin } from "#/gearman/client/admin.ts";
import { Client } from "#/gearman/client/client.ts";
import { JobServer, type ServerEvent } from "#/gearman/server/server.ts";
import { GearmanError } from "#/gearman/wire/errors.ts";
import { encode } from "#/gearman/wire/packet.ts";
import { PacketParser } from "#/gearman/wire/parser.ts";
import { logWorkerEvents, Worker } from "#/gearman/worker/worker.ts";
import type { Log } from "#/lib/log.ts";
import { eventsOf } from "../support/gearman.ts";
import { scale } from "../support/scale.ts";
import { bounded, startRawServer } from "../support/servers.ts";
import { type Session, sessions } from "./mutate.ts";
import { Peer } from "./peer.ts";

const goal = scale(2_000, 100_000);
/** Memory that may remain: what the compiler, pools and the test itself keep. */
const allowance = 24 * 1024 * 1024;
/** Parsers get odd chunks too. */
const half = ({ bytes }: Session) => [
  bytes.subarray(0, bytes.length >> 1),
  bytes.subarray(bytes.length >> 1),
];

setFlagsFromString("--expose-gc");
const collect: () => void = runInNewContext("gc");

function held(): number {
  collect();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** Fails when the memory at the end is above that after the first tenth. */
class Growth {
  #early: number | undefined;

  look(done: number): void {
    if (done >= goal / 10) this.#early ??= held();
  }

  assertNone(t: TestContext): void {
    const grown = held() - (this.#early ?? 0);
    t.diagnostic(`${grown} bytes grown`);
    assert.ok(grown < allowance, `${grown} bytes are held that weren't after the first tenth`);
  }
}

/** A log that counts its lines by kind, without those for developers. */
function countingLog() {
  const counts = { down: 0, up: 0, other: 0, unprintable: 0 };
  const add = (_: object, line: string) => {
    if (line.endsWith("; trying again")) counts.down += 1;
    else if (line.startsWith("registered with")) counts.up += 1;
    else counts.other += 1;
    if (!/^[ -~…]{1,600}$/.test(line)) counts.unprintable += 1;
  };
  const log: Log = { debug: () => {}, info: add, warn: add, error: add, child: () => log };
  return { log, counts };
}

/** Sends a session in two chunks and ends. */
function play(socket: Socket, session: Session): void {
  for (const chunk of half(session)) socket.write(chunk);
  socket.end();
}

/** A job server that answers a registration like a real one, and the first request for a job with garbage. */
async function startHostileServer(seed: number) {
  const next = sessions(seed, "RES");
  const growth = new Growth();
  const over = Promise.withResolvers<void>();
  let pieces = 0;
  let connections = 0;
  const server = await startRawServer((socket) => {
    connections += 1;
    let played = false;
    const parser = new PacketParser({ magic: "REQ" });
    socket.on("data", (chunk: Buffer) => {
      for (const item of parser.push(chunk)) {
        if ("line" in item || !socket.writable) continue;
        if (item.type === "GET_STATUS")
          socket.write(encode("RES", "STATUS_RES", "H:none:0", "0", "0", "0", "0"));
        if (!item.type.startsWith("GRAB_JOB") || played) continue;
        played = true;
        const session = next();
        pieces += session.pieces;
        growth.look(pieces);
        play(socket, session);
        if (pieces >= goal) over.resolve();
      }
    });
  });
  return {
    ...server,
    over: over.promise,
    growth,
    get connections() {
      return connections;
    },
  };
}

const longTime = scale(50_000, 1_000_000);

describe("a hostile job server", () => {
  test("workers survive it, log one line for each connection, and serve a good server afterwards", async (t) => {
    await using hostile = await startHostileServer(1);
    await using good = new JobServer();
    const { port } = await good.listen({ port: 0 });
    let faults = 0;
    let jobs = 0;
    const { log, counts } = countingLog();
    await using workers = new AsyncDisposableStack();
    const all = Array.from({ length: 8 }, (_, index) => {
      const worker = new Worker({
        servers: [hostile],
        clientId: `box7/${index}`,
        // No delay, where others wait up to 30 s after the tenth garbage.
        random: () => 0,
        onEvent: logWorkerEvents(log, { reconnects: 0 }),
        onJob: async (job) => {
          jobs += 1;
          if (job.function !== "f") faults += 1;
          job.data(job.argument);
          job.complete(job.argument);
        },
      });
      worker.setFunctions(new Set(["f"]));
      return workers.use(worker);
    });
    await bounded(hostile.over, longTime);
    for (const worker of all) worker.setServers([{ host: "127.0.0.1", port }]);
    await Promise.all(all.map((worker) => bounded(worker.registered())));
    await using client = await Client.connect({ host: "127.0.0.1", port });
    const submitted = await Promise.all([1, 2, 3].map(() => client.submit({ function: "f", data: "good" })));
    for (const submission of submitted)
      assert.deepEqual(await eventsOf(submission), ["data good", "complete good"]);
    assert.equal(faults, 0, "no job of another function gets through");
    assert.ok(
      counts.down <= hostile.connections,
      `${counts.down} lines for ${hostile.connections} connections`,
    );
    assert.ok(counts.up <= hostile.connections + all.length);
    assert.ok(counts.other <= 10 * all.length, `${counts.other} other lines`);
    assert.equal(counts.unprintable, 0);
    hostile.growth.assertNone(t);
    t.diagnostic(`${goal} pieces in ${hostile.connections} connections, ${jobs} jobs got through`);
  });

  test("a client gets an answer or an error for each request, and never hangs", async (t) => {
    const next = sessions(2, "RES");
    const growth = new Growth();
    await using hostile = await startRawServer((socket) => {
      socket.once("data", () => {
        socket.write(encode("RES", "JOB_CREATED", "H:x:1"));
        const session = next();
        pieces += session.pieces;
        play(socket, session);
      });
    });
    let pieces = 0;
    const outcomes = new Map<string, number>();
    const count = (outcome: string) => outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    const once = async () => {
      await using client = await Client.connect(hostile);
      client.wantExceptions();
      const asked = client.submit({ function: "f", data: "" });
      const status = client.status("H:x:1").then(() => "status", code);
      try {
        for await (const event of await asked) count(event.type);
        count("ended");
      } catch (error) {
        count(code(error));
      }
      count(await status);
    };
    while (pieces < goal) {
      await bounded(Promise.all(Array.from({ length: 50 }, once)));
      growth.look(pieces);
    }
    growth.assertNone(t);
    assert.ok(
      [...outcomes.keys()].every((key) => key !== "fault"),
      JSON.stringify([...outcomes]),
    );
    t.diagnostic(JSON.stringify(Object.fromEntries(outcomes)));
  });

  test("an administrator gets an answer or an error for each command, and never hangs", async (t) => {
    const next = sessions(3, "RES", { text: true });
    const growth = new Growth();
    let pieces = 0;
    await using hostile = await startRawServer((socket) => {
      socket.once("data", () => {
        const session = next();
        pieces += session.pieces;
        play(socket, session);
      });
    });
    const outcomes = new Map<string, number>();
    const count = (outcome: string) => outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    const once = async () => {
      await using admin = await Admin.connect(hostile);
      const asked = [
        admin.status(),
        admin.workers(),
        admin.version(),
        admin.showJobs(),
        admin.cancelJob("H:x:1"),
      ];
      for (const outcome of await Promise.all(asked.map((one) => one.then(() => "answer", code))))
        count(outcome);
    };
    while (pieces < goal) {
      await bounded(Promise.all(Array.from({ length: 50 }, once)));
      growth.look(pieces);
    }
    growth.assertNone(t);
    assert.ok(!outcomes.has("fault"), JSON.stringify([...outcomes]));
    t.diagnostic(JSON.stringify(Object.fromEntries(outcomes)));
  });
});

describe("hostile clients and workers", () => {
  test("the embedded job server survives them, logs one line for each, and serves good ones afterwards", async (t) => {
    const events = new Map<ServerEvent["kind"], number>();
    const texts: string[] = [];
    await using server = new JobServer({
      log: ({ kind, message }) => {
        events.set(kind, (events.get(kind) ?? 0) + 1);
        if (!/^[ -~…]{1,600}$/.test(message)) texts.push(message);
      },
    });
    const { port } = await server.listen({ port: 0 });
    const next = sessions(4, "REQ", { text: true });
    const growth = new Growth();
    let pieces = 0;
    let connections = 0;
    const hurt = async () => {
      const session = next();
      pieces += session.pieces;
      connections += 1;
      const socket = connect(port, "127.0.0.1");
      socket.on("error", () => {}).resume();
      const closed = once(socket, "close");
      play(socket, session);
      await closed;
    };
    while (pieces < goal) {
      await bounded(Promise.all(Array.from({ length: 50 }, hurt)));
      growth.look(pieces);
    }
    assert.ok((events.get("garbage") ?? 0) <= connections);
    assert.deepEqual(texts, []);
    assert.equal(events.get("refused"), undefined);
    assert.equal(events.get("dropped"), undefined);
    await using client = await Peer.connect(port);
    await using worker = await Peer.connect(port);
    client.send("SUBMIT_JOB", "good", "", "data");
    const [, handle = ""] = (await client.next()).split(" ");
    worker.send("CAN_DO", "good").send("GRAB_JOB");
    assert.equal(await worker.next(), `JOB_ASSIGN ${handle} good data`);
    worker.send("WORK_COMPLETE", handle, "done");
    assert.equal(await client.next(), `WORK_COMPLETE ${handle} done`);
    growth.assertNone(t);
    t.diagnostic(
      `${pieces} pieces in ${connections} connections: ${JSON.stringify(Object.fromEntries(events))}`,
    );
  });
});

/** How a request ended; "fault" when it isn't an error that callers expect. */
const code = (error: unknown) => (error instanceof GearmanError ? error.code : "fault");
