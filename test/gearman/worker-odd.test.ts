/** A worker with the Perl server, with servers that hang, and with peers that misbehave. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Client } from "#/gearman/client/client.ts";
import type { Clock } from "#/gearman/wire/clock.ts";
import { encode } from "#/gearman/wire/packet.ts";
import { PacketParser } from "#/gearman/wire/parser.ts";
import { Arrivals, eventsOf, startWorker, submitDetached, told } from "../support/gearman.ts";
import { lacks } from "../support/parts.ts";
import { bounded, startGearmand, startPerlServer, startRawServer } from "../support/servers.ts";

/** A server that answers a registration like a real one, and everything else as the test wants. */
async function startScriptedServer(answer: (type: string, send: (bytes: Buffer) => void) => void) {
  let isHung = false;
  const server = await startRawServer((socket) => {
    const parser = new PacketParser({ magic: "REQ" });
    socket.on("data", (chunk: Buffer) => {
      for (const item of parser.push(chunk)) {
        if ("line" in item || isHung) continue;
        if (item.type === "GET_STATUS")
          socket.write(encode("RES", "STATUS_RES", "H:none:0", "0", "0", "0", "0"));
        else answer(item.type, (bytes) => void socket.write(bytes));
      }
    });
  });
  const hang = () => {
    isHung = true;
  };
  return { ...server, hang };
}

test("a server that hangs on a request for a job loses its connection, and the slot goes on", {
  skip: lacks("gearmand"),
}, async () => {
  await using hung = await startScriptedServer(() => {});
  await using gearmand = await startGearmand();
  await using box = await startWorker([hung], ["f"], { answerTimeoutMs: 300 });
  await submitDetached(gearmand, "f");
  box.worker.setServers([hung, gearmand]);
  const job = await box.jobs.next();
  assert.equal(job.server, `127.0.0.1:${gearmand.port}`);
  const down = box.events.all.find((event) => event.type === "down");
  assert.match(
    down?.type === "down" ? down.error.message : "",
    /no answer to a request for a job within 0\.3 s/,
  );
  job.complete();
  job.done();
});

describe("a worker of the Perl server", { skip: lacks("perlGearmand") }, () => {
  test("falls back to GRAB_JOB, and survives the ERROR that WORK_DATA brings", async () => {
    await using server = await startPerlServer();
    await using box = await startWorker([server], ["f"]);
    await using client = await Client.connect(server);
    for (const round of ["one", "two"]) {
      const submission = await client.submit({ function: "f", unique: "u", data: round });
      const job = await box.jobs.next();
      assert.deepEqual([job.handle, job.unique, String(job.argument)], [submission.handle, "", round]);
      job.data("lost on this server");
      job.status(1, 2);
      job.complete(round);
      job.done();
      assert.deepEqual(await eventsOf(submission), ["status 1/2", `complete ${round}`]);
    }
    await box.events.until((all) =>
      all.some((event) => event.type === "warning" && /CMD_work_data/.test(event.text)),
    );
  });
});

describe("a worker of odd servers", () => {
  test("a job that nobody asked for ends the connection with a reason", async () => {
    await using pushy = await startScriptedServer((type, send) => {
      if (type === "GRAB_JOB_UNIQ") send(encode("RES", "NO_JOB"));
      if (type === "PRE_SLEEP") send(encode("RES", "JOB_ASSIGN", "H:x:1", "f", ""));
    });
    await using box = await startWorker([pushy], ["f"]);
    await told(box, "down", pushy.port);
    assert.match(box.worker.links[0]?.lastError?.message ?? "", /gave a job that nobody asked for/);
    assert.equal(box.jobs.all.length, 0);
  });

  test("packets that no state expects are reported, and the link goes on", async () => {
    await using chatty = await startScriptedServer((type, send) => {
      if (type !== "PRE_SLEEP") return send(encode("RES", "NO_JOB"));
      send(
        Buffer.concat([
          encode("RES", "NO_JOB"),
          encode("RES", "ECHO_RES", "x"),
          encode("RES", "ERROR", "E", "a\nb"),
        ]),
      );
    });
    await using box = await startWorker([chatty], ["f"]);
    await box.events.until((all) =>
      all.some((event) => event.type === "warning" && event.text.endsWith("ERROR: E a\\nb")),
    );
    assert.equal(box.worker.links[0]?.state, "asleep");
  });

  test("a peer that speaks another protocol: the error shows what it sent", async () => {
    await using http = await startRawServer((socket) => socket.write("HTTP/1.1 400 Bad Request\r\n\r\n"));
    await using good = await startScriptedServer(() => {});
    await using box = await startWorker([http, good], ["f"]);
    await told(box, "down", http.port);
    const link = box.worker.links.find(({ server }) => server.endsWith(`:${http.port}`));
    assert.match(link?.lastError?.message ?? "", /the peer speaks HTTP: "HTTP\/1\.1 400/);
  });
});

/** A clock that stands still until a test lets a time pass that was asked for. */
class StandingClock implements Clock {
  readonly #timers = new Arrivals<{ delayMs: number; call: () => void; isOver: boolean }>();

  now(): number {
    return 0;
  }

  after(delayMs: number, call: () => void): () => void {
    const timer = { delayMs, call, isOver: false };
    this.#timers.add(timer);
    return () => {
      timer.isOver = true;
    };
  }

  async pass(delayMs: number): Promise<void> {
    const find = () => this.#timers.all.find((timer) => !timer.isOver && timer.delayMs === delayMs);
    await this.#timers.until(() => find() !== undefined);
    const timer = find();
    if (timer) timer.isOver = true;
    timer?.call();
  }
}

test("a server that hangs is noticed on an idle connection; one that doesn't know ECHO_REQ isn't taken for it", async () => {
  const questions = new Arrivals<string>();
  await using server = await startScriptedServer((type, send) => {
    if (type === "GRAB_JOB_UNIQ") send(encode("RES", "NO_JOB"));
    questions.add(type);
  });
  const clock = new StandingClock();
  await using box = await startWorker([server], ["f"], { clock });
  await questions.until((all) => all.includes("PRE_SLEEP"));
  for (let minute = 1; minute <= 3; minute++) await clock.pass(60_000);
  assert.equal(box.worker.links[0]?.state, "asleep");
  // Before it has the last question.
  server.hang();
  await clock.pass(10_000);
  await told(box, "down", server.port);
  assert.match(box.worker.links[0]?.lastError?.message ?? "", /no answer on an idle connection within 10 s/);
});

test("a server that hangs is noticed while no job is wanted, too", async () => {
  const wake = Promise.withResolvers<() => void>();
  await using server = await startScriptedServer((type, send) => {
    if (type === "GRAB_JOB_UNIQ") send(encode("RES", "NO_JOB"));
    if (type === "PRE_SLEEP") wake.resolve(() => send(encode("RES", "NOOP")));
  });
  const clock = new StandingClock();
  await using box = await startWorker([server], ["f"], { clock });
  const sendNoop = await bounded(wake.promise);
  box.worker.pause();
  sendNoop();
  await clock.pass(60_000);
  await clock.pass(60_000);
  assert.equal(box.worker.links[0]?.state, "awake");
  // Before it has the last question.
  server.hang();
  await clock.pass(10_000);
  await told(box, "down", server.port);
});
