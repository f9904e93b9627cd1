import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { baseEnvironment, jobEnvironment } from "#/builds/environment.ts";

const base = { PATH: "/usr/bin:/bin", HOME: "/home/lab", USER: "lab", LANG: "C.UTF-8" };

function env(parameters: Record<string, string>, allowed: string[] = [], own: Record<string, string> = {}) {
  return jobEnvironment({ parameters: new Map(Object.entries(parameters)), allowed, own, base });
}

test("standard parameters and listed ones come in, others don't", () => {
  const made = env(
    {
      ZUUL_REF: "refs/x",
      LOG_PATH: "a",
      BASE_LOG_PATH: "b",
      SWIFT_logs_URL: "c",
      BOARD_REV: "2",
      OTHER: "no",
      XZUUL_A: "no",
    },
    ["BOARD_REV"],
  );
  assert.deepEqual(made.refused, []);
  assert.deepEqual(made.env, {
    ...base,
    ZUUL_REF: "refs/x",
    LOG_PATH: "a",
    BASE_LOG_PATH: "b",
    SWIFT_logs_URL: "c",
    BOARD_REV: "2",
  });
});

test("dangerous names never come in, even when listed", () => {
  const names = [
    ..."NODE_OPTIONS LD_PRELOAD LD_LIBRARY_PATH BASH_ENV ENV PATH HOME GIT_SSH_COMMAND GIT_CONFIG_COUNT".split(
      " ",
    ),
    ..."PYTHONPATH PYTHONSTARTUP PERL5OPT RUBYOPT IFS PS4 SHELLOPTS BASHOPTS MAKEFLAGS JAVA_TOOL_OPTIONS".split(
      " ",
    ),
    ..."_JAVA_OPTIONS GLIBC_TUNABLES LESSOPEN PAGER EDITOR LABGEAR_JOB NOTIFY_SOCKET TMPDIR SHELL CDPATH".split(
      " ",
    ),
  ];
  const made = env(Object.fromEntries(names.map((name) => [name, "evil"])), names);
  assert.deepEqual(made.env, base);
  assert.deepEqual(
    made.refused.map((line) => line.split(" ")[0]),
    names,
  );
});

test("a launch can't override our own variables", () => {
  const made = env({ JOB_NAME: "forged", ZUUL_OWN: "forged" }, ["JOB_NAME"], {
    JOB_NAME: "real",
    ZUUL_OWN: "real",
  });
  assert.equal(made.env.JOB_NAME, "real");
  assert.equal(made.env.ZUUL_OWN, "real");
  assert.equal(made.refused.length, 2);
});

test("names that are no names, NUL and shell functions are refused, and printed on one line", () => {
  const made = env({
    "ZUUL_A\nPATH": "x",
    "ZUUL_A=B": "x",
    "ZUUL_A%%": "x",
    "ZUUL_\u001b[2J": "x",
    ZUUL_NUL: "a\0b",
    ZUUL_SHOCK: "() { :;}; touch /tmp/shocked",
    ZUUL_SHOCK2: " ()  { :;}",
    ZUUL_FINE: "a () { b",
  });
  assert.deepEqual(made.env, { ...base, ZUUL_FINE: "a () { b" });
  assert.equal(made.refused.length, 6, "a name with a newline isn't even a standard one");
  for (const line of made.refused) assert.match(line, /^[\x20-\x7e]+$/);
});

test("__proto__ is a name like any other", () => {
  const made = jobEnvironment({
    parameters: new Map([["__proto__", "x"]]),
    allowed: ["constructor"],
    own: {},
    base,
  });
  assert.deepEqual(made, { env: base, refused: [] });
});

test("what is too long stays out, and a real process starts with all that comes in", () => {
  const long = "x".repeat(100 * 1024);
  const parameters = Object.fromEntries(Array.from({ length: 12 }, (_, i) => [`ZUUL_${i}`, long]));
  const made = env({
    ZUUL_LONGER: `${long}x`,
    ZUUL_WIDE: "é".repeat(60_000),
    ...parameters,
    ZUUL_SHORT: "fits",
  });
  assert.deepEqual(made.refused, [
    "ZUUL_LONGER (longer than 100 KiB)",
    "ZUUL_WIDE (longer than 100 KiB)",
    "ZUUL_10 (the environment would be over 1 MiB)",
    "ZUUL_11 (the environment would be over 1 MiB)",
  ]);
  assert.equal(made.env.ZUUL_SHORT, "fits");
  const seen = execFileSync("/bin/sh", ["-c", "env | wc -c"], { env: made.env, encoding: "utf8" });
  assert.ok(Number(seen) > 10 * long.length);
});

test("a flood of refused names is counted", () => {
  const flood = Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`ZUUL-${i}`, ""]));
  assert.deepEqual(env(flood).refused, []);
  const listed = env(flood, Object.keys(flood)).refused;
  assert.equal(listed.length, 51);
  assert.equal(listed.at(-1), "4950 more");
});

test("the base hands on a fixed set of the agent's environment", () => {
  const made = baseEnvironment({
    PATH: "/opt/bin:/bin",
    HOME: "/var/lib/labgear",
    NODE_OPTIONS: "--inspect",
    LD_PRELOAD: "x.so",
    NOTIFY_SOCKET: "/run/notify",
    SECRET: "s",
    https_proxy: "http://proxy:3128",
    TZ: "",
  });
  assert.equal(made.PATH, "/opt/bin:/bin");
  assert.equal(made.HOME, "/var/lib/labgear");
  assert.equal(made.https_proxy, "http://proxy:3128");
  assert.deepEqual(
    Object.keys(made).sort(),
    ["HOME", "LANG", "LOGNAME", "PATH", "SHELL", "USER", "https_proxy"].sort(),
  );
  assert.ok(baseEnvironment({}).HOME);
  assert.match(baseEnvironment({}).PATH ?? "", /\/usr\/bin/);
});

test("the launches of real Zuuls come in whole", () => {
  const launch = {
    ZUUL_UUID: "870293b2f18e4b3ea86adcedf03489d1",
    ZUUL_PROJECT: "org/project",
    ZUUL_CHANGES: "org/project:master:refs/changes/34/1234/5",
    ZUUL_CHANGE_IDS: "1234,5",
    LOG_PATH: "34/1234/5/check/unit-tests/870293b",
  };
  assert.deepEqual(env(launch).env, { ...base, ...launch });
});
