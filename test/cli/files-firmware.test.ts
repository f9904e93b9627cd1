/** Hardware tests for CI: an image goes in, is flashed on an emulated board, and console, test reports and artifacts come back. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { labgear } from "../support/agent.ts";
import { becomes } from "../support/boards.ts";
import {
  checkBrought,
  type FirmwareLab,
  firmware,
  lacksFirmwareLab,
  lacksGearmand2,
  perlRefusal,
  startFirmwareLab,
} from "../support/firmware-lab.ts";
import { Running } from "./running.ts";

describe("a firmware job with its image from the client", {
  skip: lacksFirmwareLab(),
  timeout: 240_000,
}, () => {
  let lab: FirmwareLab;
  before(async () => {
    lab = await startFirmwareLab();
  });
  after(() => lab?.[Symbol.asyncDispose]());

  for (const [kind, elf, code] of [
    ["gearmand", "ztest-pass", 0],
    ["gearmand2", "ztest-pass", 0],
    ["embedded", "ztest-fail", 1],
    ["tls", "ztest-pass", 0],
  ] as const) {
    test(`through ${kind}: ${elf}`, { skip: kind === "gearmand2" && lacksGearmand2 }, async () => {
      const { folder, ports, certificate } = lab;
      const out = join(folder, `out-${kind}`);
      const junit = join(folder, `${kind}.xml`);
      const files = ["--file", `app=${firmware(elf)}`, "--fetch", out, "--junit", junit];
      const tls = Object.entries(certificate).flatMap(([name, file]) => [`--tls-${name}`, file]);
      const server = ["--server", `127.0.0.1:${ports[kind]}`, ...(kind === "tls" ? tls : [])];
      const args = ["build", "firmware-smoke", "--node", "cortex-m3", ...files, ...server];
      const { exitCode, stderr, stdout } = await labgear(args, { timeoutMs: 120_000 });
      assert.equal(exitCode, code, stderr);
      await checkBrought(out, junit, elf, stdout);
      assert.match(stderr.trim().split("\n").at(-1) ?? "", /^(SUCCESS|FAILURE) after/);
    });
  }

  test("a client that is killed while its build has the board: ABORTED, and the board is proved and back", async () => {
    const { agent, ports } = lab;
    const build = ["build", "firmware-smoke", "--file", `app=${firmware("silent")}`];
    const server = ["--server", `127.0.0.1:${ports.gearmand}`];
    const count = (state: string) => agent.log.filter((line) => line.state === state).length;
    const busy = count("busy");
    await using running = Running.start([...build, ...server, "--client-timeout", "5s"]);
    await becomes(agent, "mcu-1", "busy", busy + 1);
    const ready = count("ready");
    running.child.kill("SIGKILL");
    const { msg } = await agent.logged((line) => line.msg.includes("ended") && line.result === "ABORTED");
    assert.match(msg, /its client gave no sign of life for 5s/);
    await becomes(agent, "mcu-1", "ready", ready + 1);
  });

  test("the Perl server passes no data on: one line", async () => {
    const args = ["build", "firmware-smoke", "--file", `app=${firmware("silent")}`];
    const { exitCode, stderr } = await labgear([...args, "--server", `127.0.0.1:${lab.ports.perl}`]);
    assert.equal(exitCode, 2);
    assert.match(stderr, perlRefusal);
  });
});
