/** Builds on a real U-Boot, on MicroPython, and on a board behind a real ser2net, each asked for by its class through gearmand. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { TestAgent } from "../support/agent.ts";
import { becomes, boardYaml, build, resultOf } from "../support/boards.ts";
import { gearman } from "../support/clients.ts";
import { lacks } from "../support/parts.ts";
import { startGearmand } from "../support/servers.ts";
import { startFirmware } from "../targets/firmware.ts";
import { startMicroPython } from "../targets/micropython.ts";
import { startSer2net } from "../targets/ser2net.ts";
import { lacksTarget } from "../targets/target.ts";
import { startUboot } from "../targets/uboot.ts";

const skip = lacks("gearmand", "gearadmin");

test("U-Boot: commands, their exact output and exit codes; a reset in the middle", {
  skip: skip || lacksTarget("qemuArm64", "ubootArm64"),
}, async () => {
  await using server = await startGearmand();
  await using target = await startUboot();
  const yaml = `
name: box7
jobs:
  prints:
    nodes: [virt-uboot]
    shell: |
      echo hello from U-Boot
      setenv answer 42; echo "the answer is $answer"
  prompt-in-output: { nodes: [virt-uboot], shell: "echo '=> '; echo after" }
  fails: { nodes: [virt-uboot], shell: "echo before\\nfalse\\necho after" }
  through-a-reset:
    nodes: [virt-uboot]
    steps: [{ run: setenv gone 1 }, { send: reset }, { login: true }, { run: test -z "$gone" }]
  sleeps: { nodes: [virt-uboot], shell: "echo asleep; sleep 300" }
devices:
  uboot-1: { classes: [virt-uboot], ${boardYaml(target)}, console: u-boot, health: { probe: version, expect: "U-Boot 20\\\\d\\\\d" } }
`;
  await using agent = await TestAgent.start({ yaml, ports: [server.port] });
  await becomes(agent, "uboot-1", "ready");
  assert.equal(await resultOf(await build(server.port, "prints:virt-uboot", "u-1")), "SUCCESS");
  const log = (await agent.file("prints", 1, "console.log")).toString();
  assert.equal(log.replaceAll("\r", ""), "hello from U-Boot\nthe answer is 42\n");
  assert.equal(await resultOf(await build(server.port, "prompt-in-output:virt-uboot", "u-2")), "SUCCESS");
  assert.match((await agent.file("prompt-in-output", 1, "console.log")).toString(), /^=> \r?\nafter\r?\n$/);
  assert.equal(await resultOf(await build(server.port, "fails:virt-uboot", "u-3")), "FAILURE");
  assert.doesNotMatch((await agent.file("fails", 1, "console.log")).toString(), /after/);
  assert.equal(await resultOf(await build(server.port, "through-a-reset:virt-uboot", "u-4")), "SUCCESS");
  const sleeps = await build(server.port, "sleeps:virt-uboot", "u-5");
  await sleeps.said("asleep");
  await gearman(server.port, ["-f", "stop:box7", "u-5"]);
  assert.equal(await resultOf(sleeps), "ABORTED");
  assert.equal(await resultOf(await build(server.port, "prints:virt-uboot", "u-6")), "SUCCESS");
});

test("MicroPython: a script's output, an exception as a failure, a stop", {
  skip: skip || lacksTarget("qemuArm", "micropythonMicrobit"),
}, async () => {
  await using server = await startGearmand();
  await using target = await startMicroPython();
  const yaml = `
name: box7
jobs:
  prints:
    nodes: [microbit]
    shell: |
      for i in range(3):
          print('line', i)
  raises: { nodes: [microbit], shell: "print('before')\\n1/0" }
  loops: { nodes: [microbit], shell: "print('looping')\\nwhile True: pass" }
devices:
  bit-1: { classes: [microbit], ${boardYaml(target)}, console: micropython, health: { probe: "print(6*7)", expect: "^42" } }
`;
  await using agent = await TestAgent.start({ yaml, ports: [server.port] });
  await becomes(agent, "bit-1", "ready");
  assert.equal(await resultOf(await build(server.port, "prints:microbit", "u-1")), "SUCCESS");
  const log = (await agent.file("prints", 1, "console.log")).toString();
  assert.equal(log.replaceAll("\r", ""), "line 0\nline 1\nline 2\n");
  assert.equal(await resultOf(await build(server.port, "raises:microbit", "u-2")), "FAILURE");
  assert.match((await agent.file("raises", 1, "console.log")).toString(), /^before\r?\n.*ZeroDivisionError/s);
  const loops = await build(server.port, "loops:microbit", "u-3");
  await loops.said("looping");
  await gearman(server.port, ["-f", "stop:box7", "u-3"]);
  assert.equal(await resultOf(loops), "ABORTED");
  assert.equal(await resultOf(await build(server.port, "prints:microbit", "u-4")), "SUCCESS");
});

for (const protocol of ["raw", "telnet-rfc2217"] as const) {
  test(`ser2net, ${protocol}: a board behind a console server`, {
    skip: skip || lacksTarget("qemuArm", "ser2net"),
  }, async () => {
    await using server = await startGearmand();
    await using target = await startFirmware("menu");
    await using ser2net = await startSer2net(target.tty, protocol);
    const scheme = protocol === "raw" ? "tcp" : "rfc2217";
    const yaml = `
name: box7
jobs:
  port: { nodes: [far], run: 'echo "$LABGEAR_PORT"' }
  asks: { nodes: [far], steps: [{ send: v, enter: false }, { expect: "version 1.4" }] }
devices:
  far-1: { classes: [far], port: "${scheme}://127.0.0.1:${ser2net.port}", console: raw }
`;
    await using agent = await TestAgent.start({ yaml, ports: [server.port] });
    await becomes(agent, "far-1", "ready");
    assert.equal(await resultOf(await build(server.port, "asks:far", "u-1")), "SUCCESS");
    assert.equal(await resultOf(await build(server.port, "port:far", "u-2")), "SUCCESS");
    const url = `${protocol === "raw" ? "socket" : "rfc2217"}://127.0.0.1:${ser2net.port}\n`;
    assert.equal((await agent.file("port", 1, "console.log")).toString(), url);
    await ser2net[Symbol.asyncDispose]();
    await becomes(agent, "far-1", "absent");
  });
}
