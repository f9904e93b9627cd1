/** Mistakes in jobs on devices: each with its line and what was expected. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { loadConfig } from "#/config/load.ts";
import { folder } from "./folder.ts";
import { jobMistakes, mistakes } from "./mistakes.ts";

const devices = {
  pi: "{classes: [rpi4], port: /dev/pi, console: linux, power: {cycle: x}}",
  loader: "{classes: [loader], port: /dev/loader, console: u-boot, power: {on: x, off: y}, reset: dtr}",
  esp: "{classes: [esp32], port: tcp://h:1, console: raw}",
};

test("mistakes all over some jobs give a line each, at their lines", async () => {
  const found = await mistakes(`jobs:
  both:
    run: x
    shell: x
  none: { timeout: 3s }
  lonely:
    shell: x
    put: [{ from: ../x, to: "" }]
  walk:
    nodes: [c]
    steps:
      - expect: 7
      - name: nothing
      - send: x
        expect: y
      - expct: z
      - sleep: 2s
        timeout: 3s
      - sleep
  flash:
    nodes: [d]
    firmware: { verdict: robot, lend: maybe }
devices:
  d: { classes: [c], port: /dev/d, console: raw }
`);
  assert.deepEqual(
    found.map((line) => line.replace("labgear.yaml:", "")),
    [
      "2: jobs.both: has run and shell: a job does one of them",
      "5: jobs.none: needs one of run, shell, steps and firmware: what it does",
      "6: jobs.lonely: needs the option nodes: shell runs on a device, named there by its name or class",
      '8: jobs.lonely.put[0].from: "../x" must not lead out of the workspace with ".."',
      '8: jobs.lonely.put[0].to: expected the path of a file on the board, found ""',
      "12: jobs.walk.steps[0].expect: expected a pattern for the console's output, found 7: put it in quotes",
      "13: jobs.walk.steps[1]: needs a verb: one of send, expect, run, login, sleep, control, break, power, reset, host, put and get",
      "14: jobs.walk.steps[2]: has send and expect: give each a step of its own",
      '16: jobs.walk.steps[3].expct: is not an option (did you mean "expect"?)',
      "18: jobs.walk.steps[4].timeout: goes with expect, run and login, not with sleep",
      '19: jobs.walk.steps[5]: expected a mapping of options, found "sleep"',
      "22: jobs.flash.firmware: needs the option flash",
      '22: jobs.flash.firmware.verdict: expected zephyr, unity, tap, or patterns (pass, fail), found "robot"',
      '22: jobs.flash.firmware.lend: expected true or false, found "maybe"',
    ],
  );
});

test("steps that can't be", async () => {
  const steps: Record<string, string> = {
    "{send: 7}": ".send: expected text, found 7: put it in quotes",
    '{send: "", enter: false}': ": types nothing: give it a text, or enter: true",
    "{send: x, fail: y}": ".fail: goes with expect, not with send",
    "{expect: x, enter: true}": ".enter: goes with send, not with expect",
    "{expect: x, timeout: 0s}": ".timeout: must be longer than nothing",
    "{login: false}": ".login: expected true, found false",
    "{reset: yes}": '.reset: expected true, found "yes"',
    "{sleep: 2}": ".sleep: expected a duration such as 30m, 10s or 1h30m, found 2",
    "{control: {}}": ".control: expected one of dtr and rts",
    "{control: {dtr: on, rts: off}}": ".control: expected one of dtr and rts",
    "{control: {dtr: high}}": '.control.dtr: expected on, off, true or false, found "high"',
    "{control: {cts: on}}": '.control.cts: is not an option (did you mean "rts"?)',
    "{power: true}": ".power: expected on, off or cycle, found true",
    '{run: "a\\nb"}': ".run: must be one line: a script goes into a job's shell",
    "{put: {from: x}}": ".put: needs the option to",
    "{put: {from: /x, to: y}}": '.put.from: "/x" must be relative to the workspace',
    "{get: {from: /x, to: a/../../y}}": '.get.to: "a/../../y" must not lead out of the workspace with ".."',
    "{get: {from: /x, to: a/}}": '.get.to: expected the path of a file in the workspace, found "a/"',
    '{put: {from: x, to: "a\\nb"}}': '.put.to: expected the path of a file on the board, found "a\\u{a}b"',
    '{sleep: 2s, name: "a\\e[31m"}':
      '.name: expected a name on one line, not longer than 100 characters, found "a\\u{1b}[31m"',
  };
  for (const [step, message] of Object.entries(steps)) {
    const found = await jobMistakes(`{nodes: [rpi4], steps: [${step}]}`, devices);
    assert.deepEqual(found, [`steps[0]${message}`], step);
    assert.match(found.join(""), /^[^\p{C}]*$/u, "fit for a terminal");
  }
  assert.deepEqual(await jobMistakes("{nodes: [rpi4], steps: []}", devices), [
    "steps: expected one entry at least, found an empty list",
  ]);
});

test("what a device can't do that a job wants of it", async () => {
  const jobs: Record<string, string> = {
    "nodes: [esp32], shell: x":
      'shell: a raw console runs no scripts: use steps, or name its kind (the device "esp")',
    "nodes: [loader], shell: x, put: [{from: a, to: b}]":
      'put: files go over linux consoles, not over u-boot ones (the device "loader")',
    "nodes: [rpi4, esp], steps: [{send: x}, {run: x}]":
      'steps[1].run: a raw console has no prompt: use send and expect (the device "esp")',
    "nodes: [esp32], steps: [{login: }]":
      'steps[0].login: a raw console has no prompt: use send and expect (the device "esp")',
    "nodes: [loader], steps: [{get: {from: a, to: b}}]":
      'steps[0].get: files go over linux consoles, not over u-boot ones (the device "loader")',
    "nodes: [esp32], steps: [{control: {dtr: on}}]":
      'steps[0].control: tcp:// carries the bytes alone: use rfc2217://, which has control lines (the device "esp")',
    "nodes: [esp32], steps: [{break: 1s}]":
      'steps[0].break: tcp:// carries the bytes alone: use rfc2217://, which has control lines (the device "esp")',
    "nodes: [rpi4], steps: [{reset: true}]":
      'steps[0].reset: needs a device with reset: dtr or rts (the device "pi")',
    "nodes: [rpi4], steps: [{power: on}]": 'steps[0].power: needs a device with power.on (the device "pi")',
    "nodes: [esp32], steps: [{power: cycle}]":
      'steps[0].power: needs a device with power.cycle (the device "esp")',
  };
  for (const [job, message] of Object.entries(jobs))
    assert.deepEqual(await jobMistakes(`{${job}}`, devices), [message], job);
});

test("patterns that are none, or that fit anything", async () => {
  for (const pattern of ["(", "(?=x)", "\\\\1", "", "x*", "x{1001}", "y".repeat(5000)]) {
    for (const job of [
      `{nodes: [pi], steps: [{expect: "${pattern}"}]}`,
      `{nodes: [pi], steps: [{expect: x, fail: "${pattern}"}]}`,
      `{nodes: [pi], firmware: {flash: x, verdict: {pass: "${pattern}"}}}`,
      `{nodes: [pi], firmware: {flash: x, verdict: {pass: x, fail: "${pattern}"}}}`,
    ]) {
      const found = await jobMistakes(job, devices);
      assert.equal(found.length, 1, found.join("\n"));
      assert.match(found[0] ?? "", /^[\w.[\]]+: ".*" can't be a pattern: ./, job);
    }
  }
});

test("firmware that can't be", async () => {
  const firmware: Record<string, string> = {
    "{flash: x}": ": needs the option verdict",
    "{flash: x, verdict: {}}": ".verdict: needs the option pass",
    "{flash: x, verdict: {kind: tap}}": ".verdict: needs the option pass",
    "{flash: x, verdict: tap, start: ''}": '.start: expected text that is not empty, found ""',
    "{flash: ' ', verdict: tap}": '.flash: expected a shell script, found " "',
    "{flash: x, verdict: tap, timeout: never}":
      '.timeout: expected a duration such as 30m, 10s or 1h30m, found "never"',
    x: ': expected a mapping of options, found "x"',
  };
  for (const [section, message] of Object.entries(firmware)) {
    const found = await jobMistakes(`{nodes: [pi], firmware: ${section}}`, devices);
    assert.equal(found[0], `firmware${message}`, section);
  }
});

test("nodes that a job may name: a device's for what runs on one; for the others the host's as well", async () => {
  const boards = `devices: {pi: ${devices.pi}, loader: ${devices.loader}}`;
  const jobs: Record<string, string[]> = {
    "nodes: [fast, rpi5], shell: x": [
      'nodes[0]: no device has the name or class "fast" (offered: "pi", "rpi4", "loader")',
      'nodes[1]: no device has the name or class "rpi5" (did you mean "rpi4"?)',
    ],
    "nodes: [fast, rack7, rpi4, pi, other], run: x": [
      'nodes[4]: no node has the name or class "other" (offered: "fast", "rack7", "pi", "rpi4", "loader")',
    ],
    "run: x, put: [{from: a, to: b}]": ["put: goes with shell alone; among steps, put is one of them"],
  };
  for (const [job, messages] of Object.entries(jobs)) {
    const found = await mistakes(`name: rack7\nhost: {classes: [fast]}\n${boards}\njobs: {j: {${job}}}`);
    assert.deepEqual(
      found,
      messages.map((message) => `labgear.yaml:4: jobs.j.${message}`),
    );
  }
  assert.deepEqual(await mistakes("jobs: {j: {shell: x, nodes: [pi]}}"), [
    'labgear.yaml:1: jobs.j.nodes[0]: no device has the name or class "pi" (there is none)',
  ]);
});

test("a script on the host may have a device's class, with or without the classes of the host known", async () => {
  for (const classes of ["auto", "fast"]) {
    using dir = folder({
      "labgear.yaml": `host: {classes: [${classes}]}
jobs: {a: {run: x, nodes: [rpi4]}, b: {run: x, nodes: [pi]}, c: {shell: x, nodes: [rpi4, pi]}}
devices: {pi: ${devices.pi}}`,
    });
    assert.equal((await loadConfig({ file: dir.at("labgear.yaml") })).jobs.size, 3);
  }
});
