/**
 * How fast an input arrives, how soon a build begins that needs nothing sent, and how much memory a large one takes in each process.
 * Run it by hand: `node test/bench/inputs.ts [MIB]`. Job server, agent and this client are a process each.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { formatPiece, parseReceived } from "#/exchange/send.ts";
import { Client } from "#/gearman/client/client.ts";
import { JobServer } from "#/gearman/server/server.ts";
import { TestAgent } from "../support/agent.ts";
import { object } from "../support/clients.ts";
import { type SentBuild, submitWith } from "../support/exchange.ts";
import { memory } from "../support/leftovers.ts";
import { startGearmand } from "../support/servers.ts";
import { cpuSeconds, median } from "./report.ts";

const mib = 1024 * 1024;
const large = Number(process.argv[2] ?? 1024);

/** A file that takes no memory: each piece is made anew. */
class File {
  readonly size: number;
  readonly sha256: string;
  readonly #seed: number;

  constructor(size: number, seed: number) {
    this.size = size;
    this.#seed = seed;
    const hash = createHash("sha256");
    for (let offset = 0; offset < size; offset += mib) hash.update(this.piece(offset));
    this.sha256 = hash.digest("hex");
  }

  piece(offset: number): Buffer {
    const bytes = Buffer.alloc(Math.min(mib, this.size - offset), this.#seed);
    bytes.writeDoubleLE(offset);
    return bytes;
  }
}

async function measure(kind: "gearmand" | "embedded"): Promise<void> {
  await using server = await start(kind);
  const yaml = `
name: box7
host: { classes: [lab1] }
inputs: { keep: 4GiB }
jobs: { take: { inputs: { app: { max: 4GiB } }, run: "true" } }
`;
  await using agent = await TestAgent.start({ yaml, ports: [server.port] });
  const small = new File(64 * mib, 1);
  const rates: number[] = [];
  const agains: number[] = [];
  for (let round = 0; round < 3; round++) {
    const file = new File(64 * mib, 1 + round);
    rates.push((await run(server.port, file)).rate);
  }
  for (let round = 0; round < 5; round++) agains.push((await run(server.port, small)).ms);
  const pids = { agent: agent.child.pid ?? 0, server: server.pid, client: process.pid };
  const before = Object.entries(pids).map(([name, pid]) => [name, rss(pid)] as const);
  const file = new File(large * mib, 9);
  const worked = Object.values(pids).map(cpuSeconds);
  const peaks = new Map<string, number>();
  const { rate } = await run(server.port, file, () => {
    for (const [name, pid] of Object.entries(pids)) peaks.set(name, Math.max(peaks.get(name) ?? 0, rss(pid)));
  });
  const work = Object.entries(pids).map(
    ([name, pid], index) => `${name} ${(cpuSeconds(pid) - (worked[index] ?? 0)).toFixed(1)} s`,
  );
  console.log(
    `${kind}: 64 MiB at ${median(rates).toFixed(0)} MB/s (${rates.map((r) => r.toFixed(0)).join(", ")})`,
  );
  console.log(
    `${kind}: a build with the same 64 MiB again takes ${median(agains).toFixed(0)} ms (${agains.map((r) => r.toFixed(0)).join(", ")})`,
  );
  const grown = before.map(
    ([name, start]) => `${name} ${start.toFixed(0)} → ${peaks.get(name)?.toFixed(0)} MB`,
  );
  console.log(
    `${kind}: ${large} MiB at ${rate.toFixed(0)} MB/s; resident memory at its peak: ${grown.join(", ")}`,
  );
  console.log(`${kind}: processor time for that: ${work.join(", ")}`);
}

/** One build: how fast its input arrived, if it had to be sent, and how long the whole took. */
async function run(port: number, file: File, look = () => {}): Promise<{ rate: number; ms: number }> {
  const begun = performance.now();
  const build = await submitWith(port, "build:take", [{ name: "app", size: file.size, sha256: file.sha256 }]);
  let rate = 0;
  const wanted = build
    .dataPackets(2)
    .then(() => object(build.events.filter(({ type }) => type === "data")[1]));
  if ("wants" in (await wanted)) {
    const sending = performance.now();
    await send(port, build, file, look);
    rate = file.size / 1e3 / (performance.now() - sending);
  }
  await build.ended;
  return { rate, ms: performance.now() - begun };
}

async function send(port: number, { key, uuid }: SentBuild, file: File, look: () => void): Promise<void> {
  await using client = await Client.connect({ host: "127.0.0.1", port });
  for (let offset = 0; offset < file.size; ) {
    const data = formatPiece(key, { uuid, name: "app", offset, bytes: file.piece(offset) }, Date.now());
    const submission = await client.submit({ function: "send:box7", unique: `${uuid}-${offset}`, data });
    for await (const event of submission) if (event.type === "complete") offset = parseReceived(event.data);
    if (offset % (16 * mib) === 0) look();
  }
}

async function start(kind: "gearmand" | "embedded") {
  if (kind === "gearmand") return startGearmand();
  const child = spawn(process.execPath, [import.meta.filename, "server"], {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  const [port] = await once(child, "message");
  return {
    port: Number(port),
    pid: child.pid ?? 0,
    async [Symbol.asyncDispose]() {
      child.kill();
      await once(child, "exit");
    },
  };
}

/** In MB. */
const rss = (pid: number): number => memory(pid, "VmRSS") / 1e6;

if (process.argv[2] === "server") {
  const server = new JobServer({ software: "bench" });
  const { port } = await server.listen({ host: "127.0.0.1", port: 0 });
  process.send?.(port);
} else {
  for (const kind of ["gearmand", "embedded"] as const) await measure(kind);
}
