/** A command that runs while the test watches what it prints, in a pipe or on a real terminal. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { neutralEnv } from "../support/agent.ts";
import { part, partsEnv } from "../support/parts.ts";
import { bounded } from "../support/servers.ts";

const main = new URL("../../src/main.ts", import.meta.url).pathname;
const node = [process.execPath, "--disable-warning=ExperimentalWarning", main];

export class Running implements AsyncDisposable {
  readonly child: ChildProcess;
  stdout = "";
  stderr = "";
  readonly #waiting = new Set<() => void>();
  /** Resolves with the exit code when it has ended and all is read; a signal's name when one ended it. */
  readonly ended: Promise<number | NodeJS.Signals>;

  private constructor(command: string, args: readonly string[], env: NodeJS.ProcessEnv) {
    this.child = spawn(command, args, {
      stdio: "pipe",
      env: { ...process.env, ...neutralEnv, ...env },
    });
    this.child.stdout?.setEncoding("utf8").on("data", (text) => this.#heard("stdout", text));
    this.child.stderr?.setEncoding("utf8").on("data", (text) => this.#heard("stderr", text));
    this.child.stdin?.on("error", () => {});
    this.ended = bounded(once(this.child, "close"), 110_000).then(([code, signal]) => code ?? signal);
    this.ended.catch(() => {});
  }

  static start(args: readonly string[], env: NodeJS.ProcessEnv = {}): Running {
    const [command = "", ...before] = node;
    return new Running(command, [...before, ...args], env);
  }

  /** On a terminal of so many columns; what it prints, on both outputs, is in `stdout`. */
  static onTerminal(args: readonly string[], options: { columns: number; env?: NodeJS.ProcessEnv }): Running {
    const command = [...node, ...args].map((arg) => `'${arg}'`).join(" ");
    const script = ["-qec", `stty cols ${options.columns} && exec ${command}`, "/dev/null"];
    return new Running("script", script, { TERM: "xterm", ...options.env });
  }

  /**
   * In network and process namespaces of its own, from which nothing can be reached but what listens on a Unix socket: it is
   * at that port of loopback there.
   */
  static isolated(
    args: readonly string[],
    outside: { readonly socket: string; readonly port: number },
    env: NodeJS.ProcessEnv,
  ): Running {
    const address = `127.0.0.1:${outside.port}`;
    const socat = part("socat");
    const script = [
      "ip link set lo up",
      `${socat} TCP-LISTEN:${outside.port},bind=127.0.0.1,reuseaddr,fork UNIX-CONNECT:${outside.socket} &`,
      `until ${socat} -u OPEN:/dev/null TCP:${address} 2>/dev/null; do :; done`,
      '"$@"',
    ].join("\n");
    const unshare = ["--net", "--pid", "--fork", "--kill-child", "sh", "-c", script, "sh", ...node, ...args];
    return new Running("unshare", unshare, { ...partsEnv, ...env });
  }

  /** Resolves when it has printed that. */
  until(stream: "stdout" | "stderr", wanted: string | RegExp): Promise<void> {
    const has = () =>
      typeof wanted === "string" ? this[stream].includes(wanted) : wanted.test(this[stream]);
    const heard = new Promise<void>((resolve) => {
      const check = () => {
        if (!has()) return;
        this.#waiting.delete(check);
        resolve();
      };
      this.#waiting.add(check);
      check();
    });
    const gone = this.ended.then(() => {
      if (!has()) throw new Error(`it ended without ${wanted}: ${this.stdout}${this.stderr}`);
    });
    return bounded(Promise.race([heard, gone]));
  }

  #heard(stream: "stdout" | "stderr", text: string): void {
    this[stream] += text;
    for (const check of [...this.#waiting]) check();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill("SIGKILL");
    await this.ended;
  }
}
