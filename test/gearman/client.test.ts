/** The client against the real gearmand, and against peers that behave like other servers. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Client } from "#/gearman/client/client.ts";
import type { GearmanError } from "#/gearman/wire/errors.ts";
import { encode } from "#/gearman/wire/packet.ts";
import type { Job } from "#/gearman/worker/worker.ts";
import { Arrivals, eventsOf, startWorker, statusOf } from "../support/gearman.ts";
import { lacks } from "../support/parts.ts";
import { startRecorder } from "../support/recorder.ts";
import { bounded, type RunningServer, startGearmand, startRawServer } from "../support/servers.ts";

const closed = (error: GearmanError) => error.code === "CLOSED";

describe("a client of gearmand", { skip: lacks("gearmand") }, () => {
  let server: RunningServer;
  before(async () => {
    server = await startGearmand();
  });
  after(() => server[Symbol.asyncDispose]());

  test("follows several jobs on one connection", async () => {
    await using client = await Client.connect(server);
    await using _one = await startWorker([server], ["echo"], {
      onJob: async (job) => {
        job.data(`got ${job.argument}`);
        job.status(3, 4);
        if (String(job.argument) === "bad") return job.fail();
        job.complete("");
      },
    });
    const submissions = ["a", "bad", "c"].map((data) => client.submit({ function: "echo", data }));
    const all = await Promise.all(submissions.map(async (submission) => eventsOf(await submission)));
    assert.deepEqual(all, [
      ["data got a", "status 3/4", "complete "],
      ["data got bad", "status 3/4", "fail"],
      ["data got c", "status 3/4", "complete "],
    ]);
  });

  test("submits with a priority, in the foreground and in the background", async () => {
    await using recorder = await startRecorder(server);
    await using client = await Client.connect(recorder);
    for (const priority of ["high", "normal", "low"] as const) {
      await client.submit({ function: "prio", data: "", priority });
      const background = await client.submit({ function: "prio", data: "", priority, background: true });
      assert.deepEqual(await eventsOf(background), [], "no events");
    }
    assert.deepEqual(
      recorder.packets.filter(({ from }) => from === "worker").map(({ packet }) => packet.type),
      [
        "SUBMIT_JOB_HIGH",
        "SUBMIT_JOB_HIGH_BG",
        "SUBMIT_JOB",
        "SUBMIT_JOB_BG",
        "SUBMIT_JOB_LOW",
        "SUBMIT_JOB_LOW_BG",
      ],
    );
    const done = new Arrivals<Job>();
    await using _ = await startWorker([server], ["prio"], {
      onJob: async (job) => {
        job.complete();
        done.add(job);
      },
    });
    await done.until((all) => all.length === 6);
    await Promise.all(done.all.map((job) => bounded(job.delivered)));
    assert.equal(await statusOf(server, "prio"), "0 0 1");
    const created = recorder.packets.filter(({ packet }) => packet.type === "JOB_CREATED");
    const [high, highBg, normal, normalBg, low, lowBg] = created.map(({ packet }) => String(packet.args[0]));
    assert.deepEqual(
      done.all.map(({ handle }) => handle),
      [high, highBg, normal, normalBg, low, lowBg],
    );
  });

  test("asks for a job's status", async () => {
    await using client = await Client.connect(server);
    await using box = await startWorker([server], ["status"]);
    const { handle } = await client.submit({ function: "status", data: "" });
    const job = await box.jobs.next();
    job.status(1, 3);
    const unknown = await client.status("H:nowhere:1");
    assert.deepEqual(unknown, { known: false, running: false, numerator: 0, denominator: 0 });
    const { known, running } = await client.status(handle);
    assert.deepEqual([known, running], [true, true]);
    job.complete();
    job.done();
  });

  test("an exception is the end for a client that wants exceptions, a failure for others; the worker goes on", async () => {
    await using box = await startWorker([server], ["raises"], {
      onJob: async (job) => {
        job.exception("no such board");
        job.fail();
      },
    });
    await using client = await Client.connect(server);
    const plain = await client.submit({ function: "raises", data: "" });
    assert.deepEqual(await bounded(eventsOf(plain)), ["fail"]);
    client.wantExceptions();
    const wanted = await client.submit({ function: "raises", data: "" });
    assert.deepEqual(await bounded(eventsOf(wanted)), ["exception no such board"]);
    await box.events.until((all) =>
      all.some((event) => event.type === "warning" && /JOB_NOT_FOUND/.test(event.text)),
    );
    assert.deepEqual(await bounded(eventsOf(await client.submit({ function: "raises", data: "" }))), [
      "exception no such board",
    ]);
  });

  test("two submissions with one unique are one job, and both get its events", async () => {
    await using client = await Client.connect(server);
    const one = await client.submit({ function: "joined", unique: "u", data: "1" });
    const two = await client.submit({ function: "joined", unique: "u", data: "2" });
    assert.equal(one.handle, two.handle);
    await using box = await startWorker([server], ["joined"]);
    const job = await box.jobs.next();
    job.complete("once");
    job.done();
    assert.deepEqual(await bounded(Promise.all([eventsOf(one), eventsOf(two)])), [
      ["complete once"],
      ["complete once"],
    ]);
  });

  test("a lost connection is an error for open requests and for later ones", async () => {
    await using recorder = await startRecorder(server);
    await using client = await Client.connect(recorder);
    const submission = await client.submit({ function: "lost", data: "" });
    const reading = eventsOf(submission);
    recorder.cut();
    await assert.rejects(bounded(reading), closed);
    assert.equal((await client.closed).code, "CLOSED");
    await assert.rejects(client.submit({ function: "lost", data: "" }), closed);
    await assert.rejects(client.status("H:x:1"), closed);
  });

  test("a reader that leaves early doesn't hold up the others", async () => {
    const piece = Buffer.alloc(1024 * 1024, "x");
    await using client = await Client.connect(server);
    await using _box = await startWorker([server], ["much"], {
      onJob: async (job) => {
        for (let i = 0; i < 12; i++) {
          job.data(piece);
          await job.drained();
        }
        job.complete("all");
      },
    });
    const left = await client.submit({ function: "much", data: "" });
    for await (const _event of left) break;
    const last = (await bounded(eventsOf(await client.submit({ function: "much", data: "" })))).at(-1);
    assert.equal(last, "complete all");
  });
});

test("geard's WORK_FAIL for a lost worker, with the magic of a request, is the end", async () => {
  await using geard = await startRawServer((socket) => {
    socket.once("data", () => {
      socket.write(
        Buffer.concat([
          encode("RES", "JOB_CREATED", "H:127.0.0.1:1"),
          encode("REQ", "WORK_FAIL", "H:127.0.0.1:1"),
        ]),
      );
    });
  });
  await using client = await Client.connect(geard);
  assert.deepEqual(await eventsOf(await client.submit({ function: "f", data: "" })), ["fail"]);
});

test("events that arrive with the handle, before anyone reads, are kept", async () => {
  await using quick = await startRawServer((socket) => {
    socket.once("data", () => {
      const packets = [
        encode("RES", "JOB_CREATED", "h"),
        encode("RES", "WORK_DATA", "h", "d"),
        encode("RES", "WORK_COMPLETE", "h", "c"),
      ];
      socket.end(Buffer.concat(packets));
    });
  });
  await using client = await Client.connect(quick);
  const submission = await client.submit({ function: "f", data: "" });
  await client.closed;
  assert.deepEqual(await eventsOf(submission), ["data d", "complete c"]);
});

test("a refused submission says why, and the next request gets its own answer", async () => {
  await using picky = await startRawServer((socket) => {
    socket.once("data", () => {
      socket.write(encode("RES", "ERROR", "0", "Permission denied by ACL"));
      socket.once("data", () => socket.write(encode("RES", "JOB_CREATED", "h")));
    });
  });
  await using client = await Client.connect(picky);
  await assert.rejects(client.submit({ function: "f", data: "" }), (error: GearmanError) => {
    assert.equal(error.code, "REFUSED");
    assert.match(error.message, /refused SUBMIT_JOB: 0 Permission denied by ACL/);
    return true;
  });
  assert.equal((await client.submit({ function: "f", data: "" })).handle, "h");
});

test("unread events make the server wait and don't fill the memory", async () => {
  const { promise: stuck, resolve } = Promise.withResolvers<number>();
  const piece = encode("RES", "WORK_DATA", "h", Buffer.alloc(1024 * 1024));
  const all = 64;
  let taken = 0;
  await using eager = await startRawServer((socket) => {
    socket.once("data", () => {
      socket.write(encode("RES", "JOB_CREATED", "h"));
      const push = () => {
        while (taken < all) {
          taken += 1;
          if (!socket.write(piece)) {
            const timer = setTimeout(() => resolve(taken), 500);
            socket.once("drain", () => {
              clearTimeout(timer);
              push();
            });
            return;
          }
        }
        socket.write(encode("RES", "WORK_COMPLETE", "h", ""));
        resolve(taken);
      };
      push();
    });
  });
  await using client = await Client.connect(eager);
  const submission = await client.submit({ function: "f", data: "" });
  const before = await bounded(stuck);
  assert(before < all, `the server was stopped after ${before} MiB`);
  let bytes = 0;
  for await (const event of submission) if (event.type === "data") bytes += event.data.length;
  assert.equal(bytes, all * 1024 * 1024);
});
