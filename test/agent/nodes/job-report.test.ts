import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { JobReport, type ReportedJob, ResultMessage } from "#/agent/nodes/job-report.ts";
import { Build } from "#/builds/build.ts";
import type { Ending } from "#/builds/record.ts";
import { record } from "../../builds/build-parts.ts";
import { bounded } from "../../support/servers.ts";

const worker = {
  manager: "rack7",
  hostname: "rack7",
  fqdn: "rack7.example",
  ips: ["10.0.0.7"],
  version: "1.0",
};
const facts = { job: "unit-tests", number: 1, url: "http://rack7/1", node: "rack7", labels: ["x86-64"] };
const passed: Ending = { kind: "passed", reason: "the job passed" };
/** Longer than any test: nothing is stopped for want of a job. */
const long = 600_000;

/** A Gearman job that keeps what is sent on it. */
class FakeJob implements ReportedJob {
  readonly server = "gearman.example:4730";
  readonly handle: string;
  readonly said: string[] = [];
  readonly #lost = new AbortController();
  readonly #delivered = Promise.withResolvers<boolean>();
  room: Promise<void> = Promise.resolve();

  /** @param handle one for each job */
  constructor(handle: string = randomUUID()) {
    this.handle = handle;
  }

  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  get delivered(): Promise<boolean> {
    return this.#delivered.promise;
  }

  /** Its server has read what was said. */
  confirm(): void {
    this.#delivered.resolve(true);
  }

  lose(): void {
    this.#delivered.resolve(false);
    this.#lost.abort(new Error("gone"));
  }

  data(bytes: string): void {
    this.said.push(`data ${bytes}`);
  }

  status(numerator: number, denominator: number): void {
    this.said.push(`status ${numerator}/${denominator}`);
  }

  complete(bytes = ""): void {
    this.said.push(`complete ${bytes}`);
  }

  fail(): void {
    this.said.push("fail");
  }

  drained(): Promise<void> {
    return this.room;
  }
}

function newReport(orphanTimeoutMs = long) {
  const build = new Build("/nowhere/unit-tests/1", record());
  return {
    build,
    report: new JobReport({ build, message: new ResultMessage(worker, facts), orphanTimeoutMs }),
  };
}

/** The objects of the data packets; all else as it was said. */
function parsed(said: readonly string[]): unknown[] {
  return said.map((text) => (/^(data|complete) /.test(text) ? JSON.parse(text.replace(/^\w+ /, "")) : text));
}

test("the first data at once, then 0 %, the progress as it grows, the last data, the end", async () => {
  const { build, report } = newReport();
  const job = new FakeJob();
  const attached = report.attach(job);
  assert.equal(job.said.length, 2);
  build.enter("preparing");
  for (const percent of [10.5, 10.9, 40, 30, 100]) build.progress = percent;
  build.enter("running");
  await build.end(passed, () => "SUCCESS");
  const delivered = report.end(passed, "SUCCESS");
  await attached;
  job.confirm();
  assert.equal(await delivered, true);
  const [first, zero, ...rest] = parsed(job.said);
  assert.equal((first as { manager: string }).manager, "rack7");
  assert.equal(zero, "status 0/100");
  const last = { ...(first as object), result: "SUCCESS", reason: "the job passed", cause: "passed" };
  assert.deepEqual(rest, ["status 10/100", "status 40/100", "status 99/100", last, last]);
  assert.match(job.said.at(-1) ?? "", /^complete /);
});

for (const [kind, result] of [
  ["failed", "FAILURE"],
  ["stopped", "ABORTED"],
  ["timed-out", "TIMED_OUT"],
  ["infrastructure", undefined],
  ["infrastructure", "NODE_FAILURE"],
] as const) {
  test(`${kind} with ${result ?? "no result"} ends with WORK_FAIL`, async () => {
    const { report } = newReport();
    const job = new FakeJob();
    void report.attach(job);
    void report.end({ kind, reason: "why", cause: "silent" }, result);
    const [first, , last, end, ...more] = parsed(job.said);
    const why = { reason: "why", cause: "silent" };
    assert.deepEqual(last, { ...(first as object), ...(result && { result }), ...why });
    assert.equal("result" in (last as object), result !== undefined);
    assert.deepEqual([end, ...more], ["fail"]);
  });
}

test("a build that has lost its job server lives for as long as its client asks for it", (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { build, report } = newReport(120_000);
  const job = new FakeJob();
  void report.attach(job);
  report.heard();
  context.mock.timers.tick(600_000);
  job.lose();
  for (let count = 0; count < 5; count++) {
    context.mock.timers.tick(100_000);
    report.heard();
  }
  context.mock.timers.tick(119_000);
  assert.equal(build.state.phase, "assigned");
  const again = new FakeJob();
  void report.attach(again);
  context.mock.timers.tick(600_000);
  assert.equal(build.state.phase, "assigned");
  again.lose();
  context.mock.timers.tick(120_000);
  assert.equal(build.state.phase, "stopping");
});

test("a request that can't be understood gets its reason and its end", () => {
  const job = new FakeJob();
  const { number: _, ...request } = facts;
  new ResultMessage(worker, request).refuse(job, "the argument is no JSON");
  const [data, ...rest] = parsed(job.said);
  assert.equal((data as { result: string }).result, "FAILURE");
  assert.equal((data as { reason: string }).reason, "the argument is no JSON");
  assert.equal("number" in (data as object), false);
  assert.deepEqual(rest, ["fail"]);
});

test("a piece of console waits for the slowest job", async () => {
  const { report } = newReport();
  const [quick, slow] = [new FakeJob(), new FakeJob()];
  void report.attach(quick);
  void report.attach(slow);
  const room = Promise.withResolvers<void>();
  slow.room = room.promise;
  let done = false;
  const output = report.output('a "line"\n', 7).then(() => {
    done = true;
  });
  for (const job of [quick, slow]) {
    assert.deepEqual(parsed(job.said).at(-1), { output: 'a "line"\n', offset: 7 });
  }
  await turn();
  assert.equal(done, false);
  room.resolve();
  await output;
});

test("all jobs get the report, each from its beginning; a lost one gets no more", async () => {
  const { build, report } = newReport();
  const [first, second] = [new FakeJob(), new FakeJob()];
  const lost = report.attach(first);
  build.progress = 30;
  void report.attach(second);
  assert.equal(second.said[1], "status 30/100");
  first.lose();
  await bounded(lost);
  const before = first.said.length;
  build.progress = 40;
  await report.output("x", 0);
  const delivered = report.end(passed, "SUCCESS");
  second.confirm();
  assert.equal(await delivered, true);
  assert.equal(first.said.length, before);
  assert.equal(second.said.length, 6);
});

test("an ending counts as delivered when every server has taken it", async () => {
  const told = async (how: (one: FakeJob, other: FakeJob) => void) => {
    const { report } = newReport();
    const [one, other] = [new FakeJob(), new FakeJob()];
    void report.attach(one);
    void report.attach(other);
    const delivered = report.end(passed, "SUCCESS");
    how(one, other);
    return bounded(delivered);
  };
  assert.equal(await told((one, other) => [one.confirm(), other.confirm()]), true);
  assert.equal(await told((one, other) => [one.confirm(), other.lose()]), false);
  assert.equal(await bounded(newReport().report.end(passed, "SUCCESS")), false, "no job was attached");
});

test("a job that is handed out again gets the report on its new connection; nothing waits for the old one", async () => {
  const { report } = newReport();
  const [old, other, fresh] = [new FakeJob("H:1"), new FakeJob("H:2"), new FakeJob("H:1")];
  for (const job of [old, other, fresh]) void report.attach(job);
  old.room = new Promise(() => {});
  await bounded(report.output("x", 0));
  assert.deepEqual(
    [old, other, fresh].map(({ said }) => said.length),
    [2, 3, 3],
  );
  const delivered = report.end(passed, "SUCCESS");
  other.confirm();
  fresh.confirm();
  assert.equal(await bounded(delivered), true);
  assert.match(String(old.said.at(-1)), /^complete/, "in case it does come through");
});

test("a build without a job is stopped after a while", async () => {
  const { build, report } = newReport(20);
  const [first, second] = [new FakeJob(), new FakeJob()];
  void report.attach(first);
  void report.attach(second);
  first.lose();
  assert.equal(report.isAttached, true);
  second.lose();
  assert.equal(report.isAttached, false);
  await bounded(once(build.signal, "abort"));
  assert.equal(build.state.phase === "stopping" && build.state.ending.kind, "infrastructure");
  await report.end({ kind: "infrastructure", reason: "gone" }, undefined);
});

test("a job that was lost before it was attached is none", async () => {
  const { build, report } = newReport(20);
  const job = new FakeJob();
  job.lose();
  await bounded(report.attach(job));
  assert.equal(report.isAttached, false);
  await bounded(once(build.signal, "abort"));
});

test("a new job in time lets the build go on, and wakes what waits for one", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { build, report } = newReport(1000);
  const first = new FakeJob();
  void report.attach(first);
  await report.attached();
  first.lose();
  let woken = false;
  const waiting = report.attached().then(() => {
    woken = true;
  });
  t.mock.timers.tick(999);
  await turn();
  assert.equal(woken, false);
  const second = new FakeJob();
  void report.attach(second);
  await waiting;
  t.mock.timers.tick(100_000);
  assert.equal(build.signal.aborted, false);
  second.lose();
  t.mock.timers.tick(1000);
  assert.equal(build.signal.aborted, true, "each time anew");
});

test("the end of the build ends the wait for a job", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { build, report } = newReport(1000);
  const job = new FakeJob();
  void report.attach(job);
  job.lose();
  assert.equal(await report.end(passed, "SUCCESS"), false);
  t.mock.timers.tick(100_000);
  assert.equal(build.signal.aborted, false);
});
