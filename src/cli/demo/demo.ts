/** `labgear demo`: a whole lab on loopback that runs two builds through a real job server. */
import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Command } from "commander";
import { startAgent } from "#/agent/compose.ts";
import { loadConfig } from "#/config/load.ts";
import { JobServer } from "#/gearman/server/server.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { createLog } from "#/lib/log.ts";
import { version } from "#/lib/version.ts";
import { exitCodeOf, showEnding } from "../build/follow.ts";
import { launchBuild } from "../build/launch.ts";
import { chooseRenderer } from "../build/render.ts";
import { exitCodes } from "../exit.ts";
import { newCommand } from "../options.ts";
import { followSystem } from "../service.ts";
import { onSignals } from "../signals.ts";
import { DemoBoard } from "./board.ts";

const startTimeoutMs = 30_000;

const configuration = (
  server: number,
  board: number,
) => `# The demo's configuration. A real lab's looks much the same.
name: demo
servers: ["127.0.0.1:${server}"]
http: { listen: "127.0.0.1:0" }
host:
  classes: [auto, demo-box]
jobs:
  hello:
    nodes: [demo-box]
    timeout: 1m
    run: |
      echo "Hello from $(hostname): $(uname -srm), $(nproc) processors."
      echo "This is build $BUILD_NUMBER of $JOB_NAME on $NODE_NAME. Its output streams through Gearman:"
      for step in configure compile test; do
        sleep 0.4
        echo "  $step … done"
      done
  board-hello:
    nodes: [demo-board]
    timeout: 1m
    shell: |
      echo "Hello from the board: this script was typed on its console, and its output comes back exactly."
      for step in 1 2 3; do sleep 0.4; echo "  measurement $step … ok"; done
devices:
  board-1:
    classes: [demo-board]
    port: "tcp://127.0.0.1:${board}"
    console: linux
    login: { user: root, password-file: board-password }
    health: { probe: "echo demo-$((40 + 2))", expect: "demo-42" }
`;

export function command(): Command {
  return newCommand(
    "demo [--once]",
    "Runs a whole lab on loopback: a job server, the agent, a board; a build on this box and one on the board.",
  )
    .option("--once", "exit when both builds have passed instead of staying up until Ctrl-C")
    .action(async ({ once }: { once?: true }) => {
      process.exitCode = await run(once === true);
    });
}

async function run(once: boolean): Promise<number> {
  const interrupt = new AbortController();
  // An early Ctrl-C cleans up, too; later the build and then the agent handle the signals.
  using _ = onSignals(["SIGINT", "SIGTERM"], () => interrupt.abort());
  const folder = await mkdtemp(join(tmpdir(), "labgear-demo-"));
  await using cleanUp = new AsyncDisposableStack();
  cleanUp.defer(() => rm(folder, { recursive: true, force: true }));
  const server = cleanUp.use(new JobServer({ software: `labgear ${version}` }));
  const address = await server.listen({ host: "127.0.0.1", port: 0 });
  const password = randomBytes(16).toString("hex");
  const board = cleanUp.use(new DemoBoard(password, folder));
  const file = join(folder, "labgear.yaml");
  await writeFile(join(folder, "board-password"), password, { mode: 0o600 });
  await writeFile(file, configuration(address.port, await board.listen()));
  const log = await createLog(process.stderr, "warn");
  const control = join(folder, "control.sock");
  const load = () => loadConfig({ file });
  const agent = cleanUp.use(await startAgent({ load, stateDir: join(folder, "state"), control, log }));
  try {
    const startSignal = AbortSignal.any([interrupt.signal, AbortSignal.timeout(startTimeoutMs)]);
    await agent.host.registered(startSignal);
    await agent.devices.ready(startSignal);
  } catch (error) {
    if (interrupt.signal.aborted) return exitCodes.aborted;
    throw error;
  }
  process.stdout.write(
    `A lab on loopback: a job server on port ${address.port}, the agent ${agent.config.name} and its board.\n` +
      `Its pages: ${agent.url}/\n\n`,
  );
  const first = await build(address, "hello", "demo-box");
  if (first === exitCodes.aborted) return first;
  process.stdout.write("\n");
  const second = await build(address, "board-hello", "demo-board");
  const code = first === exitCodes.success ? second : first;
  // Ctrl-C during a build ends the lab, too.
  if (once || code === exitCodes.aborted) return code;
  process.stdout.write(lookAround(address.port, control, file));
  followSystem(agent, log);
  await agent.stopped;
  return exitCodes.success;
}

async function build(server: ServerAddress, job: string, node: string): Promise<number> {
  using renderer = chooseRenderer({ output: process.stdout, own: process.stdout });
  const { ending } = await launchBuild(server, { job, node, parameters: {} }, renderer);
  showEnding(renderer, ending);
  return exitCodeOf(ending);
}

function lookAround(port: number, control: string, file: string): string {
  return `
Look around from another terminal in this folder:
  npm run -s labgear -- functions --server 127.0.0.1:${port}
  npm run -s labgear -- build hello --node demo-box --server 127.0.0.1:${port}
  npm run -s labgear -- build board-hello --node demo-board --server 127.0.0.1:${port}
  npm run -s labgear -- status --control ${control}
  npm run -s labgear -- devices --control ${control}
  npm run -s labgear -- console board-1 --control ${control}
  npm run -s labgear -- builds --control ${control}
  gearman -h 127.0.0.1 -p ${port} -f build:hello '{}'       (from gearman-tools)
  cat ${file}

The lab stays up until Ctrl-C.
`;
}
