/** The agent against Debian's gearmand: what a Zuul, or anyone with `gearman`, sees. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { TestAgent } from "../support/agent.ts";
import { functions, gearman, object, submit } from "../support/clients.ts";
import { lacks } from "../support/parts.ts";
import { type RunningServer, startGearmand } from "../support/servers.ts";

const skip = lacks("gearmand", "gearman", "gearadmin");

const yaml = `
name: box7
host: { classes: [lab1, x86-64], executors: 2 }
jobs:
  pass: { run: "echo out; echo err >&2" }
  fail: { run: "echo before; exit 3; echo after" }
  wait: { run: "echo waiting; exec sleep 300", grace: 1s }
  slow: { run: "sleep 300", timeout: 1s, grace: 1s }
  one-class: { nodes: [lab1], run: "true" }
`;

let server: RunningServer;
let agent: TestAgent;

before(async () => {
  if (skip) return;
  server = await startGearmand();
  agent = await TestAgent.start({ yaml, ports: [server.port] });
});

after(async () => {
  await agent?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});

test("gearman -f build:JOB:CLASS ends with the right exit code", { skip }, async () => {
  const passed = await gearman(server.port, [
    "-f",
    "build:pass:lab1",
    "-u",
    "u-pass",
    '{"ZUUL_UUID":"u-pass"}',
  ]);
  assert.equal(passed.exitCode, 0, passed.stderr);
  const failed = await gearman(server.port, ["-f", "build:fail", "-u", "u-fail", "{}"]);
  assert.notEqual(failed.exitCode, 0);
  const record = await agent.record("fail", 1);
  assert.equal(record.result, "FAILURE");
  assert.equal((record.ending as { exitCode: number }).exitCode, 3);
  assert.equal(
    (await agent.file("fail", 1, "console.log")).toString(),
    "before\n[labgear] the job ended with exit code 3\n",
  );
});

test("the packets of a build: data at once, 0/100, the last object twice, both dialects' keys", {
  skip,
}, async () => {
  const build = await submit(server.port, { function: "build:pass:lab1", unique: "u-packets", data: "{}" });
  const events = await build.ended;
  assert.equal(events[0]?.type, "data");
  assert.deepEqual(events[1], { type: "status", numerator: 0, denominator: 100 });
  const [last, end] = events.slice(-2);
  assert.equal(last?.type, "data");
  assert.equal(end?.type, "complete");
  const first = object(events[0]);
  const { number, url } = first;
  assert.ok(Number.isInteger(number) && Number(number) >= 1);
  assert.match(String(url), /^http:.*\/builds\/pass\/\d+$/);
  for (const key of ["worker_hostname", "worker_fqdn", "worker_version"]) {
    assert.equal(typeof first[key], "string", key);
  }
  assert.ok(Array.isArray(first.worker_ips));
  assert.deepEqual(
    { ...first, worker_ips: 0, worker_hostname: 0, worker_fqdn: 0, worker_version: 0 },
    {
      ...{ name: "pass", number, manager: "box7", master: "box7", url, full_url: url },
      ...{ worker_name: "box7", worker_program: "labgear", worker_extra: {}, node_name: "box7" },
      ...{
        node_labels: ["lab1", "x86-64"],
        worker_ips: 0,
        worker_hostname: 0,
        worker_fqdn: 0,
        worker_version: 0,
      },
    },
  );
  assert.deepEqual(object(last), {
    ...first,
    ...{ result: "SUCCESS", reason: "the job passed", cause: "passed" },
  });
  assert.deepEqual(object(end), object(last));
});

test("a failing build ends with its result and WORK_FAIL; no packet before has a result", {
  skip,
}, async () => {
  const build = await submit(server.port, { function: "build:fail", unique: "u-fails", data: '{"a":1}' });
  const events = await build.ended;
  assert.equal(events.at(-1)?.type, "fail");
  assert.equal(object(events.at(-2)).result, "FAILURE");
  assert.ok(events.slice(0, -2).every((event) => event.type !== "data" || !("result" in object(event))));
});

test("the timeout ends a build as TIMED_OUT", { skip }, async () => {
  const build = await submit(server.port, { function: "build:slow", unique: "u-slow", data: "{}" });
  assert.equal(object((await build.ended).at(-2)).result, "TIMED_OUT");
});

test("an argument that is no JSON object: FAILURE with a reason of one line, WORK_FAIL, and no build", {
  skip,
}, async () => {
  for (const data of ["nonsense", "[1]", '"x"', "\xff\n\n"]) {
    const events = await (await submit(server.port, { function: "build:one-class", data })).ended;
    assert.deepEqual(
      events.map((event) => event.type),
      ["data", "fail"],
    );
    assert.equal(object(events[0]).result, "FAILURE");
    assert.match(String(object(events[0]).reason), /^[^\n]+$/);
    // The tool of gearmand gets its end too: after an exception it would wait for ever.
    const { exitCode } = await gearman(server.port, ["-f", "build:one-class", data]);
    assert.ok(exitCode !== 0 && exitCode !== undefined);
  }
  await assert.rejects(agent.record("one-class", 1), { code: "ENOENT" });
});

test("stop by uuid, by name and number, and by unique_id, while every executor is busy", {
  skip,
}, async () => {
  const stops: ((build: { unique: string; number: unknown }) => string)[] = [
    ({ unique }) => unique,
    ({ number }) => JSON.stringify({ name: "wait", number }),
    ({ unique }) => JSON.stringify({ unique_id: unique }),
    ({ unique }) => JSON.stringify({ uuid: unique }),
  ];
  for (const [i, stop] of stops.entries()) {
    const unique = `u-stop-${i}`;
    const builds = await Promise.all(
      [unique, `${unique}-other`].map((name) =>
        submit(server.port, { function: "build:wait", unique: name, data: "{}" }),
      ),
    );
    const [{ number }] = (await Promise.all(builds.map((build) => build.started))) as [
      Record<string, unknown>,
    ];
    const status = await functions(server.port);
    for (const name of [
      "build:pass",
      "build:pass:lab1",
      "build:pass:x86-64",
      "build:pass:box7",
      "build:one-class:lab1",
    ]) {
      assert.equal(status.get(name)?.workers, 2, name);
    }
    assert.equal(status.get("build:one-class:x86-64"), undefined);
    assert.equal(status.get("stop:box7")?.workers, 1);
    assert.equal(status.get("set_description:box7")?.workers, 1);
    assert.equal((await gearman(server.port, ["-f", "stop:box7", stop({ unique, number })])).exitCode, 0);
    assert.equal(object((await builds[0]?.ended)?.at(-2)).result, "ABORTED");
    assert.equal((await gearman(server.port, ["-f", "stop:box7", `${unique}-other`])).exitCode, 0);
    assert.equal((await builds[1]?.ended)?.at(-1)?.type, "fail");
    assert.notEqual((await gearman(server.port, ["-f", "stop:box7", stop({ unique, number })])).exitCode, 0);
  }
});

test("stop is answered while every slot is busy and 200 builds are queued", { skip }, async () => {
  const running = await Promise.all(
    ["u-q1", "u-q2"].map((unique) => submit(server.port, { function: "build:wait", unique, data: "{}" })),
  );
  await Promise.all(running.map((build) => build.started));
  for (let i = 0; i < 200; i++) {
    await (
      await submit(server.port, {
        function: "build:pass",
        background: true,
        unique: `queued-${i}`,
        data: "{}",
      })
    ).ended;
  }
  assert.equal((await functions(server.port)).get("build:pass")?.total, 200);
  for (const unique of ["u-q1", "u-q2"]) {
    assert.equal((await gearman(server.port, ["-f", "stop:box7", unique])).exitCode, 0);
  }
  for (const build of running) assert.equal(object((await build.ended).at(-2)).result, "ABORTED");
  const last = await submit(server.port, {
    function: "build:pass",
    unique: "after-200",
    data: "{}",
    priority: "low",
  });
  assert.equal(object((await last.ended).at(-1)).result, "SUCCESS");
});

test("a description is kept for a running and for a finished build", { skip }, async () => {
  const build = await submit(server.port, { function: "build:wait", unique: "u-desc", data: "{}" });
  const { number } = await build.started;
  const describe = (argument: object) =>
    gearman(server.port, ["-f", "set_description:box7", JSON.stringify(argument)]);
  assert.equal((await describe({ name: "wait", number, html_description: "<b>one</b>" })).exitCode, 0);
  await gearman(server.port, ["-f", "stop:box7", "u-desc"]);
  await build.ended;
  assert.equal((await agent.record("wait", Number(number))).description, "<b>one</b>");
  assert.equal((await describe({ unique_id: "u-desc", html_description: "two" })).exitCode, 0);
  assert.equal((await agent.record("wait", Number(number))).description, "two");
  assert.notEqual((await describe({ unique_id: "nobody", html_description: "two" })).exitCode, 0);
});

test("a client that asks gets the output in the stream, and the result last", { skip }, async () => {
  const data = JSON.stringify({ LABGEAR_STREAM: "1" });
  const events = await (await submit(server.port, { function: "build:pass", unique: "u-stream", data }))
    .ended;
  const objects = events.filter((event) => event.type === "data").map(object);
  const output = objects.filter((entry) => "output" in entry);
  assert.equal(output.map((entry) => entry.output).join(""), "out\nerr\n");
  assert.equal(output[0]?.offset, 0);
  assert.equal(objects.at(-1)?.result, "SUCCESS");
});
