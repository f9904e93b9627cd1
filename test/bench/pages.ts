/**
 * How much many viewers slow down a build that prints fast: `node test/bench/pages.ts [VIEWERS] [SECONDS] [MB_PER_SECOND]`. The
 * target is 200 viewers for 60 s at 5 MB/s. Exits 1 if the build gets 10 % slower or more, or a viewer misses bytes without a gap event.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { BuildRecord } from "#/builds/record.ts";
import { memory } from "../support/leftovers.ts";
import { EventReader } from "../web/event-reader.ts";
import { WebLab } from "../web/web-lab.ts";
import { cpuSeconds } from "./report.ts";

const [viewers = 200, seconds = 15, rate = 5] = process.argv.slice(2).map(Number);
/** Prints at the given rate, catching up after short stalls; records its duration, and the part of it spent in writes. */
const printer = `
const { writeSync, existsSync } = require("node:fs");
const sleep = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
const write = (bytes) => { for (let at = 0; at < bytes.length; ) at += writeSync(1, bytes, at); };
const lines = (n) => Array.from({ length: n }, (_, line) => {
  const [a, b, c] = Array.from({ length: 3 }, () => Math.floor(Math.random() * 2 ** 32).toString(16));
  return \`[\${(line / 1000).toFixed(3)}] CC drivers/net/\${a}/\${b}.o: \${c} warnings, address 0x\${c}\${a}\\n\`;
});
const size = ${rate} * 1e6 / 100;
const pieces = Array.from({ length: 20 }, () => Buffer.from(lines(size / 50).join("")).subarray(0, size));
write(Buffer.from("begun\\n"));
while (!existsSync(process.env.LABGEAR_ARTIFACTS + "/go")) sleep(20);
const begun = performance.now();
let held = 0;
for (let n = 0; n < ${seconds * 100}; n++) {
  const before = performance.now();
  write(pieces[n % pieces.length]);
  held += performance.now() - before;
  sleep(Math.max(0, begun + (n + 1) * 10 - performance.now()));
}
const took = performance.now() - begun;
require("node:fs").writeFileSync(process.env.LABGEAR_ARTIFACTS + "/took", JSON.stringify({ took, held }));
`;
const yaml = `
jobs:
  print: { timeout: 10m, run: '"$NODE" "$PRINTER"', parameters: [NODE, PRINTER] }
builds: { max-console: 2GiB }
`;

await using lab = await WebLab.start(yaml);
const script = join(lab.agent.folder, "printer.cjs");
await writeFile(script, printer);
const { pid = 0 } = lab.agent.child;
const residence = () => memory(pid, "VmRSS") / 2 ** 20;

const alone = await build(1);
const watched = await build(2, viewers);
const slower = watched.took / alone.took - 1;
console.log(
  `${rate} MB/s for ${seconds} s: ${(alone.took / 1000).toFixed(2)} s alone, ${(watched.took / 1000).toFixed(2)} s with ${viewers} viewers ` +
    `(${(slower * 100).toFixed(1)} % slower; in writes ${(alone.held / 1000).toFixed(2)} s and ${(watched.held / 1000).toFixed(2)} s); agent ${Math.round(alone.memory)} MiB alone, ${Math.round(watched.memory)} MiB at most with viewers, ` +
    `${watched.cpu.toFixed(1)} s of CPU, ${alone.cpu.toFixed(1)} s alone; viewers catch up ${(watched.late / 1000).toFixed(1)} s after the end; ` +
    `console ${watched.bytes} bytes; viewers: ${JSON.stringify(watched.report)}`,
);
const { plain, compressed } = watched.report ?? {};
const isWhole = (one?: Seen) => one !== undefined && one.holes === 0 && one.at === watched.bytes;
process.exitCode = slower < 0.1 && isWhole(plain) && isWhole(compressed) ? 0 : 1;

interface Seen {
  readonly at: number;
  readonly missed: number;
  readonly holes: number;
}

interface Report {
  readonly plain: Seen;
  readonly compressed: Seen;
  /** Viewers that received as much as `compressed`. */
  readonly same: number;
  readonly others: number;
}

async function build(number: number, count = 0) {
  const watch = await lab.submit("print", `uuid-${number}`, {
    ...{ LABGEAR_STREAM: "0", NODE: process.execPath, PRINTER: script },
  });
  await watch.started;
  const url = `${lab.url}/builds/print/${number}/events`;
  {
    await using reader = await EventReader.open(`${url}?from=0`);
    await reader.until(() => reader.output.includes("begun"));
  }
  const far = count > 0 ? startViewers(url, count) : undefined;
  await far?.ready;
  let most = residence();
  const timer = setInterval(() => {
    most = Math.max(most, residence());
  }, 500);
  const cpu = cpuSeconds(pid);
  const artifacts = join(lab.agent.stateDir, `builds/print/${number}/artifacts`);
  await writeFile(join(artifacts, "go"), "");
  await watch.ended;
  const ended = performance.now();
  const report = await far?.report;
  const late = performance.now() - ended;
  clearInterval(timer);
  const record = (await lab.agent.record("print", number)) as unknown as BuildRecord;
  const { took, held } = JSON.parse(readFileSync(join(artifacts, "took"), "utf8")) as Record<
    "took" | "held",
    number
  >;
  return {
    took,
    held,
    memory: most,
    cpu: cpuSeconds(pid) - cpu,
    bytes: record.console?.bytes ?? 0,
    report,
    late,
  };
}

function startViewers(url: string, count: number) {
  const file = new URL("pages-viewers.ts", import.meta.url).pathname;
  const child: ChildProcess = spawn(
    process.execPath,
    ["--disable-warning=ExperimentalWarning", file, url, String(count)],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  if (!child.stdout) throw new Error("the viewers have no standard output");
  const lines = createInterface(child.stdout);
  const ready = once(lines, "line");
  const report = ready.then(() => once(lines, "line")).then(([line]) => JSON.parse(line) as Report);
  return { ready, report };
}
