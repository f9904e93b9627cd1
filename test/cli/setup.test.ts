/** `labgear setup`: what it asks, what it writes, and what it leaves alone. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PassThrough, Writable } from "node:stream";
import { test } from "node:test";
import { ask, setupYaml, withDefaults, writeSetup } from "#/cli/setup.ts";
import { loadConfig } from "#/config/load.ts";
import type { FoundPort } from "#/devices/discovery/discovery.ts";
import { labgear } from "../support/agent.ts";
import { testFolder } from "../support/folders.ts";

const ports: FoundPort[] = [
  { path: "/dev/ttyUSB0", serial: "FT1234", usb: "0403:6001", product: "Fancy Adapter" },
  { path: "/dev/ttyACM0", serial: "E66138", usb: "2e8a:000a", product: "Pico" },
];

test("by options alone, for a box without a configuration", async () => {
  using folder = testFolder();
  const config = join(folder.path, "labgear.yaml");
  const args = [
    "--name",
    "rack7",
    "--server",
    "a.example,b.example:4731",
    "--classes",
    "auto,fast",
    "--executors",
    "3",
  ];
  const { exitCode, stdout, stderr } = await labgear(["setup", "--no-start", "--config", config, ...args]);
  assert.deepEqual([exitCode, stderr], [0, ""]);
  assert.match(stdout, /setup\.yaml written$/m);
  assert.match(stdout, /^next, add jobs under jobs: in /m);
  const found = await loadConfig({ file: config });
  assert.deepEqual([found.name, found.host], ["rack7", { classes: ["auto", "fast"], executors: 3 }]);
  assert.deepEqual(
    found.servers.map(({ host, port }) => `${host}:${port}`),
    ["a.example:4730", "b.example:4731"],
  );
  assert.match(readFileSync(config, "utf8"), /^#name: rack7$/m, "the sample, with its explanations");
});

test("an earlier setup is replaced only by force, and the configuration itself never", async () => {
  using folder = testFolder();
  const config = join(folder.path, "labgear.yaml");
  writeFileSync(config, "jobs: { pass: { run: 'true' } }\n");
  const setup = (...args: string[]) => labgear(["setup", "--no-start", "--config", config, ...args]);
  assert.equal((await setup("--name", "one")).exitCode, 0);
  const refused = await setup("--name", "two");
  assert.deepEqual([refused.exitCode, (await loadConfig({ file: config })).name], [2, "one"]);
  assert.match(refused.stderr, /^labgear: .*setup\.yaml exists already: edit it, or .* --force$/m);
  assert.equal((await setup("--name", "two", "--force")).exitCode, 0);
  assert.equal((await loadConfig({ file: config })).name, "two");
  assert.equal(readFileSync(config, "utf8"), "jobs: { pass: { run: 'true' } }\n");
});

test("what an earlier setup was told stays unless something else is said", async () => {
  using folder = testFolder();
  const config = join(folder.path, "labgear.yaml");
  const answers = withDefaults(
    { name: "one", server: ["a.example"], executors: 3, boards: ["all"] },
    {},
    ports,
  );
  await writeSetup(answers, { config, sample: () => "", force: false });
  const changed = await labgear(["setup", "--no-start", "--config", config, "--force", "--name", "two"]);
  assert.equal(changed.exitCode, 0, changed.stderr);
  const found = await loadConfig({ file: config });
  assert.deepEqual(
    [found.name, found.host.executors, [...found.devices.keys()]],
    ["two", 3, ["fancy-adapter", "pico"]],
  );
  assert.deepEqual(
    found.servers.map(({ host }) => host),
    ["a.example"],
  );
});

test("a person who says no gets nothing written", async () => {
  const input = new PassThrough();
  const output = new Writable({
    write(chunk, _, done) {
      if (/\]: $/.test(`${chunk}`)) input.write(`${chunk}`.startsWith("Write") ? "n\n" : "\n");
      done();
    },
  });
  await assert.rejects(ask({}, {}, [], input, output), /nothing was written/);
});

test("what isn't good leaves all as it was", async () => {
  using folder = testFolder();
  const config = join(folder.path, "labgear.yaml");
  const bad = await labgear(["setup", "--no-start", "--config", config, "--name", "a:b"]);
  assert.equal(bad.exitCode, 2);
  assert.match(bad.stderr, /can't be a name: it contains a colon/);
  assert.deepEqual(readdirSync(join(folder.path, "conf.d")), []);
  assert.ok(!existsSync(config));
  const missing = await labgear(["setup", "--no-start", "--config", config, "--boards", "/dev/ttyNONE"]);
  assert.match(missing.stderr, /^labgear: there is no serial port \/dev\/ttyNONE/);
});

test("a person is asked for what no option told", async () => {
  const input = new PassThrough();
  let shown = "";
  const output = new Writable({
    write(chunk, _, done) {
      shown += chunk;
      // Each question is answered when it is there.
      const answers: [RegExp, string][] = [
        [/Name of this box \[[^\]]*\]: $/, shown.includes("white space") ? "rack8\n" : "rack 8\n"],
        [/Job servers[^\]]*\]: $/, shown.includes("expected HOST") ? "gear.example\n" : "x:y:z\n"],
        [/Builds that this box may run at once \[1\]: $/, shown.includes("whole number") ? "2\n" : "two\n"],
        [/ttyUSB0, Fancy Adapter\? \[y\/N\]: $/, "n\n"],
        [/ttyACM0, Pico\? \[y\/N\]: $/, "yes\n"],
        [/Write this\? \[Y\/n\]: $/, "\n"],
      ];
      const found = answers.find(([question]) => question.test(shown));
      if (found) input.write(found[1]);
      done();
    },
  });
  const answers = await ask({ classes: ["lab"] }, {}, ports, input, output);
  assert.deepEqual(answers, {
    name: "rack8",
    servers: ["gear.example"],
    classes: ["lab"],
    executors: 2,
    boards: [ports[1]],
  });
  assert.doesNotMatch(shown, /Classes/);
  assert.match(shown, /^name: rack8$/m, "what will be written is shown");
});

test("answers that end too early write nothing", async () => {
  const input = new PassThrough();
  input.end("rack8\n");
  await assert.rejects(ask({}, {}, ports, input, new PassThrough().resume()), /the input ended too early/);
});

test("boards become devices of the configuration", async () => {
  using folder = testFolder();
  const config = join(folder.path, "labgear.yaml");
  const answers = withDefaults({ boards: ["all"] }, {}, ports);
  const found = await writeSetup(answers, { config, sample: () => "", force: false });
  assert.deepEqual([...found.devices.keys()], ["fancy-adapter", "pico"]);
  assert.deepEqual(withDefaults({}, {}, ports).boards, []);
  assert.match(setupYaml(withDefaults({}, {}, [])), /^# Written by labgear setup.*\n$/);
});
