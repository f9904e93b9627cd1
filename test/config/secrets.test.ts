/** Secrets of jobs: which are taken, from where, and for which jobs. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { loadConfig } from "#/config/load.ts";
import { folder } from "./folder.ts";
import { mistakes } from "./mistakes.ts";

const devices = "devices: { pi: { classes: [rpi4], port: /dev/pi, console: linux } }";

test("a file relative to the configuration's folder, or a systemd credential", async () => {
  using dir = folder({
    "labgear.yaml": "jobs: {}",
    "conf.d/publish.yaml": `jobs:
  publish:
    run: rsync /srv web
    secrets:
      DEPLOY_KEY: { file: ../secrets/deploy }
      NPM_TOKEN: { credential: npm, env: true }
  plain: { run: make -C /srv, trust: lab }`,
    "secrets/deploy": "-----BEGIN-----\nabc\n",
  });
  const { jobs } = await loadConfig({ file: dir.at("labgear.yaml") });
  assert.deepEqual(jobs.get("publish")?.secrets, [
    { name: "DEPLOY_KEY", file: dir.at("secrets/deploy"), env: false },
    { name: "NPM_TOKEN", file: "/run/credentials/labgear.service/npm", env: true },
  ]);
  assert.deepEqual(jobs.get("plain")?.secrets, []);
});

test("credentials are checked where there are some", async (t) => {
  using dir = folder({
    "labgear.yaml": "jobs: { j: { run: x, secrets: { A: { credential: a }, B: { credential: b } } } }",
    a: "0123",
  });
  process.env.CREDENTIALS_DIRECTORY = dir.path;
  t.after(() => {
    delete process.env.CREDENTIALS_DIRECTORY;
  });
  await assert.rejects(loadConfig({ file: dir.at("labgear.yaml") }), {
    message: `${dir.at("labgear.yaml")}:1: jobs.j.secrets.B.credential: "${dir.at("b")}" does not exist`,
  });
});

test("mistakes in secrets", async () => {
  const found = await mistakes({
    "labgear.yaml": `jobs:
  j:
    run: x
    secrets:
      GONE: { file: gone }
      SHORT: { file: short }
      NUL: { file: nul, env: true }
      NUL_FILE: { file: nul }
      LONG: { file: long }
      NEITHER: {}
      BOTH: { file: good, credential: x }
      WHERE: { credential: ../x }
      FOLDER: { file: sub }
      1ST: { file: good }
      PATH: { file: good }
      LABGEAR_URL: { file: good }
`,
    good: "0123",
    "sub/x": "",
    short: "012\nab\n",
    nul: "01234\u00005",
    long: "x".repeat(16 * 1024 + 1),
  });
  assert.deepEqual(
    found.map((line) => line.replace(/^labgear.yaml:\d+: jobs\.j\./, "").replace(/"[^"]*\//, '"')),
    [
      'secrets.GONE.file: "gone" does not exist',
      'secrets.SHORT.file: "short" has no line of 4 characters or more: it is too short to be masked',
      'secrets.NUL.file: "nul" contains a NUL: it can\'t be a variable, only a file',
      'secrets.LONG.file: "long" is longer than 16 KiB: too long for a secret',
      "secrets.NEITHER: expected either file or credential, found neither",
      "secrets.BOTH: expected either file or credential, found both",
      'secrets.WHERE.credential: expected the name of a systemd credential, found "x"',
      'secrets.FOLDER.file: "sub" is not a file',
      `secrets.1ST: "1ST" can't name a variable: use letters, digits and _, and no digit first`,
      'secrets.PATH: "PATH" is set by labgear itself',
      'secrets.LABGEAR_URL: "LABGEAR_URL" is set by labgear itself',
    ],
  );
});

test("jobs that can't have secrets", async () => {
  const table: Record<string, string> = {
    "run: x, checkout: true":
      "can't go to a job with checkout: the change decides what runs, and could send them anywhere",
    "run: x, checkout: true, trust: lab":
      "can't go to a job with checkout: the change decides what runs, and could send them anywhere",
    "run: x, trust: changes": "can't go to a job with trust: changes, which could send them anywhere",
    "run: cd sub && ./deploy.sh":
      "can't go to a job that runs a script of its workspace; if no change can write that, say trust: lab",
    'run: sh "$WORKSPACE/x"':
      "can't go to a job that runs a script of its workspace; if no change can write that, say trust: lab",
    "run: x, nodes: [rpi4]":
      'can\'t go to a job that may run on the board "rpi4": what is typed on a board stays in captures and on the board',
    "shell: x, nodes: [pi]":
      'can\'t go to a job that may run on the board "pi": what is typed on a board stays in captures and on the board',
  };
  for (const [job, message] of Object.entries(table)) {
    const files = {
      "labgear.yaml": `jobs: { j: { ${job}, secrets: { A: { file: a } } } }\n${devices}`,
      a: "0123",
    };
    assert.deepEqual(await mistakes(files), [`labgear.yaml:1: jobs.j.secrets: ${message}`], job);
  }
  using dir = folder({
    "labgear.yaml": "jobs: { j: { run: ./x, trust: lab, secrets: { A: { file: a } } } }",
    a: "0123",
  });
  assert.equal((await loadConfig({ file: dir.at("labgear.yaml") })).jobs.get("j")?.secrets.length, 1);
});
