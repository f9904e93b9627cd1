/**
 * What it costs to read many ports at full speed, in hundredths of one processor: `node test/bench/serial.ts [PORTS] [BAUD] [SECONDS] [VIEWERS]`. The
 * far ends are in a process of their own. Ends with 1 when a byte is missing or wrong.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { Discovery } from "#/devices/discovery/discovery.ts";
import { Port } from "#/devices/port/port.ts";
import { loadSystemCalls } from "#/host/syscalls.ts";

const [count = 32, baud = 115_200, seconds = 10, viewers = 1] = process.argv.slice(2).map(Number);

const child = spawn(
  process.execPath,
  [
    "--disable-warning=ExperimentalWarning",
    new URL("serial-child.ts", import.meta.url).pathname,
    ...[count, baud, seconds].map(String),
  ],
  { stdio: ["pipe", "pipe", "inherit"] },
);
const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
const answer = async () => JSON.parse((await lines.next()).value ?? "null");
const paths: string[] = await answer();

await using stack = new AsyncDisposableStack();
stack.defer(async () => {
  const exited = once(child, "exit");
  child.stdin.end();
  await exited;
});
const ending = new AbortController();
stack.defer(() => ending.abort());
const discovery = stack.use(new Discovery());
const calls = loadSystemCalls();
let wrong = 0;
let chunks = 0;
const ports = paths.map((path, index) => {
  const address = { kind: "tty", match: { path } } as const;
  const port = new Port({
    name: `board-${index}`,
    config: { address, baud, flow: "none" },
    discovery,
    calls,
  });
  port.on("data", ({ offset, bytes }) => {
    chunks += 1;
    if (bytes[0] !== offset % 251 || bytes.at(-1) !== (offset + bytes.length - 1) % 251) wrong += 1;
  });
  return stack.use(port);
});
let seen = 0;
async function view(port: Port): Promise<void> {
  for await (const { bytes } of port.follow(undefined, ending.signal)) seen += bytes.length;
}
for (const port of ports) for (let viewer = 0; viewer < viewers; viewer++) void view(port);
for (const port of ports) if (!(await port.whenOpen(5000))) throw new Error(JSON.stringify(port.state));

const before = process.cpuUsage();
const started = performance.now();
child.stdin.write("go\n");
const total: number = await answer();
const used = process.cpuUsage(before);
const elapsed = performance.now() - started;
const late = performance.now() + 5000;
while (ports.some(({ counters }) => counters.received < total) && performance.now() < late)
  await new Promise((resolve) => setTimeout(resolve, 20));

const missing = ports.reduce((sum, { counters }) => sum + total - counters.received, 0);
const wanted = total * count * viewers;
const percent = (microseconds: number) => (microseconds / 10 / elapsed).toFixed(1);
console.log(
  `${count} ports at ${baud} baud for ${(elapsed / 1000).toFixed(1)} s: ${percent(used.user + used.system)} % of a core ` +
    `(${percent(used.user)} user, ${percent(used.system)} system), ${Math.round((chunks / elapsed) * 1000)} chunks a second, ` +
    `${missing} bytes missing, ${wanted - seen} unseen by viewers, ${wrong} chunks wrong, ${Math.round(process.memoryUsage.rss() / 2 ** 20)} MiB`,
);
process.exitCode = missing || wrong || seen !== wanted ? 1 : 0;
