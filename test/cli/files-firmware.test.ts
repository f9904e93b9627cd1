/** Hardware tests for CI: an image goes in, is flashed on an emulated board, and console, test reports and artifacts come back. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { JobServer } from "#/gearman/server/server.ts";
import { labgear, TestAgent } from "../support/agent.ts";
import { becomes, boardYaml } from "../support/boards.ts";
import { makeCa, makeCertificate } from "../support/certificates.ts";
import { startWorker } from "../support/gearman.ts";
import { lacks } from "../support/parts.ts";
import { startGearmand, startPerlServer, startStunnel, temporaryFolder } from "../support/servers.ts";
import { lacksEmulator, startEmulator } from "../targets/emulator.ts";

const skip = lacks("gearmand", "stunnel", "openssl") || lacksEmulator("qemuArm");
const image = (name: string) => new URL(`../targets/firmware/${name}.elf`, import.meta.url).pathname;

describe("a firmware job with its image from the client", { skip, timeout: 240_000 }, () => {
  let agent: TestAgent;
  let folder = "";
  const servers: Record<string, string[]> = {};
  const resources = new AsyncDisposableStack();

  before(async () => {
    ({ path: folder } = resources.use(await temporaryFolder()));
    const gearmand = resources.use(await startGearmand());
    const embedded = resources.use(new JobServer({ software: "labgear 0" }));
    const { port } = await embedded.listen({ host: "127.0.0.1", port: 0 });
    const ca = await makeCa(folder, "ca");
    const mine = await makeCertificate(folder, "mine", ca, "IP:127.0.0.1");
    const tls = resources.use(await startStunnel({ to: gearmand.port, ...mine, clientCa: ca.cert }));
    servers.gearmand = ["--server", `127.0.0.1:${gearmand.port}`];
    servers.embedded = ["--server", `127.0.0.1:${port}`];
    const certificate = ["--tls-ca", ca.cert, "--tls-cert", mine.cert, "--tls-key", mine.key];
    servers.tls = ["--server", `127.0.0.1:${tls.port}`, ...certificate];
    const target = resources.use(
      await startEmulator({
        ...{ name: "Firmware", emulator: "qemuArm", args: ["-M", "lm3s6965evb"], image: image("silent") },
        imageArgs: (file) => ["-kernel", file],
      }),
    );
    const current = join(folder, "current.elf");
    // The board keeps the image for longer than the build has it.
    const flash = `cp "$LABGEAR_INPUT_APP" ${current} && ${target.powerCommand(`flash ${current}`)} && cp ${current} flashed.elf`;
    const yaml = `
name: box7
jobs:
  firmware-smoke:
    nodes: [cortex-m3]
    inputs: { app: { max: 32MiB } }
    firmware: { flash: ${JSON.stringify(flash)}, verdict: zephyr, timeout: 60s }
    artifacts: ["*.elf"]
devices:
  mcu-1: { classes: [cortex-m3], ${boardYaml(target, { power: true })}, console: raw }
`;
    agent = resources.use(await TestAgent.start({ yaml, ports: [gearmand.port, port] }));
    await becomes(agent, "mcu-1", "ready");
    for (const one of [gearmand.port, port])
      await agent.logged(
        (line) =>
          line.msg.startsWith("registered") && "exchange" in line && `${line.server}`.endsWith(`:${one}`),
      );
  });
  after(() => resources.disposeAsync());

  for (const [name, elf, code] of [
    ["gearmand", "ztest-pass", 0],
    ["embedded", "ztest-fail", 1],
    ["tls", "ztest-pass", 0],
  ] as const) {
    test(`through ${name}: ${elf}`, async () => {
      const out = join(folder, `out-${name}`);
      const junit = join(folder, `${name}.xml`);
      const files = ["--file", `app=${image(elf)}`, "--fetch", out, "--junit", junit];
      const args = ["build", "firmware-smoke", "--node", "cortex-m3", ...files, ...(servers[name] ?? [])];
      const { exitCode, stderr, stdout } = await labgear(args, { timeoutMs: 120_000 });
      assert.equal(exitCode, code, stderr);
      assert.equal(await readFile(join(out, "console.log"), "utf8"), stdout);
      assert.match(stdout, /PROJECT EXECUTION (SUCCESSFUL|FAILED)/);
      assert.match(await readFile(junit, "utf8"), /<testcase/);
      assert.deepEqual(await readFile(junit), await readFile(join(out, "junit.xml")));
      const digest = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");
      const sent = digest(await readFile(image(elf)));
      assert.equal(digest(await readFile(join(out, "artifacts/flashed.elf"))), sent);
      const record = JSON.parse(await readFile(join(out, "build.json"), "utf8"));
      assert.equal(record.inputs[0].sha256, sent);
      assert.ok(existsSync(join(out, "serial.capture")));
      assert.match(stderr.trim().split("\n").at(-1) ?? "", /^(SUCCESS|FAILURE) after/);
    });
  }

  test("the Perl server passes no data on: one line", { skip: lacks("perlGearmand") }, async () => {
    await using perl = await startPerlServer();
    await using _box = await startWorker([perl], ["build:firmware-smoke"]);
    const args = ["build", "firmware-smoke", "--file", `app=${image("silent")}`];
    const { exitCode, stderr } = await labgear([...args, "--server", `127.0.0.1:${perl.port}`]);
    assert.equal(exitCode, 2);
    assert.match(
      stderr,
      /^labgear: 127\.0\.0\.1:\d+ is the Perl job server, [^\n]*--file needs gearmand[^\n]*\n$/,
    );
  });
});
