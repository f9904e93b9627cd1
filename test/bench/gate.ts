/**
 * What the gate costs: how fast an input passes it and how much memory it takes, and how soon a line of the console arrives after a pause.
 * Run it by hand: `node test/bench/gate.ts [MIB]`. Job server, agent, gate and this client are a process each.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { type GateBuild, GateClient } from "#/client/gate.ts";
import { JobServer } from "#/gearman/server/server.ts";
import { TestAgent } from "../support/agent.ts";
import { memory } from "../support/leftovers.ts";
import { temporaryFolder } from "../support/servers.ts";
import { cpuSeconds, median } from "./report.ts";

const mib = 1024 * 1024;
const sizes = [64, Number(process.argv[2] ?? 512)];
const main = new URL("../../src/main.ts", import.meta.url).pathname;
const token = "a-token-for-the-bench-0123456789";

async function* file(size: number): AsyncGenerator<Buffer> {
  const piece = Buffer.alloc(mib, 7);
  for (let offset = 0; offset < size; offset += mib) yield piece.subarray(0, Math.min(mib, size - offset));
}

async function digest(size: number): Promise<string> {
  const hash = createHash("sha256");
  for await (const piece of file(size)) hash.update(piece);
  return hash.digest("hex");
}

/** In MB. */
const rss = (pid: number): number => memory(pid, "VmRSS") / 1e6;

async function follow(
  client: GateClient,
  build: GateBuild,
  on: (event: string, data: Record<string, unknown>) => void,
) {
  for await (const { event, data } of client.events(build, undefined)) {
    if (event === "end") return;
    on(event, data);
  }
}

async function sendOne(client: GateClient, size: number, pid: number): Promise<string> {
  const build = await client.submit(
    { job: "take", inputs: [{ name: "app", size, sha256: await digest(size) }] },
    crypto.randomUUID(),
  );
  const before = rss(pid);
  const worked = cpuSeconds(pid);
  let [tookMs, peak, isSent] = [0, before, false];
  await follow(client, build, (event, data) => {
    if (event !== "data" || !data.wants || isSent) return;
    isSent = true;
    const begun = performance.now();
    const looks = setInterval(() => (peak = Math.max(peak, rss(pid))), 50);
    void client
      .send(
        build,
        { name: "app", offset: 0, length: size, content: file(size) },
        new AbortController().signal,
      )
      .then(() => (tookMs = performance.now() - begun))
      .finally(() => clearInterval(looks));
  });
  return `${size / mib} MiB at ${(size / 1e3 / tookMs).toFixed(0)} MB/s; resident memory of the gate ${before.toFixed(0)} → ${peak.toFixed(0)} MB, its processor time ${(cpuSeconds(pid) - worked).toFixed(1)} s`;
}

/** The job writes the time, in nanoseconds, at each line. */
async function latencies(client: GateClient): Promise<number[]> {
  const build = await client.submit({ job: "ticks" }, crypto.randomUUID());
  const found: number[] = [];
  await follow(client, build, (event, data) => {
    const now = Date.now();
    if (event !== "output") return;
    for (const [text] of String(data.output).matchAll(/^\d{19}$/gm)) found.push(now - Number(text) / 1e6);
  });
  return found;
}

if (process.argv[2] === "server") {
  const server = new JobServer({ software: "bench" });
  process.send?.((await server.listen({ host: "127.0.0.1", port: 0 })).port);
} else {
  await using folder = await temporaryFolder();
  const server = spawn(process.execPath, [import.meta.filename, "server"], {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  const [port] = await once(server, "message");
  const yaml = `
name: box7
host: { classes: [lab1] }
inputs: { keep: 4GiB }
jobs:
  take: { inputs: { app: { max: 4GiB } }, run: "true" }
  ticks: { run: "for i in $(seq 30); do sleep 0.3; date +%s%N; done" }
`;
  await using agent = await TestAgent.start({ yaml, ports: [port] });
  mkdirSync(join(folder.path, "gate"));
  writeFileSync(join(folder.path, "gate/token"), token);
  const config = `listen: 127.0.0.1:0
gearman: { servers: ["127.0.0.1:${port}"] }
state-dir: state
tokens: { bench: { file: gate/token } }
rules: [{ when: { token: bench }, allow: { jobs: ["*"], inputs: { app: 4GiB } } }]
`;
  writeFileSync(join(folder.path, "gate.yaml"), config);
  const gate = spawn(
    process.execPath,
    ["--disable-warning=ExperimentalWarning", main, "gate", "--config", join(folder.path, "gate.yaml")],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  try {
    let url = "";
    for await (const line of createInterface(gate.stderr)) {
      const [, address] = /the gate is up at ([\d.:]+)/.exec(line) ?? [];
      if (address === undefined) continue;
      url = `http://${address}`;
      break;
    }
    gate.stderr.resume();
    const client = new GateClient({ url: new URL(url), token: async () => token });
    for (const size of sizes) console.log(await sendOne(client, size * mib, gate.pid ?? 0));
    const found = await latencies(client);
    console.log(
      `a line after a pause: median ${median(found).toFixed(1)} ms, at most ${Math.max(...found).toFixed(1)} ms (${found.length} lines, agent ${agent.child.pid})`,
    );
  } finally {
    gate.kill();
    server.kill();
  }
}
