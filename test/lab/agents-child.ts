/** Many agents in one process: `node agents-child.ts PORT FIRST COUNT BOARDS FOLDER`. Prints a line when all are up. */
import { once } from "node:events";
import { mkdir, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { startAgent } from "#/agent/compose.ts";
import { loadConfig } from "#/config/load.ts";
import type { Log } from "#/lib/log.ts";

const [port = "", first = "0", count = "1", boards = "0", folder = ""] = process.argv.slice(2);
const ignore = () => {};
const log: Log = { debug: ignore, info: ignore, warn: ignore, error: ignore, child: () => log };

/** A board that says nothing: its console server takes connections. */
const console = createServer((socket) => socket.on("error", ignore)).listen(0, "127.0.0.1");
await once(console, "listening");
const { port: board } = console.address() as { port: number };

for (let index = Number(first); index < Number(first) + Number(count); index++) {
  const home = join(folder, `box${index}`);
  await mkdir(home, { recursive: true });
  const file = join(home, "labgear.yaml");
  const smoke = "smoke: { nodes: [mcu], steps: [{ expect: never }] }";
  const device = `devices: { mcu-${index}: { classes: [mcu], port: "tcp://127.0.0.1:${board}", console: raw } }`;
  const hasBoard = index < Number(boards);
  const config = `name: box${index}
servers: ["127.0.0.1:${port}"]
http: { listen: "127.0.0.1:0" }
builds: { min-free: 0 }
jobs: { unit: { run: "true" }${hasBoard ? `, ${smoke}` : ""} }
${hasBoard ? device : ""}
`;
  await writeFile(file, config);
  const stateDir = join(home, "state");
  await startAgent({ load: () => loadConfig({ file }), stateDir, control: join(home, "s"), log });
}

process.stdout.write("up\n");
process.on("message", () => process.send?.(process.cpuUsage()));
