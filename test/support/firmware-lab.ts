/** A lab with one emulated board that flashes the image a client sends, and all the job servers that a client may reach it through. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { JobServer } from "#/gearman/server/server.ts";
import { lacksEmulator, startEmulator } from "../targets/emulator.ts";
import { TestAgent } from "./agent.ts";
import { becomes, boardYaml } from "./boards.ts";
import { makeCa, makeCertificate } from "./certificates.ts";
import { startWorker } from "./gearman.ts";
import { lacks } from "./parts.ts";
import { startGearmand, startPerlServer, startStunnel, temporaryFolder } from "./servers.ts";

/** For a test's `skip` option. */
export const lacksFirmwareLab = () =>
  lacks("gearmand", "perlGearmand", "stunnel", "openssl") || lacksEmulator("qemuArm");

/** No distribution has it yet: built from its sources, by hand. */
const gearmand2 = process.env.LABGEAR_TEST_GEARMAND2;

/** For a test's `skip` option. */
export const lacksGearmand2: string | false =
  gearmand2 !== undefined && existsSync(gearmand2)
    ? false
    : "NOT RUN HERE: LABGEAR_TEST_GEARMAND2 names no gearmand of version 2";

export const firmware = (name: string) =>
  new URL(`../targets/firmware/${name}.elf`, import.meta.url).pathname;

export type ServerKind = "gearmand" | "gearmand2" | "embedded" | "tls" | "perl";

export interface FirmwareLab extends AsyncDisposable {
  readonly agent: TestAgent;
  readonly folder: string;
  readonly ports: Readonly<Partial<Record<ServerKind, number>>>;
  /** Of the client, for the port of `tls`. */
  readonly certificate: { readonly ca: string; readonly cert: string; readonly key: string };
}

export async function startFirmwareLab(): Promise<FirmwareLab> {
  await using resources = new AsyncDisposableStack();
  const { path: folder } = resources.use(await temporaryFolder());
  const gearmand = resources.use(await startGearmand());
  const newer = lacksGearmand2 ? undefined : resources.use(await startGearmand({ program: `${gearmand2}` }));
  const server = resources.use(new JobServer({ software: "labgear 0" }));
  const embedded = await server.listen({ host: "127.0.0.1", port: 0 });
  const ca = await makeCa(folder, "ca");
  const mine = await makeCertificate(folder, "mine", ca, "IP:127.0.0.1");
  const tls = resources.use(await startStunnel({ to: gearmand.port, ...mine, clientCa: ca.cert }));
  const perl = resources.use(await startPerlServer());
  resources.use(await startWorker([perl], ["build:firmware-smoke", "build:firmware-smoke:cortex-m3"]));
  const target = resources.use(
    await startEmulator({
      ...{ name: "Firmware", emulator: "qemuArm", args: ["-M", "lm3s6965evb"], image: firmware("silent") },
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
  const ports = [gearmand.port, embedded.port, ...(newer ? [newer.port] : [])];
  const agent = resources.use(await TestAgent.start({ yaml, ports }));
  await becomes(agent, "mcu-1", "ready");
  const kept = resources.move();
  return {
    ...{ agent, folder, certificate: { ca: ca.cert, cert: mine.cert, key: mine.key } },
    ports: {
      ...{ gearmand: gearmand.port, embedded: embedded.port, tls: tls.port, perl: perl.port },
      ...(newer && { gearmand2: newer.port }),
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** What `--fetch` and `--junit` have brought: console, test reports, artifacts, record and capture, of the image that was sent. */
export async function checkBrought(out: string, junit: string, elf: string, stdout: string): Promise<void> {
  const digest = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");
  assert.equal(await readFile(join(out, "console.log"), "utf8"), stdout);
  assert.match(stdout, /PROJECT EXECUTION (SUCCESSFUL|FAILED)/);
  assert.match(await readFile(junit, "utf8"), /<testcase/);
  assert.deepEqual(await readFile(junit), await readFile(join(out, "junit.xml")));
  const sent = digest(await readFile(firmware(elf)));
  assert.equal(digest(await readFile(join(out, "artifacts/flashed.elf"))), sent);
  const record = JSON.parse(await readFile(join(out, "build.json"), "utf8"));
  assert.equal(record.inputs[0].sha256, sent);
  assert.ok(existsSync(join(out, "serial.capture")));
}

/** For the Perl server, which passes no data on. */
export const perlRefusal =
  /^labgear: 127\.0\.0\.1:\d+ is the Perl job server, [^\n]*--file needs gearmand[^\n]*\n$/;
