/**
 * What a build costs, an idle agent, and one with much to remember. The peers are libgearman's own worker (`gearman -w -- true`), the
 * Perl worker, and a shell, in turns with ours on the same gearmand. `node test/bench/builds.ts [ROUNDS] [BUILDS] [KEPT]`
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { execa } from "execa";
import { Client } from "#/gearman/client/client.ts";
import { Pty } from "../devices/port/pty.ts";
import { TestAgent } from "../support/agent.ts";
import { submit } from "../support/clients.ts";
import { memory } from "../support/leftovers.ts";
import { part, partsEnv } from "../support/parts.ts";
import { type RunningServer, startGearmand, temporaryFolder } from "../support/servers.ts";
import { median, quantile, Report } from "./report.ts";

const [rounds = 300, builds = 5000, kept = 20_000] = process.argv.slice(2).map(Number);
const consoleBytes = 500_000_000;
const eventLoop = new URL("event-loop.ts", import.meta.url).pathname;
const report = new Report("bench-builds");

const yaml = (executors: number) => `
name: bench
host: { classes: [bench], executors: ${executors} }
builds: { keep: 200, max-console: 1GiB }
jobs:
  quick: { run: "true" }
  wait: { run: "exec sleep 600", grace: 10s }
  print: { timeout: 10m, run: "yes 'a line of a build, as long as most of them are' | head -c ${consoleBytes}" }
`;

/** Workers of `gearman -w`, each of which runs true for a job. */
function startPeers(port: number, count: number): DisposableStack {
  const peers = new DisposableStack();
  for (let index = 0; index < count; index++) {
    const args = ["-w", "-h", "127.0.0.1", "-p", `${port}`, "-f", "peer", "--", "true"];
    peers.adopt(spawn(part("gearman"), args, { env: partsEnv, stdio: "ignore" }), (peer) =>
      peer.kill("SIGKILL"),
    );
  }
  return peers;
}

async function startPerl(port: number): Promise<ChildProcess> {
  const program = `use Gearman::Worker; $| = 1;
my $w = Gearman::Worker->new(job_servers => ["127.0.0.1:$ARGV[0]"]);
$w->register_function(perl => sub { "answer" });
print "ready\\n"; $w->work while 1;`;
  const child = spawn("perl", ["-e", program, `${port}`], {
    env: partsEnv,
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(child.stdout, "data");
  return child;
}

/** Milliseconds from submit to the first event and to the last. */
async function once_(client: Client, name: string): Promise<{ first: number; end: number }> {
  const begun = performance.now();
  let first = 0;
  for await (const _ of await client.submit({ function: name, data: "{}" }))
    first ||= performance.now() - begun;
  return { first, end: performance.now() - begun };
}

/** Jobs a second, twice as many at once as there are workers. */
async function rate(client: Client, name: string, workers: number, count: number): Promise<number> {
  const begun = performance.now();
  let left = count;
  const one = async () => {
    while (left-- > 0) await once_(client, name);
  };
  await Promise.all(Array.from({ length: 2 * workers }, one));
  return count / ((performance.now() - begun) / 1000);
}

async function latencies(server: RunningServer): Promise<void> {
  await using agent = await TestAgent.start({ yaml: yaml(1), ports: [server.port] });
  using _ = startPeers(server.port, 1);
  const perl = await startPerl(server.port);
  try {
    await using client = await Client.connect({ host: "127.0.0.1", port: server.port });
    const names = ["build:quick:bench", "peer", "perl"] as const;
    for (let round = 0; round < 20; round++) for (const name of names) await once_(client, name);
    const times = names.map(() => ({ first: [] as number[], end: [] as number[] }));
    for (let round = 0; round < rounds; round++) {
      for (const [index, name] of names.entries()) {
        const { first, end } = await once_(client, name);
        times[index]?.first.push(first);
        times[index]?.end.push(end);
      }
    }
    const [ours, peer, answer] = times;
    if (!ours || !peer || !answer) throw new TypeError("no times");
    const ms = { unit: "ms" } as const;
    report.add({
      ...ms,
      what: "submit to first data, median",
      ours: median(ours.first),
      peer: "Perl worker's answer",
      theirs: median(answer.first),
    });
    const worker = { peer: "gearman -w -- true" } as const;
    report.add({
      ...ms,
      what: "submit to end of `true`, median",
      ours: median(ours.end),
      ...worker,
      theirs: median(peer.end),
    });
    report.add({
      ...ms,
      what: "submit to end of `true`, 99th percentile",
      ours: quantile(ours.end, 0.99),
      ...worker,
      theirs: quantile(peer.end, 0.99),
    });
    await stops(server.port, client);
    await console_(agent, client);
    await reconnect(agent, server);
  } finally {
    perl.kill("SIGKILL");
  }
}

async function stops(port: number, client: Client): Promise<void> {
  const times: number[] = [];
  for (let round = 0; round < 30; round++) {
    const unique = `stop-${round}`;
    const build = await submit(port, {
      function: "build:wait:bench",
      unique,
      data: '{"LABGEAR_STREAM":"1"}',
    });
    await build.started;
    // Until its process waits: the stop of a build that prepares is another matter.
    await delay(100);
    const begun = performance.now();
    for await (const _ of await client.submit({ function: "stop:bench", data: unique }));
    await build.ended;
    times.push(performance.now() - begun);
  }
  report.add({ what: "stop of `sleep` to WORK_FAIL, median", unit: "ms", ours: median(times) });
}

async function console_(agent: TestAgent, client: Client): Promise<void> {
  let most = 0;
  const timer = setInterval(() => {
    most = Math.max(most, memory(agent.child.pid, "VmRSS"));
  }, 50);
  await once_(client, "build:print:bench");
  clearInterval(timer);
  const { took } = await agent.record("print", 1);
  const begun = performance.now();
  const line = "yes 'a line of a build, as long as most of them are' | head -c";
  await execa("/bin/sh", ["-c", `${line} ${consoleBytes} >"$1"`, "sh", join(agent.folder, "file")]);
  const rateOf = (ms: number) => consoleBytes / 1e3 / ms;
  report.add({
    what: "console",
    unit: "MB/s",
    ours: rateOf(Number(took)),
    peer: "job > file",
    theirs: rateOf(performance.now() - begun),
  });
  report.add({ what: "memory meanwhile, at most", unit: "MiB", ours: most / 2 ** 20 });
}

async function reconnect(agent: TestAgent, server: RunningServer): Promise<void> {
  const before = agent.log.filter(({ msg }) => msg.startsWith("registered with")).length;
  await server[Symbol.asyncDispose]();
  await using _ = await startGearmand({ port: server.port });
  const begun = performance.now();
  await agent.logged("registered with", before + 1);
  report.add({ what: "server is back to registered again", unit: "ms", ours: performance.now() - begun });
}

async function throughput(): Promise<void> {
  for (const executors of [1, 4, 16]) {
    await using server = await startGearmand();
    await using folder = await temporaryFolder();
    const held = join(folder.path, "held");
    await using agent = await TestAgent.start({
      yaml: yaml(executors),
      ports: [server.port],
      env: { NODE_OPTIONS: `--import=${eventLoop}`, BENCH_EVENT_LOOP: held },
    });
    using _ = startPeers(server.port, executors);
    await using client = await Client.connect({ host: "127.0.0.1", port: server.port });
    await rate(client, "build:quick:bench", executors, 100);
    agent.child.kill("SIGUSR2");
    const ours = await rate(client, "build:quick:bench", executors, 3 * rounds);
    const theirs = await rate(client, "peer", executors, 3 * rounds);
    report.add({
      what: `builds a second, ${executors} executors`,
      unit: "/s",
      ours,
      peer: "gearman -w -- true",
      theirs,
    });
    if (executors === 4) await manyBuilds(agent, client);
    await agent.end();
    const { p99, max } = JSON.parse(readFileSync(held, "utf8"));
    report.add({
      what: `event loop held up, ${executors} executors, 99th percentile`,
      unit: "ms",
      ours: p99,
    });
    report.add({ what: `event loop held up, ${executors} executors, at most`, unit: "ms", ours: max });
  }
}

async function manyBuilds(agent: TestAgent, client: Client): Promise<void> {
  const { pid } = agent.child;
  await rate(client, "build:quick:bench", 4, 500);
  const early = memory(pid, "VmRSS") / 2 ** 20;
  await rate(client, "build:quick:bench", 4, builds - 500);
  const ours = memory(pid, "VmRSS") / 2 ** 20;
  report.add({ what: `memory after ${builds} builds`, unit: "MiB", ours, peer: "after 500", theirs: early });
}

async function manyKept(server: RunningServer): Promise<void> {
  await using first = await TestAgent.start({ yaml: yaml(1), ports: [server.port] });
  await using client = await Client.connect({ host: "127.0.0.1", port: server.port });
  await once_(client, "build:quick:bench");
  const record = await first.record("quick", 1);
  await first.end();
  await using folder = await temporaryFolder();
  for (let number = 1; number <= kept; number++) {
    const place = join(folder.path, "state/builds/quick", `${number}`);
    mkdirSync(join(place, "artifacts"), { recursive: true });
    writeFileSync(join(place, "build.json"), JSON.stringify({ ...record, number, uuid: `uuid-${number}` }));
  }
  const config = yaml(1).replace("keep: 200", `keep: ${kept + 10}`);
  const start = async (what: string) => {
    const begun = performance.now();
    const agent = await TestAgent.launch({ yaml: config, ports: [server.port], folder: folder.path });
    await agent.logged((line) => line.msg.startsWith("registered with") && line.executor === 0);
    const ours = performance.now() - begun;
    report.add({ what: `start to registered with ${kept} kept builds${what}`, unit: "ms", ours });
    return agent;
  };
  await (await start(", without an index")).end();
  await using agent = await start("");
  const up = await agent.logged("pages");
  const url = /http:\/\/\S+?(?=[/,\s]|$)/.exec(up.msg)?.[0];
  for (const path of ["/", "/api/builds"]) {
    await (await fetch(`${url}${path}`)).text();
    const asked = performance.now();
    await (await fetch(`${url}${path}`)).text();
    report.add({ what: `${path} with ${kept} kept builds`, unit: "ms", ours: performance.now() - asked });
  }
}

async function manyJobs(server: RunningServer): Promise<void> {
  const classes = Array.from({ length: 10 }, (_, index) => `class${index}`);
  const jobs = Array.from({ length: 200 }, (_, index) => `  job${index}: { run: "true" }\n`);
  const config = `name: many\nhost: { classes: [${classes}] }\njobs:\n${jobs.join("")}`;
  const begun = performance.now();
  await using agent = await TestAgent.launch({ yaml: config, ports: [server.port] });
  await agent.logged((line) => line.msg.startsWith("registered with") && line.executor === 0);
  report.add({
    what: "start to registered, 200 jobs × 10 classes",
    unit: "ms",
    ours: performance.now() - begun,
  });
  const file = readFileSync(agent.config, "utf8");
  writeFileSync(agent.config, file.replace("job199", "job200"));
  const asked = performance.now();
  await agent.command("reload");
  report.add({ what: "`labgear reload` of them", unit: "ms", ours: performance.now() - asked });
}

async function idle(server: RunningServer): Promise<void> {
  await using folder = await temporaryFolder();
  await using ptys = new AsyncDisposableStack();
  const boards: string[] = [];
  for (let index = 0; index < 8; index++) {
    const pty = ptys.use(new Pty(join(folder.path, `tty${index}`)));
    await pty.plug();
    boards.push(`  board-${index}: { classes: [lab], console: raw, port: ${pty.path} }\n`);
  }
  const config = `${yaml(1)}devices:\n${boards.join("")}`;
  await using agent = await TestAgent.start({ yaml: config, ports: [server.port] });
  const { pid } = agent.child;
  await delay(15_000);
  const [cpu, wakes, begun] = [cpuMs(pid), wakeUps(pid), performance.now()];
  await delay(10_000);
  const seconds = (performance.now() - begun) / 1000;
  report.add({ what: "idle with 8 boards, of a core", unit: "%", ours: (cpuMs(pid) - cpu) / 10 / seconds });
  report.add({ what: "wake-ups a second meanwhile", unit: "/s", ours: (wakeUps(pid) - wakes) / seconds });
}

/** By the scheduler, in milliseconds: ticks are too coarse (proc_pid_schedstat). */
function cpuMs(pid: number | undefined): number {
  return sumOfThreads(
    pid,
    (folder) => Number(readFileSync(`${folder}/schedstat`, "latin1").split(" ")[0]) / 1e6,
  );
}

function wakeUps(pid: number | undefined): number {
  return sumOfThreads(pid, (folder) => {
    const text = readFileSync(`${folder}/status`, "latin1");
    return Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(text)?.[1]);
  });
}

function sumOfThreads(pid: number | undefined, of: (folder: string) => number): number {
  const folder = `/proc/${pid}/task`;
  return readdirSync(folder).reduce((sum, name) => sum + of(join(folder, name)), 0);
}

async function startUp(server: RunningServer): Promise<void> {
  const times: number[] = [];
  for (let round = 0; round < 5; round++) {
    const begun = performance.now();
    await using agent = await TestAgent.launch({ yaml: yaml(1), ports: [server.port] });
    await agent.logged((line) => line.msg.startsWith("registered with") && line.executor === 0);
    times.push(performance.now() - begun);
    await agent.end();
  }
  report.add({ what: "start to registered, from the sources", unit: "ms", ours: median(times) });
}

{
  const server = await startGearmand();
  await latencies(server);
}
await throughput();
await using server = await startGearmand();
await startUp(server);
if (kept > 0) await manyKept(server);
await manyJobs(server);
await idle(server);
report.write();
