import assert from "node:assert/strict";
import { test } from "node:test";
import {
  parseBuildArgument,
  parseDescriptionArgument,
  parseStopArgument,
  wantsNodeOffline,
  wantsStream,
} from "#/zuul/arguments.ts";
import { resultOf } from "#/zuul/data.ts";
import { nodeFunctions, parseFunction } from "#/zuul/functions.ts";

test("a node registers build:JOB, one for each admitted class, and its own name", () => {
  const node = { name: "rack7", classes: ["x86-64", "fast-disk"] };
  const jobs = [
    { name: "any" },
    { name: "x", nodes: ["x86-64"] },
    { name: "here", nodes: ["rack7"] },
    { name: "elsewhere", nodes: ["rpi4"] },
  ];
  assert.deepEqual([...nodeFunctions(node, jobs)].sort(), [
    "build:any",
    "build:any:fast-disk",
    "build:any:rack7",
    "build:any:x86-64",
    "build:here",
    "build:here:rack7",
    "build:x",
    "build:x:rack7",
    "build:x:x86-64",
  ]);
});

test("function names that aren't Zuul's are ignored", () => {
  for (const name of ["", "build", "build:", "build:a:b:c", "stop:a:b", "reverse", "merger:merge"]) {
    assert.equal(parseFunction(name), undefined, name);
  }
  assert.deepEqual(parseFunction("build:a:b"), { kind: "build", job: "a", target: "b" });
  assert.deepEqual(parseFunction("stop:rack7"), { kind: "stop", manager: "rack7" });
});

test("a build's values that aren't strings are written as JSON", () => {
  const parameters = parseBuildArgument(
    Buffer.from('{"a":"1","b":2,"c":null,"d":{"e":[1]},"__proto__":"x"}'),
  );
  assert.deepEqual(
    [...parameters],
    [
      ["a", "1"],
      ["b", "2"],
      ["c", "null"],
      ["d", '{"e":[1]}'],
      ["__proto__", "x"],
    ],
  );
  assert.equal(({} as Record<string, unknown>).x, undefined);
});

test("arguments that can't be understood: the error is one line", () => {
  const bad = ["nonsense", "[1]", '"text"', "null", "12", "{", "\xff\xfe\n"];
  for (const text of bad) {
    assert.throws(
      () => parseBuildArgument(Buffer.from(text, "latin1")),
      (error: Error & { code?: string }) => error.code === "ARGUMENT" && !error.message.includes("\n"),
      text,
    );
  }
});

test("stop takes a bare uuid, name and number, unique_id, uuid", () => {
  const stop = (text: string) => parseStopArgument(Buffer.from(text));
  assert.deepEqual(stop("41db879ec72d42caba3215c32a1b1e31"), { uuid: "41db879ec72d42caba3215c32a1b1e31" });
  assert.deepEqual(stop('{"name": "unit-tests", "number": 1}'), { job: "unit-tests", number: 1 });
  assert.deepEqual(stop('{"name": "unit-tests", "number": "12"}'), { job: "unit-tests", number: 12 });
  assert.deepEqual(stop('{"unique_id": "u1"}'), { uuid: "u1" });
  assert.deepEqual(stop('{"uuid": "u2"}'), { uuid: "u2" });
  for (const text of ["", "a b", "{}", '{"name":"x"}', '{"name":"x","number":1.5}', '{"number":1}', "{"]) {
    assert.throws(() => stop(text), { code: "ARGUMENT" }, text);
  }
});

test("a description names its build in both dialects", () => {
  const parse = (text: string) => parseDescriptionArgument(Buffer.from(text));
  assert.deepEqual(parse('{"unique_id":"u","html_description":"<b>"}'), {
    build: { uuid: "u" },
    html: "<b>",
  });
  assert.deepEqual(parse('{"name":"j","number":3,"html_description":""}'), {
    build: { job: "j", number: 3 },
    html: "",
  });
  assert.throws(() => parse('{"name":"j","number":3}'), { code: "ARGUMENT" });
});

test("each kind of ending has its result", () => {
  assert.deepEqual(
    (["passed", "failed", "stopped", "timed-out", "infrastructure", "lost"] as const).map((kind) =>
      resultOf(kind),
    ),
    ["SUCCESS", "FAILURE", "ABORTED", "TIMED_OUT", undefined, undefined],
  );
  assert.equal(resultOf("infrastructure", "NODE_FAILURE"), "NODE_FAILURE");
});

test("parameters with a meaning for the agent", () => {
  const parameters = (entries: object) => new Map<string, string>(Object.entries(entries));
  assert.equal(wantsStream(parameters({ LABGEAR_STREAM: "1" })), true);
  for (const value of ["", "0", "true"])
    assert.equal(wantsStream(parameters({ LABGEAR_STREAM: value })), false);
  const offline = (value: string) => wantsNodeOffline(parameters({ OFFLINE_NODE_WHEN_COMPLETE: value }));
  assert.deepEqual(["1", "true", "True", "", "0", "false", "10"].map(offline), [
    ...[true, true, true],
    ...[false, false, false, false],
  ]);
  assert.equal(wantsStream(new Map()) || wantsNodeOffline(new Map()), false);
});
