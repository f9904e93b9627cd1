/** The configuration as it is read: defaults, units, drop-ins, and what reading does to the files (nothing). */
import assert from "node:assert/strict";
import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, utimesSync } from "node:fs";
import { hostname } from "node:os";
import { test } from "node:test";
import { loadConfig } from "#/config/load.ts";
import { folder } from "./folder.ts";

test("an empty file: every default", async () => {
  using dir = folder({ "labgear.yaml": "# nothing\n" });
  assert.deepEqual(await loadConfig({ file: dir.at("labgear.yaml") }), {
    files: [dir.at("labgear.yaml")],
    name: hostname(),
    servers: [],
    http: { host: "127.0.0.1", port: 8430, url: "http://127.0.0.1:8430" },
    host: { classes: ["auto"], executors: 1 },
    builds: {
      ...{ keep: 200, keepDays: 30, minFreeBytes: 2 * 2 ** 30, maxConsoleBytes: 256 * 2 ** 20 },
      ...{ maxArtifactsBytes: 2 ** 30, maxArtifactFiles: 1000 },
      ...{
        maxReportBytes: 10 * 2 ** 20,
        maxReportFiles: 1000,
        offlineNode: true,
        maxCacheBytes: 8 * 1024 ** 3,
      },
    },
    inputs: { keepBytes: 8 * 2 ** 30, timeoutMs: 300_000, maxTimeMs: 1_800_000 },
    remote: { read: false, console: false },
    links: {},
    jobs: new Map(),
    devices: new Map(),
    stopTimeoutMs: 3_600_000,
    historyMs: 400 * 86_400_000,
    drainLeasesMs: 600_000,
    orphanTimeoutMs: 120_000,
  });
});

test("a job with nothing but its script: every default", async () => {
  using dir = folder({ "labgear.yaml": "jobs: {a: {run: make}}" });
  const { jobs } = await loadConfig({ file: dir.at("labgear.yaml") });
  assert.deepEqual(jobs.get("a"), {
    name: "a",
    work: { kind: "run", script: "make" },
    checkout: false,
    timeoutMs: 7_200_000,
    graceMs: 10_000,
    artifacts: [],
    junit: [],
    stale: "skip",
    secrets: [],
    trust: "lab",
    ...{ caches: [], network: "full", devices: [], debug: false },
    inputs: [],
    limits: {},
    parameters: [],
  });
});

test("every option", async () => {
  using dir = folder({
    "labgear.yaml": `
name: rack7
servers: [gearman.example, "[::1]:4731", { server: c:1, tls: { ca: own.pem } }]
tls: { ca: tls/ca.pem, cert: box.pem, key: box.key }
http: { listen: "0.0.0.0:80", url: https://rack7.example/labgear/ }
host: { classes: [auto, fast-disk], executors: 2 }
builds:
  { keep: 3, keep-days: 4, min-free: 0, max-console: 1.5MiB,
    max-artifacts: 3GiB, max-artifact-files: 7, max-report: 5MB, max-report-files: 8, offline-node: false, max-cache: 4GiB }
networks: { lab: [10.7.0.0/16, "::1"] }
history: 90d
inputs: { keep: 0, timeout: 1s, max-time: 1m }
remote: { read: true }
links: { change: "https://review.example/c/{project}/+/{change}/{patchset}" }
stop-timeout: 0s
drain-leases: 5m
orphan-timeout: 45s
infrastructure-result: NODE_FAILURE
jobs:
  unit-tests:
    nodes: [x86-64]
    checkout: true
    run: |
      on=yes
    timeout: 1h30m
    silence: 5m
    caches: [ccache, go]
    network: lab
    devices: [/dev/ttyUSB0, /dev/bus/usb]
    debug: true
    inputs: { app: { max: 1MiB, optional: true, from: ["https://a.example/x/", 10.7.0.0/16] } }
    grace: 0s
    artifacts: ["build/*.bin"]
    junit: ["reports/*.xml"]
    stale: keep
    limits: { memory: 4GB, processes: 500, cpu: 150% }
    parameters: [BOARD_REV]
`,
    "own.pem": "",
    "tls/ca.pem": "",
    "box.pem": "",
    "box.key": "",
  });
  const file = dir.at("labgear.yaml");
  const config = await loadConfig({ file });
  const tls = { ca: dir.at("tls/ca.pem"), cert: dir.at("box.pem"), key: dir.at("box.key") };
  assert.deepEqual(config, {
    files: [file],
    name: "rack7",
    servers: [
      { host: "gearman.example", port: 4730, tls },
      { host: "::1", port: 4731, tls },
      { host: "c", port: 1, tls: { ca: dir.at("own.pem") } },
    ],
    http: { host: "0.0.0.0", port: 80, url: "https://rack7.example/labgear" },
    host: { classes: ["auto", "fast-disk"], executors: 2 },
    builds: {
      ...{ keep: 3, keepDays: 4, minFreeBytes: 0, maxConsoleBytes: 1.5 * 2 ** 20 },
      ...{ maxArtifactsBytes: 3 * 2 ** 30, maxArtifactFiles: 7 },
      ...{ maxReportBytes: 5e6, maxReportFiles: 8, offlineNode: false, maxCacheBytes: 4 * 2 ** 30 },
    },
    inputs: { keepBytes: 0, timeoutMs: 1000, maxTimeMs: 60_000 },
    remote: { read: true, console: false },
    links: { change: "https://review.example/c/{project}/+/{change}/{patchset}" },
    stopTimeoutMs: 0,
    historyMs: 90 * 86_400_000,
    drainLeasesMs: 300_000,
    orphanTimeoutMs: 45_000,
    infrastructureResult: "NODE_FAILURE",
    devices: new Map(),
    jobs: new Map([
      [
        "unit-tests",
        {
          name: "unit-tests",
          nodes: ["x86-64"],
          checkout: true,
          work: { kind: "run", script: "on=yes\n" },
          timeoutMs: 5_400_000,
          silenceMs: 300_000,
          graceMs: 0,
          artifacts: ["build/*.bin"],
          junit: ["reports/*.xml"],
          stale: "keep",
          secrets: [],
          trust: "changes",
          ...{ caches: ["ccache", "go"], network: { only: ["10.7.0.0/16", "::1"] } },
          ...{ devices: ["ttyUSB0", "bus/usb"], debug: true },
          inputs: [
            {
              ...{ name: "app", maxBytes: 2 ** 20, optional: true },
              ...{ from: ["https://a.example/x/"], networks: ["10.7.0.0/16"] },
            },
          ],
          limits: { memory: 4e9, processes: 500, cpu: 1.5 },
          parameters: ["BOARD_REV"],
        },
      ],
    ]),
  });
});

test("the url that users reach, made from where the pages are served", async () => {
  const urls = {
    "127.0.0.1:8430": "http://127.0.0.1:8430",
    "0.0.0.0:80": `http://${hostname()}:80`,
    "[::]:8430": `http://${hostname()}:8430`,
    "[::1]:8430": "http://[::1]:8430",
    "rack7.example:1": "http://rack7.example:1",
  };
  for (const [listen, url] of Object.entries(urls)) {
    using dir = folder({ "labgear.yaml": `http: {listen: "${listen}"}` });
    assert.equal((await loadConfig({ file: dir.at("labgear.yaml") })).http.url, url);
  }
});

test("drop-ins are laid over the file by name: mappings merge, lists and values replace", async () => {
  using dir = folder({
    "labgear.yaml":
      "host: {classes: [a, b], executors: 2}\njobs: {one: {run: make, timeout: 5m}}\nbuilds: {keep: 1}",
    "conf.d/20-later.yaml": "host: {classes: [c]}\njobs: {one: {timeout: 7m}, two: {run: x}}",
    "conf.d/10-early.yaml": "host: {classes: [d]}\njobs: {one: {grace: 3s, timeout: 6m}}\nbuilds:\n",
    "conf.d/.hidden.yaml": "nonsense",
    "conf.d/30.yaml~": "nonsense",
    "conf.d/40.yaml.dpkg-old": "nonsense",
  });
  const config = await loadConfig({ file: dir.at("labgear.yaml") });
  assert.deepEqual(
    config.files,
    ["labgear.yaml", "conf.d/10-early.yaml", "conf.d/20-later.yaml"].map(dir.at),
  );
  assert.deepEqual(config.host, { classes: ["c"], executors: 2 });
  assert.equal(config.builds.keep, 1);
  assert.deepEqual([...config.jobs.keys()], ["one", "two"]);
  const one = config.jobs.get("one");
  assert.deepEqual(
    [one?.work, one?.timeoutMs, one?.graceMs],
    [{ kind: "run", script: "make" }, 420_000, 3000],
  );
});

test("a drop-in's file names are relative to the drop-in", async () => {
  using dir = folder({
    "labgear.yaml": "servers: [a]\ntls: {ca: ca.pem}",
    "ca.pem": "",
    "conf.d/tls.yaml": "tls: {cert: box.pem, key: box.key}",
    "conf.d/box.pem": "",
    "conf.d/box.key": "",
  });
  const [server] = (await loadConfig({ file: dir.at("labgear.yaml") })).servers;
  assert.deepEqual(server?.tls, {
    ca: dir.at("ca.pem"),
    cert: dir.at("conf.d/box.pem"),
    key: dir.at("conf.d/box.key"),
  });
});

test("YAML 1.2: on, off, yes and no are text; aliases and merge keys work; a byte order mark does no harm", async () => {
  using dir = folder({
    "labgear.yaml": `\uFEFFname: off
host: {classes: [auto, on]}
jobs:
  123: &one {run: "yes", timeout: 5m}
  other: {<<: *one, timeout: 6m}
  again: *one
`,
  });
  const config = await loadConfig({ file: dir.at("labgear.yaml") });
  assert.deepEqual([config.name, config.host.classes[1]], ["off", "on"]);
  assert.deepEqual(
    [...config.jobs.values()].map(({ name, work, timeoutMs }) => [name, work, timeoutMs]),
    [
      ["123", { kind: "run", script: "yes" }, 300_000],
      ["other", { kind: "run", script: "yes" }, 360_000],
      ["again", { kind: "run", script: "yes" }, 300_000],
    ],
  );
});

test("jobs named after what every object has are jobs", async () => {
  using dir = folder({
    "labgear.yaml": "jobs:\n  __proto__: {run: a}\n  constructor: {run: b}\n  toString: {run: c}",
    "conf.d/x.yaml": "jobs:\n  __proto__: {timeout: 3m}\n",
  });
  const { jobs } = await loadConfig({ file: dir.at("labgear.yaml") });
  assert.deepEqual([...jobs.keys()], ["__proto__", "constructor", "toString"]);
  assert.equal(jobs.get("__proto__")?.timeoutMs, 180_000);
  assert.equal("run" in {}, false);
});

test("reading writes nothing: a read-only file in a read-only folder, its time and mode stay", async () => {
  using dir = folder({ "etc/labgear.yaml": "name: a\n", "etc/conf.d/x.yaml": "name: b\n" });
  const then = new Date("2020-01-02T03:04:05Z");
  for (const name of ["etc/labgear.yaml", "etc/conf.d/x.yaml", "etc/conf.d", "etc"]) {
    chmodSync(dir.at(name), statSync(dir.at(name)).mode & 0o555);
    utimesSync(dir.at(name), then, then);
  }
  try {
    assert.equal((await loadConfig({ file: dir.at("etc/labgear.yaml") })).name, "b");
    for (const name of ["etc/labgear.yaml", "etc/conf.d/x.yaml", "etc/conf.d", "etc"]) {
      const { mtime, mode } = statSync(dir.at(name));
      assert.deepEqual([mtime, mode & 0o222], [then, 0], name);
    }
    assert.deepEqual(readdirSync(dir.at("etc")), ["conf.d", "labgear.yaml"]);
    assert.equal(readFileSync(dir.at("etc/labgear.yaml"), "utf8"), "name: a\n");
  } finally {
    for (const name of ["etc", "etc/conf.d"]) chmodSync(dir.at(name), 0o755);
  }
});

test("a missing file: an error that says what to do, the defaults where it may be missing; no folder is made", async () => {
  using dir = folder();
  const file = dir.at("none/labgear.yaml");
  await assert.rejects(loadConfig({ file }), {
    code: "UNREADABLE",
    message: /labgear\.yaml does not exist: .*--config/,
  });
  const config = await loadConfig({ file, optional: true });
  assert.deepEqual([config.files, config.jobs.size, config.builds.keep], [[], 0, 200]);
  assert.deepEqual(readdirSync(dir.path), []);
});

test("without the file its drop-ins still count, where it may be missing", async () => {
  using dir = folder({ "conf.d/a.yaml": "servers: [a]" });
  const config = await loadConfig({ file: dir.at("labgear.yaml"), optional: true });
  assert.deepEqual(config.servers, [{ host: "a", port: 4730 }]);
});

test("what is no file, is too large or can't be read", async () => {
  using dir = folder({
    "large/labgear.yaml": `name: a\n${"# filled\n".repeat(2 ** 18)}`,
    "large-drop-in/labgear.yaml": "",
    "large-drop-in/conf.d/a.yaml": `#${"x".repeat(2 ** 21)}`,
    "file/conf.d": "",
    "file/labgear.yaml": "",
  });
  mkdirSync(dir.at("folder/labgear.yaml"), { recursive: true });
  const expected = {
    large: /labgear\.yaml is too large for a configuration file: it has 2\.3MiB, and the limit is 1MiB/,
    "large-drop-in": /a\.yaml is too large/,
    folder: /labgear\.yaml is not a file/,
    file: /conf\.d can't be read/,
  };
  for (const [name, message] of Object.entries(expected)) {
    await assert.rejects(loadConfig({ file: dir.at(`${name}/labgear.yaml`) }), {
      code: "UNREADABLE",
      message,
    });
  }
  await assert.rejects(loadConfig({ file: "/dev/zero" }), { code: "UNREADABLE", message: /is not a file/ });
});
