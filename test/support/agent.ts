/** Starts the agent as its users do: the command line, in a process of its own. */
import { type ChildProcess, spawn } from "node:child_process";
import { EventEmitter, once } from "node:events";
import { rmSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { execa } from "execa";
import { ControlClient } from "#/control/client.ts";
import type { AgentStatus } from "#/lib/status.ts";
import { patienceMs } from "./servers.ts";

const main = new URL("../../src/main.ts", import.meta.url).pathname;

export interface LogLine {
  readonly msg: string;
  readonly level: number;
  readonly [field: string]: unknown;
}

/** Where clients of this test file keep their leases' keys; the first lease makes it. */
export const runtimeDir = join(tmpdir(), `labgear-runtime-${process.pid}`);
process.once("exit", () => rmSync(runtimeDir, { recursive: true, force: true }));

/** Hides what the machine's own environment would change: a CI system's runner runs the tests, too. */
export const neutralEnv: NodeJS.ProcessEnv = {
  XDG_RUNTIME_DIR: runtimeDir,
  ...{
    LABGEAR_SERVER: undefined,
    LABGEAR_CONTROL: undefined,
    LABGEAR_GATE: undefined,
    LABGEAR_TOKEN: undefined,
  },
  ...{ GITHUB_ACTIONS: undefined, GITHUB_STEP_SUMMARY: undefined, GITLAB_CI: undefined },
};

/** Runs the command line to its end. */
export function labgear(
  args: readonly string[],
  options: { input?: string; env?: NodeJS.ProcessEnv; cwd?: string; timeoutMs?: number } = {},
) {
  return execa(process.execPath, ["--disable-warning=ExperimentalWarning", main, ...args], {
    reject: false,
    stripFinalNewline: false,
    timeout: options.timeoutMs ?? patienceMs,
    ...(options.input === undefined ? { stdin: "ignore" } : { input: options.input }),
    env: { ...neutralEnv, ...options.env },
    ...(options.cwd ? { cwd: options.cwd } : {}),
  });
}

export interface AgentOptions {
  /** The configuration, without `servers:` when ports are given; without `http:` any free port serves the pages. */
  readonly yaml: string;
  /** Ports of job servers on loopback. */
  readonly ports?: readonly number[];
  /** A folder that an agent had before; default: a new one. */
  readonly folder?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** What is run; default: the sources. */
  readonly program?: string;
}

/** An agent of this test alone. Disposing of it kills it and removes its folder. */
export class TestAgent extends EventEmitter<{ line: [LogLine]; exit: [] }> implements AsyncDisposable {
  readonly folder: string;
  readonly config: string;
  readonly control: string;
  readonly stateDir: string;
  readonly log: LogLine[] = [];
  readonly child: ChildProcess;
  /** Removed at the end, unless the folder was handed in. */
  readonly #ownsFolder: boolean;
  #closed = false;

  private constructor(folder: string, { folder: own, env = {}, program = main }: AgentOptions) {
    super();
    this.setMaxListeners(0);
    this.folder = folder;
    this.#ownsFolder = own === undefined;
    this.config = join(folder, "labgear.yaml");
    this.control = join(folder, "control.sock");
    this.stateDir = join(folder, "state");
    const options = ["--config", this.config, "--state-dir", this.stateDir, "--control", this.control];
    this.child = spawn(
      process.execPath,
      ["--disable-warning=ExperimentalWarning", program, "agent", ...options],
      {
        stdio: ["ignore", "inherit", "pipe"],
        env: { ...process.env, ...env },
      },
    );
    if (!this.child.stderr) throw new Error("no standard error");
    createInterface(this.child.stderr).on("line", (text) => {
      const line = parseLine(text);
      this.log.push(line);
      this.emit("line", line);
    });
    // Only then is the last line read.
    this.child.on("close", () => {
      this.#closed = true;
      this.emit("exit");
    });
  }

  /** Starts an agent; resolves when it is up and registered with every one of the given ports. */
  static async start(options: AgentOptions): Promise<TestAgent> {
    const agent = await TestAgent.launch(options);
    try {
      await agent.logged("is up");
      const { nodes } = await new ControlClient(agent.control).json<AgentStatus>("GET", "/status");
      for (const port of options.ports ?? []) {
        for (const node of nodes) {
          for (const { index } of node.executors) {
            await agent.logged(
              (line) =>
                line.msg.startsWith("registered") &&
                `${line.server}`.endsWith(`:${port}`) &&
                line.executor === index,
            );
          }
        }
        for (const role of ["manager", "exchange"]) {
          await agent.logged(
            (line) =>
              line.msg.startsWith("registered") && `${line.server}`.endsWith(`:${port}`) && role in line,
          );
        }
      }
      return agent;
    } catch (error) {
      await agent[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Starts the process and waits for nothing. */
  static async launch(options: AgentOptions): Promise<TestAgent> {
    const folder = options.folder ?? (await mkdtemp(join(tmpdir(), "labgear-agent-")));
    const servers = options.ports
      ? `servers: [${options.ports.map((port) => `"127.0.0.1:${port}"`).join(", ")}]\n`
      : "";
    // Agents of several tests run at the same time.
    const http = /^http:/m.test(options.yaml) ? "" : 'http: { listen: "127.0.0.1:0" }\n';
    await writeFile(join(folder, "labgear.yaml"), servers + http + options.yaml);
    return new TestAgent(folder, options);
  }

  /** The first log line, or the nth, of those that were and those to come, that says so. */
  async logged(wanted: string | ((line: LogLine) => boolean), nth = 1): Promise<LogLine> {
    const matches = typeof wanted === "string" ? (line: LogLine) => line.msg.includes(wanted) : wanted;
    const giveUp = AbortSignal.timeout(patienceMs);
    for (let looked = 0, found = 0; ; ) {
      // Several lines may come at once, so the log itself is looked through, not each event.
      for (; looked < this.log.length; looked++) {
        const line = this.log[looked];
        if (line && matches(line) && ++found === nth) return line;
      }
      const soFar = () => this.log.map((line) => JSON.stringify(line)).join("\n");
      if (this.#closed) throw new Error(`the agent ended before it logged ${wanted}; the log:\n${soFar()}`);
      const waiting = new AbortController();
      const signal = AbortSignal.any([giveUp, waiting.signal]);
      await Promise.race([once(this, "line", { signal }), once(this, "exit", { signal })])
        .catch(() => {
          throw new Error(`the agent doesn't log ${wanted}; the log:\n${soFar()}`);
        })
        .finally(() => waiting.abort());
    }
  }

  /** A command of the command line, sent to this agent. */
  command(...args: string[]) {
    return labgear([...args, "--control", this.control]);
  }

  async status(): Promise<AgentStatus> {
    return JSON.parse((await this.command("status", "--json")).stdout);
  }

  /** A file of a build's folder. */
  file(job: string, number: number, name: string): Promise<Buffer> {
    return readFile(join(this.stateDir, "builds", job, String(number), name));
  }

  async record(job: string, number: number): Promise<Record<string, unknown>> {
    return JSON.parse((await this.file(job, number, "build.json")).toString());
  }

  /** Sends a signal and waits for the end. */
  async end(signal: NodeJS.Signals = "SIGTERM"): Promise<number | null> {
    this.child.kill(signal);
    return this.ended();
  }

  /** Waits for the end and the last line of the log; null when a signal ended it. */
  async ended(): Promise<number | null> {
    if (!this.#closed) await once(this, "exit", { signal: AbortSignal.timeout(patienceMs) });
    return this.child.exitCode;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#closed) {
      // A second SIGTERM stops what runs, so that the agent itself cleans up behind the builds.
      const second = this.logged("once more stops them").then(() => this.end("SIGTERM"));
      await Promise.race([this.end("SIGTERM"), second]).catch(() => this.end("SIGKILL"));
    }
    if (this.#ownsFolder) await rm(this.folder, { recursive: true, force: true });
  }
}

function parseLine(text: string): LogLine {
  try {
    return JSON.parse(text);
  } catch {
    return { msg: text, level: 0 };
  }
}
