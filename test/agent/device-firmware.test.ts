/** Firmware jobs on a real microcontroller's images in QEMU: each way in which an image can end, by its class through gearmand. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { TestAgent } from "../support/agent.ts";
import { becomes, boardYaml, build, resultOf } from "../support/boards.ts";
import { gearman } from "../support/clients.ts";
import { lacks } from "../support/parts.ts";
import { type RunningServer, startGearmand } from "../support/servers.ts";
import { type Image, runId, startFirmware } from "../targets/firmware.ts";
import { lacksTarget, type Target } from "../targets/target.ts";

const skip = lacks("gearmand", "gearadmin") || lacksTarget("qemuArm");

let server: RunningServer;
let target: Target;
let agent: TestAgent;

/** A job that flashes an image. */
function job(name: string, image: Image | "no-such-image", verdict: string, more = ""): string {
  const flash =
    image === "no-such-image" ? "echo 'no board answers' >&2; exit 2" : target.powerCommand(`flash ${image}`);
  const timeout = waitsInVain.has(name) ? "3s" : "60s";
  const firmware = `{ flash: ${JSON.stringify(flash)}, verdict: ${verdict}, timeout: ${timeout}${more} }`;
  return `  ${name}: { nodes: [mcu], firmware: ${firmware} }\n`;
}

const cases: [name: string, image: Image, verdict: string, result: string, cause?: string][] = [
  ["zephyr-pass", "ztest-pass", "zephyr", "SUCCESS"],
  ["zephyr-fail", "ztest-fail", "zephyr", "FAILURE"],
  ["zephyr-hang", "ztest-hang", "zephyr", "FAILURE", "verdict-missing"],
  ["zephyr-crash", "ztest-crash", "zephyr", "FAILURE", "panic"],
  ["zephyr-late-crash", "ztest-late-crash", "zephyr", "FAILURE", "panic"],
  ["zephyr-restart", "ztest-restart", "zephyr", "FAILURE", "rebooted"],
  ["unity-pass", "unity-pass", "unity", "SUCCESS"],
  ["unity-fail", "unity-fail", "unity", "FAILURE"],
  ["unity-hang", "unity-hang", "unity", "FAILURE", "verdict-missing"],
  ["tap-pass", "tap-pass", "tap", "SUCCESS"],
  ["tap-fail", "tap-fail", "tap", "FAILURE"],
  ["tap-short", "tap-short", "tap", "FAILURE", "verdict-missing"],
  ["tap-bail-out", "tap-bail-out", "tap", "FAILURE"],
  ["patterns", "unity-pass", "{ pass: 'Tests \\d+ Failures', fail: '[1-9]\\d* Failures' }", "SUCCESS"],
  ["silent", "silent", "zephyr", "FAILURE", "verdict-missing"],
];

/** Only what ends by its timeout has a short one. */
const waitsInVain = new Set([
  "old-image",
  ...cases.filter((one) => one[4] === "verdict-missing").map(([name]) => name),
]);

before(async () => {
  if (skip) return;
  server = await startGearmand();
  target = await startFirmware("silent");
  const jobs = cases.map(([name, image, verdict]) => job(name, image, verdict)).join("");
  const yaml = `
name: box7
jobs:
${jobs}
${job("old-image", "ztest-old", "zephyr", `, start: "RunID: ${runId}"`)}
${job("new-image", "ztest-pass", "zephyr", `, start: "RunID: ${runId}"`)}
${job("no-flash", "no-such-image", "zephyr")}
  no-image: { nodes: [mcu], firmware: { build: "echo cc: error; exit 1", flash: "echo never", verdict: tap } }
  flashing: { nodes: [mcu], firmware: { flash: "echo flashing; exec sleep 300", verdict: tap } }
  menu:
    nodes: [mcu]
    steps:
      - host: ${JSON.stringify(target.powerCommand("flash menu"))}
      - expect: "menu: v t c r"
      - { send: v, enter: false }
      - { name: the version, expect: 'version (\\d+)\\.(\\d+)' }
      - { send: t, enter: false }
      - { expect: 'temperature \\d+ C', fail: 'error' }
      - power: cycle
      - expect: "menu: "
  menu-fails:
    nodes: [mcu]
    steps:
      - host: ${JSON.stringify(target.powerCommand("flash menu"))}
      - { send: x, enter: false }
      - { expect: never said, timeout: 500ms }
devices:
  mcu-1: { classes: [mcu], ${boardYaml(target, { power: true })}, console: raw }
`;
  agent = await TestAgent.start({ yaml, ports: [server.port] });
  await becomes(agent, "mcu-1", "ready");
});

after(async () => {
  await agent?.[Symbol.asyncDispose]();
  await target?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});

async function ending(name: string): Promise<{ result: unknown; cause?: string; reason: string }> {
  const watched = await build(server.port, `${name}:mcu`, `u-${name}`);
  const result = await resultOf(watched);
  const number = Number((await watched.started).number);
  return { result, ...((await agent.record(name, number)).ending as { cause?: string; reason: string }) };
}

for (const [name, , , result, cause] of cases) {
  test(`${name}: ${result}${cause ? ` (${cause})` : ""}`, { skip }, async () => {
    const ended = await ending(name);
    assert.equal(ended.result, result, ended.reason);
    assert.equal(ended.cause, cause, ended.reason);
  });
}

test("each test case is in the JUnit report, and in the record's totals", { skip }, async () => {
  const record = await agent.record("zephyr-fail", 1);
  assert.ok((record.tests as { failures: number }).failures >= 1);
  const xml = (await agent.file("zephyr-fail", 1, "artifacts/labgear-verdict.xml")).toString();
  assert.match(xml, /<failure/);
});

test("the record says what the build did, step by step", { skip }, async () => {
  const steps = async (name: string) =>
    ((await agent.record(name, 1)).steps as { name: string }[]).map(({ name }) => name);
  assert.deepEqual(await steps("zephyr-pass"), ["reserve", "flash", "boot", "test", "collect"]);
  const { device } = await agent.record("zephyr-pass", 1);
  const { builds } = JSON.parse((await agent.command("devices", `${device}`, "--json")).stdout);
  const known = builds.find(({ build }: { build: string }) => build === "zephyr-pass#1");
  assert.ok(known.bootMs >= 0, "its history knows how long the board took to start");
});

test("an image with another RunID can't pass; the one with ours does", { skip }, async () => {
  const old = await ending("old-image");
  assert.deepEqual([old.result, old.cause], ["FAILURE", "verdict-missing"]);
  assert.equal((await ending("new-image")).result, "SUCCESS");
});

test("flashing that fails is the board's fault, an image that can't be made is the job's", {
  skip,
}, async () => {
  const flash = await ending("no-flash");
  assert.deepEqual([flash.result, flash.cause], [undefined, "flash-failed"]);
  const image = await ending("no-image");
  assert.deepEqual([image.result, image.cause], ["FAILURE", undefined]);
  assert.doesNotMatch((await agent.file("no-image", 1, "console.log")).toString(), /never/);
});

test("a job of steps talks to the firmware; a pattern that doesn't come fails it", { skip }, async () => {
  assert.equal((await ending("menu")).result, "SUCCESS");
  const failed = await ending("menu-fails");
  assert.equal(failed.result, "FAILURE");
  assert.match(failed.reason, /step 3 of 3.*never said.*within 500ms/);
});

test("power is cycled on every way out: ended, failed, stopped", { skip }, async () => {
  const before = target.power.filter((action) => action === "off").length;
  const watched = await build(server.port, "flashing:mcu", "u-flashing");
  await watched.said("flashing");
  await gearman(server.port, ["-f", "stop:box7", "u-flashing"]);
  assert.equal(await resultOf(watched), "ABORTED");
  assert.equal((await ending("tap-pass")).result, "SUCCESS");
  // Once for the stop, and once for the restart that the verdict counts from.
  assert.ok(target.power.filter((action) => action === "off").length >= before + 2);
});
