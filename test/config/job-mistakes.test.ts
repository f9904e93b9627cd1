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
      "2: jobs.both: expected only one of run, shell, steps or firmware, found run and shell",
      "5: jobs.none: expected one of run, shell, steps or firmware",
      "6: jobs.lonely: the option nodes is required: shell runs on a device, so name one or its class",
      '8: jobs.lonely.put[0].from: "../x" must stay inside the workspace: it contains ".."',
      '8: jobs.lonely.put[0].to: expected the path of a file on the board, found ""',
      "12: jobs.walk.steps[0].expect: expected a pattern for the console's output, found 7: put it in quotes",
      "13: jobs.walk.steps[1]: expected one of send, expect, run, login, sleep, control, break, baud, power, reset, host, put or get",
      "14: jobs.walk.steps[2]: expected one action in each step, found send and expect",
      '16: jobs.walk.steps[3].expct: is not an option (did you mean "expect"?)',
      "18: jobs.walk.steps[4].timeout: is an option of expect, run and login, not of sleep",
      '19: jobs.walk.steps[5]: expected a mapping of options, found "sleep"',
      "22: jobs.flash.firmware: the option flash is required",
      '22: jobs.flash.firmware.verdict: expected zephyr, unity, tap, or patterns of your own (pass, fail), found "robot"',
      '22: jobs.flash.firmware.lend: expected true or false, found "maybe"',
    ],
  );
});

test("steps that can't be", async () => {
  const steps: Record<string, string> = {
    "{send: 7}": ".send: expected text, found 7: put it in quotes",
    '{send: "", enter: false}': ": types nothing: add text, or remove enter: false",
    "{send: x, fail: y}": ".fail: is an option of expect, not of send",
    "{expect: x, enter: true}": ".enter: is an option of send, not of expect",
    "{expect: x, timeout: 0s}": ".timeout: must be longer than 0s",
    "{login: false}": ".login: expected true, found false",
    "{reset: yes}": '.reset: expected true, found "yes"',
    "{sleep: 2}": ".sleep: expected a duration such as 30m, 10s or 1h30m, found 2",
    "{control: {}}": ".control: expected exactly one of dtr or rts",
    "{control: {dtr: on, rts: off}}": ".control: expected exactly one of dtr or rts",
    "{control: {dtr: high}}": '.control.dtr: expected on, off, true or false, found "high"',
    "{control: {cts: on}}": '.control.cts: is not an option (did you mean "rts"?)',
    "{power: true}": ".power: expected on, off or cycle, found true",
    '{run: "a\\nb"}': ".run: must be a single line: a script goes into a shell job",
    "{put: {from: x}}": ".put: the option to is required",
    "{put: {from: /x, to: y}}": '.put.from: "/x" must be relative to the workspace',
    "{get: {from: /x, to: a/../../y}}":
      '.get.to: "a/../../y" must stay inside the workspace: it contains ".."',
    "{get: {from: /x, to: a/}}": '.get.to: expected the path of a file in the workspace, found "a/"',
    '{put: {from: x, to: "a\\nb"}}': '.put.to: expected the path of a file on the board, found "a\\nb"',
    '{sleep: 2s, name: "a\\e[31m"}':
      '.name: expected a name on one line, 100 characters at most, found "a\\u{1b}[31m"',
  };
  for (const [step, message] of Object.entries(steps)) {
    const found = await jobMistakes(`{nodes: [rpi4], steps: [${step}]}`, devices);
    assert.deepEqual(found, [`steps[0]${message}`], step);
    assert.match(found.join(""), /^[^\p{C}]*$/u, "fit for a terminal");
  }
  assert.deepEqual(await jobMistakes("{nodes: [rpi4], steps: []}", devices), [
    "steps: expected at least one entry, found an empty list",
  ]);
});

test("what a device can't do that a job wants of it", async () => {
  const jobs: Record<string, string> = {
    "nodes: [esp32], shell: x":
      'shell: a raw console can\'t run scripts: use steps, or set the console of the device (the device "esp")',
    "nodes: [loader], shell: x, put: [{from: a, to: b}]":
      'put: files can be copied over linux consoles only, and this one is u-boot (the device "loader")',
    "nodes: [rpi4, esp], steps: [{send: x}, {run: x}]":
      'steps[1].run: a raw console has no prompt: use send and expect (the device "esp")',
    "nodes: [esp32], steps: [{login: }]":
      'steps[0].login: a raw console has no prompt: use send and expect (the device "esp")',
    "nodes: [loader], steps: [{get: {from: a, to: b}}]":
      'steps[0].get: files can be copied over linux consoles only, and this one is u-boot (the device "loader")',
    "nodes: [esp32], steps: [{control: {dtr: on}}]":
      'steps[0].control: needs the port\'s control lines, and tcp:// carries only bytes: use rfc2217:// (the device "esp")',
    "nodes: [esp32], steps: [{break: 1s}]":
      'steps[0].break: needs the port\'s control lines, and tcp:// carries only bytes: use rfc2217:// (the device "esp")',
    "nodes: [esp32], steps: [{baud: 9600}]":
      'steps[0].baud: can\'t be set over tcp://, which carries only bytes: use rfc2217:// (the device "esp")',
    "nodes: [rpi4], steps: [{reset: true}]":
      'steps[0].reset: needs a device with reset: esp32, arduino, dtr or rts (the device "pi")',
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
      assert.match(found[0] ?? "", /^[\w.[\]]+: ".*" can't be used as a pattern: ./, job);
    }
  }
});

test("firmware that can't be", async () => {
  const firmware: Record<string, string> = {
    "{flash: x}": ": the option verdict is required",
    "{flash: x, verdict: {}}": ".verdict: the option pass is required",
    "{flash: x, verdict: {kind: tap}}": ".verdict: the option pass is required",
    "{flash: x, verdict: tap, start: ''}": '.start: expected text of 1 to 1000 characters, found ""',
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
      'nodes[0]: no device has the name or class "fast" (expected one of "pi", "rpi4", "loader")',
      'nodes[1]: no device has the name or class "rpi5" (did you mean "rpi4"?)',
    ],
    "nodes: [fast, rack7, rpi4, pi, other], run: x": [
      'nodes[4]: no node has the name or class "other" (expected one of "fast", "rack7", "pi", "rpi4", "loader")',
    ],
    "run: x, tty: true": ["tty: is an option of shell"],
    "nodes: [loader], shell: x, tty: true": ['tty: is for linux consoles (the device "loader")'],
    "run: x, put: [{from: a, to: b}]": ["put: is an option of shell: in steps, put is a step of its own"],
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

test("what a build has beside its workspace is checked by its names", async () => {
  const found = await mistakes(`networks: { lab: [10.0.0.0/33] }
jobs:
  a: { run: x, caches: [../x] }
  b: { run: x, devices: [/dev/../etc] }
  c: { run: x, devices: [/etc/passwd] }
  d: { run: x, network: some }
  e: { run: x, devices: ["/dev/$(id)"] }
`);
  assert.deepEqual(
    found.map((line) => line.replace("labgear.yaml:", "")),
    [
      '1: networks.lab[0]: expected a network such as 10.7.0.0/16 or fd00:7::/32, or an address, found "10.0.0.0/33"',
      '3: jobs.a.caches[0]: expected the name of a folder, such as ccache, found "../x"',
      '4: jobs.b.devices[0]: expected the path of a device node, such as /dev/ttyUSB0, found "/dev/../etc"',
      '5: jobs.c.devices[0]: expected the path of a device node, such as /dev/ttyUSB0, found "/etc/passwd"',
      '6: jobs.d.network: expected none, lab or full, found "some"',
      '7: jobs.e.devices[0]: expected the path of a device node, such as /dev/ttyUSB0, found "/dev/$(id)"',
    ],
  );
  assert.match(
    (await mistakes("jobs: { a: { run: x, network: lab } }\n")).join(),
    /needs the option networks/,
  );
});
