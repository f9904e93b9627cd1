/** The worker against the real gearmand: registration, grabbing, ending, withdrawing. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Admin } from "#/gearman/client/admin.ts";
import { Client } from "#/gearman/client/client.ts";
import { type Job, Worker } from "#/gearman/worker/worker.ts";
import { Arrivals, eventsOf, startWorker, statusOf, submitDetached } from "../support/gearman.ts";
import { lacks } from "../support/parts.ts";
import { startRecorder } from "../support/recorder.ts";
import { bounded, type RunningServer, startGearmand } from "../support/servers.ts";

describe("a worker of gearmand", { skip: lacks("gearmand") }, () => {
  let server: RunningServer;
  before(async () => {
    server = await startGearmand();
  });
  after(() => server[Symbol.asyncDispose]());

  test("does a job: data, status, the end", async () => {
    await using box = await startWorker([server], ["say"]);
    await using client = await Client.connect(server);
    const submission = await client.submit({ function: "say", unique: "u-1", data: "a\0b" });
    const job = await box.jobs.next();
    assert.equal(job.server, `127.0.0.1:${server.port}`);
    assert.equal(job.handle, submission.handle);
    assert.deepEqual([job.function, job.unique, String(job.argument)], ["say", "u-1", "a\0b"]);
    job.data("one");
    job.status(1, 2);
    job.complete("two");
    job.done();
    assert.deepEqual(await eventsOf(submission), ["data one", "status 1/2", "complete two"]);
    await bounded(box.worker.settled());
  });

  test("gets jobs that were queued before it connected, or before it registered the function while asleep", async () => {
    await submitDetached(server, "early-1");
    await submitDetached(server, "early-2");
    await using recorder = await startRecorder(server);
    await using box = await startWorker([recorder], ["early-1"]);
    const first = await box.jobs.next();
    first.complete();
    first.done();
    await recorder.until((lines) => lines.at(-1) === "worker PRE_SLEEP");
    box.worker.setFunctions(new Set(["early-1", "early-2"]));
    const second = await box.jobs.next();
    assert.equal(second.function, "early-2");
    second.complete();
    second.done();
  });

  test("sends the client id first, then the functions, then a request for a job; asleep after NO_JOB", async () => {
    await using recorder = await startRecorder(server);
    await using _box = await startWorker([recorder], ["order-a", "order-b"]);
    await recorder.until((lines) => lines.at(-1) === "worker PRE_SLEEP");
    assert.deepEqual(recorder.lines, [
      "worker SET_CLIENT_ID test",
      "worker CAN_DO order-a",
      "worker CAN_DO order-b",
      "worker GET_STATUS H:none:0",
      "server STATUS_RES H:none:0 0 0 0 0",
      "worker GRAB_JOB_UNIQ",
      "server NO_JOB",
      "worker PRE_SLEEP",
    ]);
  });

  test("registers only the difference", async () => {
    await using recorder = await startRecorder(server);
    await using box = await startWorker([recorder], ["diff-a", "diff-b"]);
    box.worker.setFunctions(new Set(["diff-b", "diff-c"]));
    await bounded(box.worker.registered());
    box.worker.setFunctions(new Set(["diff-b", "diff-c"]));
    await recorder.until((lines) => lines.includes("worker CANT_DO diff-a"));
    await bounded(box.worker.registered());
    assert.deepEqual(
      await Promise.all(["diff-a", "diff-b", "diff-c"].map((name) => statusOf(server, name))),
      ["0 0 0", "0 0 1", "0 0 1"],
    );
    const functions = recorder.lines.filter((line) => / CANT?_DO /.test(line));
    assert.deepEqual(functions.toSorted(), [
      "worker CANT_DO diff-a",
      "worker CAN_DO diff-a",
      "worker CAN_DO diff-b",
      "worker CAN_DO diff-c",
    ]);
  });

  test("withdraws a function only when its connection holds no job; adds at once", async () => {
    await using recorder = await startRecorder(server);
    await using box = await startWorker([recorder], ["hold-a"]);
    await using client = await Client.connect(server);
    const submission = await client.submit({ function: "hold-a", data: "" });
    const job = await box.jobs.next();
    box.worker.setFunctions(new Set(["hold-b"]));
    await bounded(box.worker.registered());
    assert.equal(await statusOf(server, "hold-a"), "1 1 1", "not put back in the queue");
    assert.equal(await statusOf(server, "hold-b"), "0 0 1");
    job.complete("done");
    job.done();
    assert.deepEqual(await eventsOf(submission), ["complete done"]);
    await recorder.until((lines) => lines.includes("worker CANT_DO hold-a"));
    const at = (line: RegExp) => recorder.lines.findIndex((text) => line.test(text));
    assert(at(/CANT_DO hold-a/) > at(/WORK_COMPLETE/));
  });

  test("a busy worker stays registered, asks for nothing, and gets the next job when it is free", async () => {
    await using recorder = await startRecorder(server);
    await using box = await startWorker([recorder], ["busy"]);
    const handles = [await submitDetached(server, "busy"), await submitDetached(server, "busy")];
    const first = await box.jobs.next();
    assert.equal(await statusOf(server, "busy"), "2 1 1");
    first.complete();
    assert.equal(recorder.lines.filter((line) => line === "worker GRAB_JOB_UNIQ").length <= 2, true);
    assert.equal(box.jobs.all.length, 1, "the slot is not free before onJob has settled");
    first.done();
    const second = await box.jobs.next();
    assert.deepEqual([first.handle, second.handle], handles);
    second.fail();
    second.done();
  });

  test("a paused worker stays registered and asks for nothing until it is resumed", async () => {
    await using recorder = await startRecorder(server);
    await using box = await startWorker([recorder], ["pause"]);
    await recorder.until((lines) => lines.at(-1) === "worker PRE_SLEEP");
    box.worker.pause();
    await bounded(box.worker.settled());
    await submitDetached(server, "pause");
    await recorder.until((lines) => lines.includes("server NOOP"));
    assert.equal(await statusOf(server, "pause"), "1 0 1");
    assert.equal(recorder.lines.at(-1), "server NOOP", "a NOOP is answered by nothing");
    box.worker.resume();
    const job = await box.jobs.next();
    job.complete();
    job.done();
  });

  test("a worker that starts paused registers", async () => {
    await using worker = new Worker({ servers: [server], clientId: "paused", onJob: async () => {} });
    worker.pause();
    worker.setFunctions(new Set(["start-paused"]));
    await bounded(worker.registered());
    assert.equal(await statusOf(server, "start-paused"), "0 0 1");
    assert.equal(worker.idle, true);
  });

  test("when two workers wake for one job, the one that gets none sleeps and gets the next", async () => {
    const done = new Arrivals<string>();
    const onJob = async (job: Job) => {
      job.complete();
      done.add(job.handle);
    };
    await using _one = await startWorker([server], ["race"], { onJob });
    await using _two = await startWorker([server], ["race"], { onJob });
    for (let round = 0; round < 10; round++)
      assert.equal(await submitDetached(server, "race"), await done.next());
  });

  test("a job without an end is failed, and so is one whose onJob rejects", async () => {
    await using client = await Client.connect(server);
    await using box = await startWorker([server], ["open"]);
    const open = await client.submit({ function: "open", data: "" });
    (await box.jobs.next()).done();
    assert.deepEqual(await eventsOf(open), ["fail"]);

    const error = new Error("a bug");
    await using bad = await startWorker([server], ["rejects"], { onJob: () => Promise.reject(error) });
    assert.deepEqual(await eventsOf(await client.submit({ function: "rejects", data: "" })), ["fail"]);
    await bad.events.until((all) => all.some((event) => event.type === "job-error" && event.error === error));
  });

  test("a job ends once: what is said later is dropped", async () => {
    await using recorder = await startRecorder(server);
    await using box = await startWorker([recorder], ["once"]);
    await submitDetached(server, "once");
    const job = await box.jobs.next();
    job.complete("first");
    job.complete("second");
    job.fail();
    job.data("late");
    job.status(1, 1);
    job.exception("late");
    job.done();
    await bounded(box.worker.settled());
    await recorder.until((lines) => lines.at(-1) === "worker PRE_SLEEP");
    const said = recorder.lines.filter((line) => line.startsWith("worker WORK_"));
    assert.deepEqual(said, [`worker WORK_COMPLETE ${job.handle} first`]);
  });

  test("ending a job that the server has cancelled does no harm, and the next one comes", async () => {
    await using box = await startWorker([server], ["cancelled"]);
    const handle = await submitDetached(server, "cancelled");
    const job = await box.jobs.next();
    await using admin = await Admin.connect(server);
    await admin.cancelJob(handle);
    job.complete("in vain");
    job.done();
    await submitDetached(server, "cancelled");
    const next = await box.jobs.next();
    next.complete();
    next.done();
  });

  test("while 200 jobs wait for a busy worker, a second one on its own connection answers at once", async () => {
    await using _busy = await startWorker([server], ["flood"]);
    await using client = await Client.connect(server);
    for (let i = 0; i < 200; i++) await client.submit({ function: "flood", data: "", background: true });
    await using _manager = await startWorker([server], ["stop:box"], {
      onJob: async (job) => job.complete(`stopping ${job.argument}`),
    });
    const stop = await client.submit({ function: "stop:box", data: "b1", priority: "high" });
    assert.deepEqual(await bounded(eventsOf(stop)), ["complete stopping b1"]);
    assert.equal(await statusOf(server, "flood"), "200 1 1");
  });

  test("disposing of a worker ends its connection; a running job is lost, and not waited for", async () => {
    const box = await startWorker([server], ["dispose"]);
    await submitDetached(server, "dispose");
    const job = await box.jobs.next();
    await bounded(box[Symbol.asyncDispose]());
    assert.equal(job.lost.aborted, true);
    job.complete("in vain");
    await using next = await startWorker([server], ["dispose"]);
    assert.equal((await next.jobs.next()).handle, job.handle, "gearmand gives it to another");
    await assert.rejects(box.worker.registered(), /the worker is closed/);
  });
});

test("names that the protocol can't carry are refused", () => {
  const onJob = async () => {};
  for (const clientId of ["", "a b", "a\nb", "a\0", "ä"]) {
    assert.throws(() => new Worker({ servers: [], clientId, onJob }), /client id/);
  }
  const worker = new Worker({ servers: [], clientId: "x", onJob });
  for (const name of ["", "a b", "a\tb", "a\0b", "a\nb"]) {
    assert.throws(() => worker.setFunctions(new Set([name])), /no function name/);
  }
});
