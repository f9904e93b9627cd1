/** The box of a scenario: its configuration, its folder or small disk, and its agent, which dies and is started again. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, realpathSync } from "node:fs";
import { rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ControlClient } from "#/control/client.ts";
import type { AgentStatus } from "#/lib/status.ts";
import { TestAgent } from "../support/agent.ts";
import { witness } from "../support/audit.ts";
import { smallDisk } from "../support/folders.ts";
import { descriptors, memory } from "../support/leftovers.ts";
import { part } from "../support/parts.ts";
import { bounded, temporaryFolder } from "../support/servers.ts";

export interface BoxOptions {
  readonly name: string;
  readonly executors: number;
  /** Of the job server's line. */
  readonly port: number;
  /** Of the board's console server. */
  readonly board?: number;
  readonly hasSmallDisk?: boolean;
  readonly hasOwnClock?: boolean;
}

/** Each script says whose it is: on its console, in its artifact and its report. */
const common = `${witness}
echo "I am $LABGEAR_UUID"
sleep "$\{PAUSE:-0}"
mkdir -p out
echo "$LABGEAR_UUID" >out/who
echo "<testsuite name='s'><testcase name='$LABGEAR_UUID'/></testsuite>" >report.xml`;

const scripts = {
  pass: "true",
  red: `echo "<testsuite name='s'><testcase name='$LABGEAR_UUID'><failure/></testcase></testsuite>" >report.xml; exit 1`,
  fail: "exit 3",
  killed: "kill -9 $$",
  late: "exec sleep 300",
  frozen: "kill -STOP $$",
  wait: "exec sleep 300",
  daemon: `setsid sh -c 'trap "" TERM HUP; sleep 300; sleep 300' >/dev/null 2>&1 &`,
  flood: "head -c 3000000 /dev/zero | tr '\\0' x",
  copy: `sha256sum <"$LABGEAR_INPUT_APP"; cp "$LABGEAR_INPUT_APP" out/app`,
};

function yaml({ name, executors, board }: BoxOptions): string {
  const jobs = Object.entries(scripts).map(([job, script]) => {
    const lines = `${common}\n${script}`.replaceAll("\n", "\n      ");
    const timeout = job === "late" || job === "frozen" ? "1s" : "5m";
    const inputs = job === "copy" ? "\n    inputs: { app: { max: 8MiB } }" : "";
    return `  ${job}:
    timeout: ${timeout}
    grace: 0s
    parameters: [PAUSE]
    artifacts: ["out/*"]
    junit: ["*.xml"]${inputs}
    run: |
      ${lines}`;
  });
  const ping =
    '  ping: { nodes: [mcu], timeout: 5m, steps: [{ send: "ping" }, { expect: "pong", timeout: 30s }] }';
  const device = `
devices:
  mcu-1: { classes: [mcu], port: "tcp://127.0.0.1:${board}", console: raw, lease: { max: 5m } }`;
  return `name: ${name}
orphan-timeout: 20s
host: { classes: [lab1], executors: ${executors} }
builds: { min-free: 0 }
jobs:
${jobs.join("\n")}
${board === undefined ? "" : `${ping}${device}`}
`;
}

export class Box implements AsyncDisposable {
  readonly #options: BoxOptions;
  readonly #resources: AsyncDisposableStack;
  readonly folder: string;
  readonly temporary: string;
  readonly disk: string | undefined;
  agent: TestAgent;
  /** How often an agent was killed: each may have taken a build that has no record yet. */
  kills = 0;
  /** What the first agent had open and in memory after its first build. */
  idle = { descriptors: { sockets: 0, pipes: 0, files: 0 }, memoryBytes: 0 };

  private constructor(
    options: BoxOptions,
    resources: AsyncDisposableStack,
    places: { folder: string; disk: string | undefined },
    agent: TestAgent,
  ) {
    this.#options = options;
    this.#resources = resources;
    this.folder = places.folder;
    this.disk = places.disk;
    this.temporary = join(this.folder, "tmp");
    this.agent = agent;
  }

  static async start(options: BoxOptions): Promise<Box> {
    await using resources = new AsyncDisposableStack();
    const { path: folder } = resources.use(await temporaryFolder());
    mkdirSync(join(folder, "tmp"));
    const disk = options.hasSmallDisk ? resources.use(smallDisk(64 * 1024)).path : undefined;
    if (disk) {
      mkdirSync(join(disk, "state"));
      execFileSync("ln", ["-s", join(disk, "state"), join(folder, "state")]);
    }
    const agent = await TestAgent.start({ ...launchOptions(options, folder), ports: [options.port] });
    const box = new Box(options, resources.move(), { folder, disk }, agent);
    return box;
  }

  get stateDir(): string {
    return realpathSync(this.agent.stateDir);
  }

  noteIdle(): void {
    const { pid } = this.agent.child;
    this.idle = { descriptors: descriptors(pid), memoryBytes: memory(pid, "VmRSS") };
  }

  /** Waits for no job server: its line may be broken just now. */
  async startAgain(): Promise<void> {
    const options = launchOptions(this.#options, this.folder);
    this.agent = await TestAgent.launch({ ...options, ports: [this.#options.port] });
    await this.agent.logged("is up");
  }

  async kill(): Promise<void> {
    this.kills += 1;
    await this.agent.end("SIGKILL");
  }

  /** SIGTERM, and again: running builds end without a result. */
  async end(): Promise<void> {
    const said = this.agent.logged("once more stops them");
    said.catch(() => {});
    const ended = this.agent.end("SIGTERM");
    await Promise.race([ended, said.then(() => this.agent.end("SIGTERM"))]);
    await bounded(ended);
  }

  status(): Promise<AgentStatus> {
    return new ControlClient(this.agent.control).json<AgentStatus>("GET", "/status", { timeoutMs: 30_000 });
  }

  async setClock(aheadS: number): Promise<void> {
    await writeFile(join(this.folder, "clock.new"), `+${aheadS}s`);
    await rename(join(this.folder, "clock.new"), join(this.folder, "clock"));
  }

  /** What lies where nothing should lie when nothing runs. */
  leftovers(): string[] {
    const list = (folder: string) => {
      try {
        return readdirSync(folder).map((name) => join(folder, name));
      } catch {
        return [];
      }
    };
    const folders = ["inputs/partial", "inputs/builds", "inputs/downloads"];
    return [this.temporary, ...folders.map((name) => join(this.stateDir, name))].flatMap(list);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.agent[Symbol.asyncDispose]();
    await this.#resources.disposeAsync();
  }
}

function launchOptions(options: BoxOptions, folder: string) {
  const clock = {
    LD_PRELOAD: options.hasOwnClock ? part("faketime") : "",
    FAKETIME_TIMESTAMP_FILE: join(folder, "clock"),
    FAKETIME_NO_CACHE: "1",
    FAKETIME_DONT_FAKE_MONOTONIC: "1",
  };
  const env = { TMPDIR: join(folder, "tmp"), ...(options.hasOwnClock && clock) };
  return { yaml: yaml(options), folder, env };
}
