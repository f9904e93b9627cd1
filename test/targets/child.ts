/** A process that a target consists of: started with the parts' libraries, killed and waited for at the end. */
import { type ChildProcess, type StdioOptions, spawn } from "node:child_process";
import { once } from "node:events";
import { partsEnv } from "../support/parts.ts";

/** How much of what a process says on standard error is kept, in characters. */
const keep = 4000;

export class Child implements AsyncDisposable {
  readonly process: ChildProcess;
  /** The end of what it said on standard error. */
  said = "";
  readonly #exited: Promise<unknown>;

  constructor(file: string, args: readonly string[], stdio: StdioOptions = ["ignore", "ignore", "pipe"]) {
    // When the test itself is killed, the kernel ends its boards.
    this.process = spawn("setpriv", ["--pdeathsig", "KILL", file, ...args], { env: partsEnv, stdio });
    this.#exited = once(this.process, "exit");
    this.#exited.catch((error: unknown) => {
      this.said += String(error);
    });
    this.process.stderr?.on("data", (chunk: Buffer) => {
      this.said = (this.said + chunk.toString("latin1")).slice(-keep);
    });
  }

  get isRunning(): boolean {
    return (
      this.process.pid !== undefined && this.process.exitCode === null && this.process.signalCode === null
    );
  }

  /** The event, or an error with what the process said when it ends before. */
  async until<T>(event: Promise<T>): Promise<T> {
    const gone = this.#exited.then(
      () => Promise.reject(new Error(`${this.process.spawnargs.join(" ")} ended: ${this.said}`)),
      (error: unknown) => Promise.reject(error),
    );
    return Promise.race([event, gone]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.isRunning) return;
    this.process.kill("SIGKILL");
    await this.#exited.catch(() => {});
  }
}
