/** What a client's parameters can do to a job's environment, and what they can't; the job tells by `env -0`. */
import assert from "node:assert/strict";
import { userInfo } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { TestAgent } from "../support/agent.ts";
import { object, submit } from "../support/clients.ts";
import { lacks } from "../support/parts.ts";
import { type RunningServer, startGearmand } from "../support/servers.ts";

const skip = lacks("gearmand");

const yaml = `
name: box7
http: { listen: "127.0.0.1:0", url: "http://box7.example:8430" }
host: { classes: [lab1] }
jobs:
  env:
    parameters: [BOARD_REV]
    run: |
      env -0 >"$LABGEAR_ARTIFACTS/env"
      stat -c %a "$LABGEAR_PARAMETERS" >"$LABGEAR_ARTIFACTS/mode"
      cp "$LABGEAR_PARAMETERS" "$LABGEAR_ARTIFACTS/parameters"
`;

/** The agent's own: what of it is handed on must be known, and a secret among it is not. */
const agentEnv = {
  LANG: "C.UTF-8",
  AGENT_SECRET: "of the agent alone",
  ...Object.fromEntries(
    ["TZ", "LC_ALL", "TMPDIR"]
      .concat(
        ["http", "https", "ftp", "all", "no"].flatMap((name) => [
          `${name}_proxy`,
          `${name.toUpperCase()}_PROXY`,
        ]),
      )
      .map((name) => [name, undefined]),
  ),
};

let server: RunningServer;
let agent: TestAgent;

before(async () => {
  if (skip) return;
  server = await startGearmand();
  agent = await TestAgent.start({ yaml, ports: [server.port], env: agentEnv });
});

after(async () => {
  await agent?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});

interface Outcome {
  readonly env: Readonly<Record<string, string>>;
  readonly parameters: unknown;
  readonly mode: string;
  readonly record: Record<string, unknown>;
}

/** Runs the job with these parameters. */
async function run(unique: string, parameters: object): Promise<Outcome> {
  const build = await submit(server.port, {
    function: "build:env:lab1",
    unique,
    data: JSON.stringify(parameters),
  });
  const last = object((await build.ended).at(-2));
  assert.equal(last.result, "SUCCESS", JSON.stringify(last));
  const number = Number(last.number);
  const file = async (name: string) => (await agent.file("env", number, `artifacts/${name}`)).toString();
  const entries = (await file("env")).split("\0").filter(Boolean);
  return {
    env: Object.fromEntries(entries.map((entry) => entry.split(/=(.*)/s, 2))),
    parameters: JSON.parse(await file("parameters")),
    mode: (await file("mode")).trim(),
    record: await agent.record("env", number),
  };
}

/** The whole environment of build `number`, but for what the parameters add. */
function expected(number: number, uuid: string): Record<string, string> {
  const folder = join(agent.stateDir, "builds/env", String(number));
  const workspace = join(agent.stateDir, "workspaces/0/env");
  const url = `http://box7.example:8430/builds/env/${number}`;
  const { username, homedir } = userInfo();
  return {
    PATH: process.env.PATH ?? "",
    HOME: process.env.HOME ?? homedir,
    ...{ USER: username, LOGNAME: username, SHELL: "/bin/sh", LANG: "C.UTF-8" },
    ...{ LABGEAR_JOB: "env", LABGEAR_BUILD: `${number}`, LABGEAR_UUID: uuid, LABGEAR_URL: url },
    ...{ LABGEAR_NODE: "box7", LABGEAR_CLASS: "lab1", LABGEAR_WORKSPACE: workspace },
    ...{ LABGEAR_ARTIFACTS: join(folder, "artifacts"), LABGEAR_PARAMETERS: join(folder, "parameters.json") },
    ...{ JOB_NAME: "env", BUILD_NUMBER: `${number}`, BUILD_URL: url, NODE_NAME: "box7" },
    ...{ WORKSPACE: workspace, EXECUTOR_NUMBER: "0" },
    // The job's own shell adds it.
    PWD: workspace,
  };
}

/** Without the mark by which the sweep finds a build's processes, where there are no control groups. */
function withoutMark(env: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(env).filter(([name]) => name !== "LABGEAR_COOKIE"));
}

const hostile = {
  LD_PRELOAD: "/tmp/evil.so",
  NODE_OPTIONS: "--require=/tmp/evil.js",
  BASH_ENV: "/tmp/evil.sh",
  ENV: "/tmp/evil.sh",
  PATH: "/tmp/evil",
  GIT_SSH_COMMAND: "touch /tmp/evil",
  IFS: "e",
  PYTHONPATH: "/tmp/evil",
  "ZUUL_X\nLD_PRELOAD": "/tmp/evil.so",
  "": "no name",
  HOME: "/tmp/evil",
  LABGEAR_ARTIFACTS: "/tmp/evil",
  LABGEAR_PARAMETERS: "/tmp/evil",
  WORKSPACE: "/tmp/evil",
  JOB_NAME: "evil",
  BUILD_NUMBER: "0",
  "ZUUL_A=B; PATH": "/tmp/evil",
};

test("hostile parameters change nothing for the job, in that build or the next, nor for the agent", {
  skip,
}, async () => {
  for (const [index, uuid] of ["e-1", "e-2"].entries()) {
    const number = index + 1;
    const { env, parameters } = await run(uuid, index === 0 ? hostile : {});
    assert.deepEqual(withoutMark(env), expected(number, uuid));
    assert.deepEqual(parameters, index === 0 ? { ...hostile } : {}, "the file has them all the same");
  }
  const { warnings } = await agent.record("env", 1);
  assert.match(String(warnings), /"ZUUL_A=B; PATH" .*can't name a variable/);
});

test("standard and listed parameters arrive; the file has all of them, for the job's user alone", {
  skip,
}, async () => {
  const standard = {
    ZUUL_PROJECT: "org/project",
    ZUUL_CHANGES: "a:b:c^d:e:f",
    ZUUL_X: "line one\nline two",
    LOG_PATH: "34/1234",
    BASE_LOG_PATH: "34",
    SWIFT_x: "s",
    BOARD_REV: "b2 'quoted' $HOME",
    ZUUL_EMPTY: "",
  };
  const others = { UNLISTED: "u", EXTRA_THING: "v" };
  const odd = { ZUUL_NUMBER: 7, ZUUL_FLAG: true, ZUUL_NULL: null, ZUUL_LIST: ["a", { b: 1 }] };
  const { env, parameters, mode } = await run("e-3", { ...standard, ...others, ...odd });
  const asJson = {
    ZUUL_NUMBER: "7",
    ZUUL_FLAG: "true",
    ZUUL_NULL: "null",
    ZUUL_LIST: '["a",{"b":1}]',
  };
  assert.deepEqual(withoutMark(env), { ...expected(3, "e-3"), ...standard, ...asJson });
  assert.deepEqual(parameters, { ...standard, ...others, ...asJson });
  assert.equal(mode, "600");
});

test("secrets reach the job, and neither the record nor the agent's log", { skip }, async () => {
  const secrets = {
    ZUUL_API_TOKEN: "s3cret-token",
    SWIFT_hmac: "s3cret-hmac",
    ADMIN_PASSWORD: "s3cret-password",
    ZUUL_URL: "https://user:s3cret-login@example.org/p",
  };
  const { env, record } = await run("e-4", { ...secrets, ZUUL_PROJECT: "shown" });
  assert.equal(env.ZUUL_API_TOKEN, "s3cret-token");
  assert.equal(env.SWIFT_hmac, "s3cret-hmac");
  assert.equal((record.parameters as Record<string, string>).ZUUL_PROJECT, "shown");
  assert.deepEqual(Object.keys(record.parameters as object).length, 5, "masked, not left out");
  for (const [what, text] of Object.entries({
    record: JSON.stringify(record),
    log: JSON.stringify(agent.log),
    console: (await agent.file("env", Number(record.number), "console.log")).toString(),
    status: (await agent.command("status", "--json")).stdout,
    list: (await agent.command("builds", "--json")).stdout,
  })) {
    assert.ok(!text.includes("s3cret"), what);
  }
});
