/**
 * The packaged program: its size, how fast it starts, and what it takes of the memory when it is idle. Each start is measured
 * after one that warms the disk's cache.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { globSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { execa } from "execa";
import { bundle } from "../../packaging/bundle.ts";
import { Pty } from "../devices/port/pty.ts";
import { products, version } from "../package/products.ts";
import { startGearmand } from "../support/servers.ts";

const rounds = 21;
const devices = 8;
/** How long the agent is left alone before its memory is looked at, in milliseconds. */
const idle = 20_000;

const { dist } = await products();
const program = join(dist, "labgear-linux-x64");
// What was just written is in the disk's cache in large parts, which count as a whole when a byte of them is used.
await execa("sync", [program]);
await execa("dd", [`if=${program}`, "iflag=nocache", "count=0"]);
const folder = mkdtempSync(join(tmpdir(), "labgear-bench-"));

/** An agent of the packaged program. */
class Started implements AsyncDisposable {
  /** Milliseconds from its start to the registration of the host's functions. */
  readonly registered: Promise<number>;
  readonly #child;
  readonly #folder = mkdtempSync(join(folder, "agent-"));

  constructor(yaml: string) {
    const config = join(this.#folder, "labgear.yaml");
    writeFileSync(config, yaml);
    const paths = [
      "--config",
      config,
      "--state-dir",
      join(this.#folder, "state"),
      "--control",
      join(this.#folder, "control"),
    ];
    const begun = performance.now();
    this.#child = spawn(program, ["agent", ...paths], { stdio: ["ignore", "ignore", "pipe"] });
    const lines = createInterface({ input: this.#child.stderr });
    this.registered = new Promise((resolve) => {
      lines.on("line", (line) => {
        if (line.includes('"registered with') && line.includes('"executor":0'))
          resolve(performance.now() - begun);
      });
    });
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = once(this.#child, "exit");
    this.#child.kill();
    await ended;
  }
}

for (const file of globSync(join(dist, "labgear*")).sort()) {
  console.log(`${basename(file)}: ${(statSync(file).size / 1e6).toFixed(1)} MB`);
}
try {
  const script = join(folder, "labgear.cjs");
  await bundle(script, version);
  // By turns, so that what else the machine does weighs on both.
  const packagedTimes: number[] = [];
  const bundledTimes: number[] = [];
  for (let round = 0; round < rounds; round++) {
    packagedTimes.push(await timeOf(program, ["--version"]));
    bundledTimes.push(
      await timeOf(process.execPath, ["--disable-warning=ExperimentalWarning", script, "--version"]),
    );
  }
  const packaged = middle(packagedTimes);
  const bundled = middle(bundledTimes);
  console.log(
    `--version: ${packaged.toFixed(0)} ms; node with the bundle: ${bundled.toFixed(0)} ms; ratio ${(packaged / bundled).toFixed(2)}`,
  );
  await using server = await startGearmand();
  const head = `name: bench\nservers: ["127.0.0.1:${server.port}"]\njobs: { quick: { run: "true" } }\n`;
  const registered = await median(async () => {
    await using agent = new Started(head);
    return await agent.registered;
  });
  console.log(`start to registered functions: ${registered.toFixed(0)} ms`);
  await using ptys = new AsyncDisposableStack();
  const entries: string[] = [];
  for (let index = 0; index < devices; index++) {
    const pty = ptys.use(new Pty(join(folder, `tty${index}`)));
    await pty.plug();
    entries.push(`  board-${index}: { classes: [lab], console: raw, port: ${pty.path} }\n`);
  }
  await using agent = new Started(`${head}devices:\n${entries.join("")}`);
  await agent.registered;
  await delay(idle);
  const memory = readFileSync(`/proc/${agent.pid}/smaps_rollup`, "utf8");
  const of = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(memory)?.[1]) / 1024;
  console.log(
    `idle with ${devices} devices: PSS ${of("Pss").toFixed(0)} MiB, of it anonymous ${of("Pss_Anon").toFixed(0)} MiB`,
  );
} finally {
  rmSync(folder, { recursive: true, force: true });
}

async function timeOf(file: string, args: string[]): Promise<number> {
  const begun = performance.now();
  await execa(file, args);
  return performance.now() - begun;
}

async function median(measure: () => Promise<number>): Promise<number> {
  await measure();
  const times: number[] = [];
  for (let round = 0; round < rounds; round++) times.push(await measure());
  return middle(times);
}

function middle(times: number[]): number {
  return times.sort((a, b) => a - b)[(rounds - 1) / 2] ?? 0;
}
