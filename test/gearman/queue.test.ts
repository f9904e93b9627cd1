/** The job server's queue by itself: requests in, effects out. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { OrderedList } from "#/gearman/server/jobs.ts";
import { type Effect, JobQueue, type QueueOptions } from "#/gearman/server/queue.ts";
import { handleLine, handleRequest } from "#/gearman/server/requests.ts";
import type { Packet, PacketType } from "#/gearman/wire/packet.ts";

const limits: QueueOptions = {
  handlePrefix: "H:",
  maxJobs: 100,
  maxJobBytes: 1000,
  maxFunctions: 100,
  maxLosses: 2,
};

/** A queue with connections 1 to 9; effects are written as text: `TO TYPE ARGS`. */
function bench(options: Partial<QueueOptions> = {}) {
  const queue = new JobQueue({ ...limits, ...options });
  for (let id = 1; id <= 9; id++) queue.join(id, "127.0.0.1");
  const ask = (id: number, type: PacketType, ...args: string[]) => {
    const packet: Packet = { magic: "REQ", type, args: args.map((arg) => Buffer.from(arg)) };
    return handleRequest(queue, id, packet).flatMap(written);
  };
  return {
    queue,
    ask,
    line: (line: string) => handleLine(queue, line, { software: "test 1", pid: 7 }),
    leave: (id: number) => queue.leave(id).flatMap(written),
    /** Submits in the foreground; returns the handle. */
    submit: (id: number, name: string, unique = "", data = "") =>
      ask(id, "SUBMIT_JOB", name, unique, data)[0]?.split(" ")[2] ?? "",
  };
}

function written(effect: Effect): string[] {
  switch (effect.kind) {
    case "send":
      return effect.to.map((id) =>
        [id, effect.type, ...effect.args.map((arg) => Buffer.from(arg))].join(" "),
      );
    case "worker-lost":
      return [effect.message];
    case "keep":
    case "run":
    case "forget":
      return [`${effect.kind} ${effect.job.handle}`];
    default:
      return [`${effect.kind} ${effect.handle}`];
  }
}

describe("submitting", () => {
  test("gives handles that count, and wakes each sleeper of the function once", () => {
    const { ask } = bench();
    for (const id of [2, 3]) {
      ask(id, "CAN_DO", "f");
      assert.deepEqual(ask(id, "PRE_SLEEP"), []);
    }
    ask(4, "CAN_DO", "other");
    ask(4, "PRE_SLEEP");
    assert.deepEqual(ask(1, "SUBMIT_JOB", "f", "", "d"), ["1 JOB_CREATED H:1", "2 NOOP", "3 NOOP"]);
    assert.deepEqual(ask(1, "SUBMIT_JOB", "f", "", "d"), ["1 JOB_CREATED H:2"]);
    assert.deepEqual(ask(2, "GRAB_JOB"), ["2 JOB_ASSIGN H:1 f d"]);
    assert.deepEqual(ask(3, "GRAB_JOB_UNIQ"), ["3 JOB_ASSIGN_UNIQ H:2 f  d"]);
    assert.deepEqual(ask(3, "GRAB_JOB_ALL"), ["3 NO_JOB"]);
  });

  test("with a unique in use joins that job: queued, running, of that function only", () => {
    const { ask, submit } = bench();
    const handle = submit(1, "f", "u", "first");
    assert.equal(submit(2, "f", "u", "second"), handle);
    assert.notEqual(submit(2, "g", "u"), handle);
    ask(3, "CAN_DO", "f");
    assert.deepEqual(ask(3, "GRAB_JOB_UNIQ"), [`3 JOB_ASSIGN_UNIQ ${handle} f u first`]);
    assert.equal(submit(4, "f", "u"), handle);
    assert.deepEqual(
      ask(3, "WORK_DATA", handle, "x"),
      [1, 2, 4].map((id) => `${id} WORK_DATA ${handle} x`),
    );
    assert.deepEqual(
      ask(3, "WORK_COMPLETE", handle, "y"),
      [1, 2, 4].map((id) => `${id} WORK_COMPLETE ${handle} y`),
    );
    assert.notEqual(submit(1, "f", "u"), handle);
  });

  test("twice on one connection brings each packet twice, as clients count their tasks", () => {
    const { ask, submit } = bench();
    const handle = submit(1, "f", "u");
    submit(1, "f", "u");
    ask(3, "CAN_DO", "f");
    ask(3, "GRAB_JOB");
    const end = `1 WORK_COMPLETE ${handle} y`;
    assert.deepEqual(ask(3, "WORK_COMPLETE", handle, "y"), [end, end]);
  });

  test("the unique - stands for the data, an empty one for nothing", () => {
    const { submit } = bench();
    const handle = submit(1, "f", "-", "same");
    assert.equal(submit(2, "f", "-", "same"), handle);
    assert.notEqual(submit(2, "f", "-", "other"), handle);
    assert.notEqual(submit(1, "f", "", "same"), submit(2, "f", "", "same"));
  });

  test("stops at the limits of jobs, bytes, clients and functions; joining is no new job", () => {
    const full = "1 ERROR QUEUE_ERROR Job queue is full";
    const { ask, submit, queue, leave } = bench({ maxJobs: 3, maxJobBytes: 10, maxFunctions: 2 });
    submit(2, "f", "u", "12345678");
    assert.deepEqual(ask(1, "SUBMIT_JOB_BG", "f", "", "123"), [full]);
    submit(2, "f", "", "1");
    submit(2, "f", "", "1");
    assert.deepEqual(ask(1, "SUBMIT_JOB_BG", "f", "", ""), [full]);
    assert.deepEqual(ask(1, "SUBMIT_JOB", "f", "u", "1"), [full]);
    assert.deepEqual(ask(1, "SUBMIT_JOB_BG", "f", "u", "1"), ["1 JOB_CREATED H:1"]);
    leave(2);
    assert.equal(queue.jobs.bytes, 8);
    ask(1, "CAN_DO", "g");
    assert.match(
      ask(1, "CAN_DO", "h")[0] ?? "",
      /^1 ERROR INVALID_FUNCTION_NAME There are 2 functions in use/,
    );
    ask(1, "RESET_ABILITIES");
    assert.deepEqual(ask(1, "CAN_DO", "h"), []);
    assert.equal(queue.functions.get(Buffer.from("g")), undefined);
  });
});

describe("grabbing", () => {
  test("goes by priority over all functions, then by age", () => {
    const { ask } = bench();
    const order = ["f LOW_BG", "g BG", "f HIGH_BG", "f BG", "g HIGH_BG", "g LOW_BG"];
    for (const job of order) {
      const [name = "", kind] = job.split(" ");
      ask(1, `SUBMIT_JOB_${kind}` as PacketType, name, "", job);
    }
    ask(2, "CAN_DO", "f");
    ask(2, "CAN_DO", "g");
    const got = order.map(() => ask(2, "GRAB_JOB")[0]?.split(" ").slice(4).join(" "));
    assert.deepEqual(got, ["f HIGH_BG", "g HIGH_BG", "g BG", "f BG", "f LOW_BG", "g LOW_BG"]);
  });

  test("wakes a worker that falls asleep or registers a function while a job waits", () => {
    const { ask, submit } = bench();
    submit(1, "f");
    ask(2, "CAN_DO", "f");
    assert.deepEqual(ask(2, "PRE_SLEEP"), ["2 NOOP"]);
    assert.deepEqual(ask(3, "PRE_SLEEP"), []);
    assert.deepEqual(ask(3, "CAN_DO", "f"), ["3 NOOP"]);
    assert.deepEqual(ask(3, "CAN_DO", "f"), []);
  });

  test("ends with CANT_DO, but not the job that runs", () => {
    const { ask, submit } = bench();
    const handle = submit(1, "f");
    ask(2, "CAN_DO", "f");
    ask(2, "GRAB_JOB");
    submit(1, "f");
    ask(2, "CANT_DO", "f");
    assert.deepEqual(ask(2, "GRAB_JOB"), ["2 NO_JOB"]);
    assert.deepEqual(ask(2, "WORK_FAIL", handle), [`1 WORK_FAIL ${handle}`]);
  });
});

describe("a lost worker", () => {
  const running = (options: Partial<QueueOptions> = {}) => {
    const table = bench(options);
    const handle = table.submit(1, "f", "u", "d");
    for (const id of [2, 3, 4, 5]) table.ask(id, "CAN_DO", "f");
    table.ask(2, "GRAB_JOB");
    return { ...table, handle };
  };

  test("requeues its job, ahead of younger ones, with the same handle; the third loss fails it", () => {
    const { ask, leave, submit, handle } = running();
    ask(5, "PRE_SLEEP");
    assert.deepEqual(leave(2), [
      `job ${handle} lost its worker 127.0.0.1 (loss 1) and is requeued`,
      "5 NOOP",
    ]);
    submit(1, "f", "younger");
    assert.deepEqual(ask(4, "GRAB_JOB_UNIQ"), [`4 JOB_ASSIGN_UNIQ ${handle} f u d`]);
    assert.match(leave(4)[0] ?? "", /loss 2\) and is requeued/);
    assert.deepEqual(ask(5, "GRAB_JOB"), [`5 JOB_ASSIGN ${handle} f d`]);
    assert.ok(leave(5).includes(`1 WORK_FAIL ${handle}`));
    assert.deepEqual(ask(1, "GET_STATUS", handle), [`1 STATUS_RES ${handle} 0 0 0 0`]);
  });

  test("of many jobs leaves them in the order of their submits", () => {
    const { ask, leave, submit } = bench();
    const handles = ["a", "b", "c"].map((data) => submit(1, "f", "", data));
    for (const id of [2, 3]) ask(id, "CAN_DO", "f");
    for (const _ of handles) ask(2, "GRAB_JOB");
    leave(2);
    assert.deepEqual(
      handles.map(() => ask(3, "GRAB_JOB")[0]?.split(" ")[2]),
      handles,
    );
  });

  test("fails its job at once when no loss is allowed", () => {
    const { leave, handle } = running({ maxLosses: 0 });
    assert.deepEqual(leave(2).slice(1), [`1 WORK_FAIL ${handle}`]);
  });

  test("drops a foreground job whose client has left too, and keeps a background one", () => {
    const { ask, leave, queue } = running();
    leave(1);
    ask(7, "SUBMIT_JOB_BG", "f", "bg", "");
    ask(6, "CAN_DO", "f");
    ask(6, "GRAB_JOB");
    leave(7);
    assert.match(leave(2)[0] ?? "", /is dropped$/);
    assert.match(leave(6)[0] ?? "", /is requeued$/);
    assert.deepEqual(
      [...queue.jobs].map((job) => Buffer.from(job.unique).toString()),
      ["bg"],
    );
  });
});

test("a place in line counts all queued jobs that the same workers get before", () => {
  const { ask, line, submit } = bench();
  ask(2, "CAN_DO", "f");
  ask(2, "CAN_DO", "g");
  ask(3, "CAN_DO", "h");
  const running = submit(1, "f");
  ask(2, "GRAB_JOB");
  const mine = submit(1, "f");
  const other = submit(1, "g");
  submit(1, "h");
  const later = submit(1, "f");
  ask(1, "SUBMIT_JOB_HIGH", "g", "", "");
  const place = (handle: string) => line(`show place ${handle}`).text;
  assert.deepEqual([mine, other, later].map(place), ["OK 2\n", "OK 3\n", "OK 4\n"]);
  assert.deepEqual([running, "H:nobody:1"].map(place), ["OK 0\n", "OK 0\n"]);
});

describe("clients that leave", () => {
  test("take their queued job along, unless another client wants it", () => {
    const { ask, leave, line, submit } = bench();
    submit(1, "f", "mine");
    submit(1, "f", "ours");
    submit(2, "f", "ours");
    submit(1, "f", "background");
    ask(2, "SUBMIT_JOB_BG", "f", "background", "");
    leave(1);
    assert.equal(line("show unique jobs").text, "ours\nbackground\n.\n");
    assert.equal(line("status").text, "f\t2\t0\t0\n.\n");
  });

  test("leave a running job running", () => {
    const { ask, leave, submit } = bench();
    const handle = submit(1, "f");
    ask(2, "CAN_DO", "f");
    ask(2, "GRAB_JOB");
    leave(1);
    assert.deepEqual(ask(2, "WORK_DATA", handle, "x"), []);
    assert.deepEqual(ask(2, "WORK_COMPLETE", handle, "x"), []);
  });
});

describe("work packets", () => {
  test("need the worker that runs the job", () => {
    const { ask, submit } = bench();
    const handle = submit(1, "f");
    const lost = "2 ERROR JOB_NOT_FOUND Job given in work result not found";
    assert.deepEqual(ask(2, "WORK_COMPLETE", handle, "stolen"), [lost]);
    ask(3, "CAN_DO", "f");
    ask(3, "GRAB_JOB");
    assert.deepEqual(ask(2, "WORK_COMPLETE", handle, "stolen"), [lost]);
    assert.deepEqual(ask(2, "WORK_DATA", "H:99", ""), ["2 ERROR JOB_NOT_FOUND Job does not exist on server"]);
    assert.deepEqual(ask(3, "WORK_FAIL", handle), [`1 WORK_FAIL ${handle}`]);
  });

  test("an exception ends the job: sent to clients that asked for it, a failure to others", () => {
    const { ask, submit } = bench();
    const handle = submit(1, "f", "u");
    submit(2, "f", "u");
    assert.deepEqual(ask(2, "OPTION_REQ", "exceptions"), ["2 OPTION_RES exceptions"]);
    ask(3, "CAN_DO", "f");
    ask(3, "GRAB_JOB");
    assert.deepEqual(ask(3, "WORK_EXCEPTION", handle, "why"), [
      `2 WORK_EXCEPTION ${handle} why`,
      `1 WORK_FAIL ${handle}`,
    ]);
    assert.match(ask(3, "WORK_FAIL", handle)[0] ?? "", /^3 ERROR JOB_NOT_FOUND/);
  });

  test("GET_STATUS and GET_STATUS_UNIQUE return the last WORK_STATUS; anything but a number counts as 0", () => {
    const { ask, submit } = bench();
    const handle = submit(1, "f", "u");
    assert.deepEqual(ask(1, "GET_STATUS", handle), [`1 STATUS_RES ${handle} 1 0 0 0`]);
    ask(3, "CAN_DO", "f");
    ask(3, "GRAB_JOB");
    assert.deepEqual(ask(3, "WORK_STATUS", handle, "3", "10"), [`1 WORK_STATUS ${handle} 3 10`]);
    assert.deepEqual(ask(2, "GET_STATUS", handle), [`2 STATUS_RES ${handle} 1 1 3 10`]);
    assert.deepEqual(ask(2, "GET_STATUS_UNIQUE", "u"), ["2 STATUS_RES_UNIQUE u 1 1 3 10 1"]);
    ask(3, "WORK_STATUS", handle, "1\n", "9\0");
    assert.deepEqual(ask(2, "GET_STATUS", handle), [`2 STATUS_RES ${handle} 1 1 0 0`]);
    assert.deepEqual(ask(2, "GET_STATUS_UNIQUE", "none"), ["2 STATUS_RES_UNIQUE none 0 0 0 0 0"]);
  });
});

describe("CAN_DO_TIMEOUT", () => {
  test("starts a timer with the job, stops it at the end; when it runs out the job fails", () => {
    const { ask, submit, queue } = bench();
    const [first, second] = [submit(1, "f"), submit(1, "f")];
    assert.match(ask(2, "CAN_DO_TIMEOUT", "f", "soon")[0] ?? "", /^2 ERROR INVALID_ARGUMENTS/);
    ask(2, "CAN_DO_TIMEOUT", "f", "5");
    assert.deepEqual(ask(2, "GRAB_JOB").at(-1), `start-timer ${first}`);
    assert.ok(ask(2, "WORK_COMPLETE", first, "").includes(`stop-timer ${first}`));
    ask(2, "GRAB_JOB");
    assert.deepEqual(queue.expire(second).flatMap(written), [
      `1 WORK_FAIL ${second}`,
      `stop-timer ${second}`,
    ]);
    assert.deepEqual(queue.expire(second), []);
  });
});

describe("wrong use", () => {
  test("4096 functions are enough for one connection", () => {
    const { ask } = bench({ maxFunctions: 5000 });
    for (let n = 0; n < 4096; n++) assert.deepEqual(ask(1, "CAN_DO", `f${n}`), []);
    assert.match(ask(1, "CAN_DO", "more")[0] ?? "", /^1 ERROR TOO_MANY_FUNCTIONS/);
    assert.deepEqual(ask(1, "CAN_DO", "f0"), []);
  });

  test("brings an ERROR that says what is wrong", () => {
    const { ask } = bench();
    const errors: [PacketType, string[], RegExp][] = [
      ["NOOP", [], /INVALID_COMMAND NOOP is not a request/],
      ["SUBMIT_JOB_EPOCH", ["f", "u", "1", "d"], /INVALID_COMMAND .* SUBMIT_JOB_EPOCH/],
      ["SUBMIT_REDUCE_JOB", ["f", "u", "r", "d"], /INVALID_COMMAND .* SUBMIT_REDUCE_JOB/],
      ["OPTION_REQ", ["other"], /UNKNOWN_OPTION/],
      ["CAN_DO", [""], /INVALID_FUNCTION_NAME/],
      ["CAN_DO", ["a\tb"], /INVALID_FUNCTION_NAME/],
      ["SUBMIT_JOB", ["x".repeat(513), "", ""], /INVALID_FUNCTION_NAME/],
      ["SUBMIT_JOB", ["f", "u".repeat(513), ""], /ARGUMENT_TOO_LARGE/],
      ["SET_CLIENT_ID", ["i".repeat(513)], /ARGUMENT_TOO_LARGE/],
      ["GET_STATUS", ["H:\0"], /INVALID_ARGUMENTS/],
      ["GET_STATUS_UNIQUE", ["u\0"], /INVALID_ARGUMENTS/],
    ];
    for (const [type, args, error] of errors) {
      const [answer = "", ...more] = ask(1, type, ...args);
      assert.match(answer, /^1 ERROR /);
      assert.match(answer, error);
      assert.deepEqual(more, []);
    }
  });
});

describe("admin lines", () => {
  test("cancel removes only queued jobs, and their clients get WORK_FAIL", () => {
    const { ask, line, submit } = bench();
    const [first, second] = [submit(1, "f"), submit(1, "f")];
    ask(2, "CAN_DO", "f");
    ask(2, "GRAB_JOB");
    assert.equal(line(`cancel job ${first}`).text, "ERR JOB_RUNNING\r\n");
    const { text, effects } = line(`cancel job ${second}`);
    assert.equal(text, "OK\r\n");
    assert.deepEqual(effects.flatMap(written), [`1 WORK_FAIL ${second}`]);
    assert.equal(line(`cancel job ${second}`).text, "ERR UNKNOWN_JOB\r\n");
    assert.deepEqual(ask(2, "GRAB_JOB"), ["2 NO_JOB"]);
  });

  test("names come back byte for byte, and a client id can't start a line or a column", () => {
    const { ask, line } = bench();
    ask(1, "CAN_DO", "prüfen");
    ask(1, "SET_CLIENT_ID", "a b\nc");
    const { text } = line("workers");
    assert.match(Buffer.from(text, "latin1").toString(), /^1 127\.0\.0\.1 a_b_c : prüfen$/m);
    assert.equal(line("maxqueue prüfen 1").text, "OK\r\n");
  });

  test("maxqueue limits the queued jobs of one function", () => {
    const { ask, line } = bench();
    assert.equal(line("maxqueue f 1").text, "ERR function not found\r\n");
    assert.equal(line("create function f").text, "OK\r\n");
    assert.equal(line("maxqueue f 1").text, "OK\r\n");
    ask(1, "SUBMIT_JOB_BG", "f", "", "");
    assert.deepEqual(ask(1, "SUBMIT_JOB_BG", "f", "", ""), ["1 ERROR QUEUE_ERROR Job queue is full"]);
    line("maxqueue f");
    assert.deepEqual(ask(1, "SUBMIT_JOB_BG", "f", "", ""), ["1 JOB_CREATED H:2"]);
    assert.match(line("maxqueue f many").text, /^ERR INVALID_ARGUMENTS/);
  });

  test("shutdown and unknown commands are refused", () => {
    const { line } = bench();
    assert.match(line("shutdown").text, /^ERR NOT_ALLOWED/);
    assert.equal(line("nonsense").text, "ERR UNKNOWN_COMMAND Unknown+server+command\r\n");
  });
});

test("the list keeps the order of submits, whatever is requeued or removed", () => {
  const list = new OrderedList<{ order: number }>();
  const items = Array.from({ length: 6 }, (_, order) => ({ order }));
  const take = (order: number) => list.remove(items[order] as { order: number });
  const put = (order: number) => list.add(items[order] as { order: number });
  for (const order of [2, 3, 5]) put(order);
  for (const order of [0, 4, 1]) put(order);
  take(3);
  take(0);
  take(5);
  put(5);
  const seen: number[] = [];
  for (let first = list.first; first; first = list.first) {
    seen.push(first.order);
    list.remove(first);
  }
  assert.deepEqual(seen, [1, 2, 4, 5]);
  assert.equal(list.size, 0);
});
