import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { type JobChannel, Report, Reporter } from "#/agent/nodes/job-report.ts";
import { Build } from "#/builds/build.ts";
import type { Ending } from "#/builds/ending.ts";
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
/** Longer than any test: nothing is stopped for want of a line. */
const long = 600_000;

/** A line to a job server that keeps what is said on it. */
class Line implements JobChannel {
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

function newReporter(orphanTimeout = long) {
  const build = new Build("/nowhere/unit-tests/1", record());
  return { build, reporter: new Reporter({ build, report: new Report(worker, facts), orphanTimeout }) };
}

/** The objects of the data packets; all else as it was said. */
function parsed(said: readonly string[]): unknown[] {
  return said.map((line) => (/^(data|complete) /.test(line) ? JSON.parse(line.replace(/^\w+ /, "")) : line));
}

test("the first data at once, then 0 %, the progress as it grows, the last data, the end", async () => {
  const { build, reporter } = newReporter();
  const line = new Line();
  const attached = reporter.attach(line);
  assert.equal(line.said.length, 2);
  build.enter("preparing");
  for (const percent of [10.5, 10.9, 40, 30, 100]) build.progress = percent;
  build.enter("running");
  await build.end(passed, () => "SUCCESS");
  const delivered = reporter.ended("passed", "SUCCESS");
  await attached;
  line.confirm();
  assert.equal(await delivered, true);
  const [first, zero, ...rest] = parsed(line.said);
  assert.equal((first as { manager: string }).manager, "rack7");
  assert.equal(zero, "status 0/100");
  const last = { ...(first as object), result: "SUCCESS" };
  assert.deepEqual(rest, ["status 10/100", "status 40/100", "status 99/100", last, last]);
  assert.match(line.said.at(-1) ?? "", /^complete /);
});

for (const [kind, result] of [
  ["failed", "FAILURE"],
  ["stopped", "ABORTED"],
  ["timed-out", "TIMED_OUT"],
  ["infrastructure", undefined],
  ["infrastructure", "NODE_FAILURE"],
] as const) {
  test(`${kind} with ${result ?? "no result"} ends with WORK_FAIL`, async () => {
    const { reporter } = newReporter();
    const line = new Line();
    void reporter.attach(line);
    void reporter.ended(kind, result);
    const [first, , last, end, ...more] = parsed(line.said);
    assert.deepEqual(last, { ...(first as object), ...(result && { result }) });
    assert.equal("result" in (last as object), result !== undefined);
    assert.deepEqual([end, ...more], ["fail"]);
  });
}

test("a request that can't be understood gets its reason and its end", () => {
  const line = new Line();
  const { number: _, ...request } = facts;
  new Report(worker, request).refuse(line, "the argument is no JSON");
  const [data, ...rest] = parsed(line.said);
  assert.equal((data as { result: string }).result, "FAILURE");
  assert.equal((data as { reason: string }).reason, "the argument is no JSON");
  assert.equal("number" in (data as object), false);
  assert.deepEqual(rest, ["fail"]);
});

test("a piece of console waits for the slowest line", async () => {
  const { reporter } = newReporter();
  const [quick, slow] = [new Line(), new Line()];
  void reporter.attach(quick);
  void reporter.attach(slow);
  const room = Promise.withResolvers<void>();
  slow.room = room.promise;
  let done = false;
  const output = reporter.output('a "line"\n', 7).then(() => {
    done = true;
  });
  for (const line of [quick, slow]) {
    assert.deepEqual(parsed(line.said).at(-1), { output: 'a "line"\n', offset: 7 });
  }
  await turn();
  assert.equal(done, false);
  room.resolve();
  await output;
});

test("all lines are told, each from its beginning; one that is lost is told no more", async () => {
  const { build, reporter } = newReporter();
  const [first, second] = [new Line(), new Line()];
  const lost = reporter.attach(first);
  build.progress = 30;
  void reporter.attach(second);
  assert.equal(second.said[1], "status 30/100");
  first.lose();
  await bounded(lost);
  const before = first.said.length;
  build.progress = 40;
  await reporter.output("x", 0);
  const delivered = reporter.ended("passed", "SUCCESS");
  second.confirm();
  assert.equal(await delivered, true);
  assert.equal(first.said.length, before);
  assert.equal(second.said.length, 6);
});

test("an ending counts as delivered when every server has taken it", async () => {
  const told = async (how: (one: Line, other: Line) => void) => {
    const { reporter } = newReporter();
    const [one, other] = [new Line(), new Line()];
    void reporter.attach(one);
    void reporter.attach(other);
    const delivered = reporter.ended("passed", "SUCCESS");
    how(one, other);
    return bounded(delivered);
  };
  assert.equal(await told((one, other) => [one.confirm(), other.confirm()]), true);
  assert.equal(await told((one, other) => [one.confirm(), other.lose()]), false);
  assert.equal(await bounded(newReporter().reporter.ended("passed", "SUCCESS")), false, "nobody was there");
});

test("a job that is handed out again is told on its new line; nothing waits for the old one", async () => {
  const { reporter } = newReporter();
  const [old, other, fresh] = [new Line("H:1"), new Line("H:2"), new Line("H:1")];
  for (const line of [old, other, fresh]) void reporter.attach(line);
  old.room = new Promise(() => {});
  await bounded(reporter.output("x", 0));
  assert.deepEqual(
    [old, other, fresh].map(({ said }) => said.length),
    [2, 3, 3],
  );
  const delivered = reporter.ended("passed", "SUCCESS");
  other.confirm();
  fresh.confirm();
  assert.equal(await bounded(delivered), true);
  assert.match(String(old.said.at(-1)), /^complete/, "in case it does come through");
});

test("a build without a line is stopped after a while", async () => {
  const { build, reporter } = newReporter(20);
  const [first, second] = [new Line(), new Line()];
  void reporter.attach(first);
  void reporter.attach(second);
  first.lose();
  assert.equal(reporter.isAttached, true);
  second.lose();
  assert.equal(reporter.isAttached, false);
  await bounded(once(build.signal, "abort"));
  assert.equal(build.state.phase === "stopping" && build.state.ending.kind, "infrastructure");
  await reporter.ended("infrastructure", undefined);
});

test("a line that was lost before it was attached is none", async () => {
  const { build, reporter } = newReporter(20);
  const line = new Line();
  line.lose();
  await bounded(reporter.attach(line));
  assert.equal(reporter.isAttached, false);
  await bounded(once(build.signal, "abort"));
});

test("a new line in time lets the build go on, and wakes who waits for one", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { build, reporter } = newReporter(1000);
  const first = new Line();
  void reporter.attach(first);
  await reporter.attached();
  first.lose();
  let woken = false;
  const waiting = reporter.attached().then(() => {
    woken = true;
  });
  t.mock.timers.tick(999);
  await turn();
  assert.equal(woken, false);
  const second = new Line();
  void reporter.attach(second);
  await waiting;
  t.mock.timers.tick(100_000);
  assert.equal(build.signal.aborted, false);
  second.lose();
  t.mock.timers.tick(1000);
  assert.equal(build.signal.aborted, true, "each time anew");
});

test("the end of the build ends the wait for a line", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const { build, reporter } = newReporter(1000);
  const line = new Line();
  void reporter.attach(line);
  line.lose();
  assert.equal(await reporter.ended("passed", "SUCCESS"), false);
  t.mock.timers.tick(100_000);
  assert.equal(build.signal.aborted, false);
});
