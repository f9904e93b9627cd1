/** An adapter for tests: a pty of the kernel's whose far end is here, found by a link that is replaced in one step. */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { part, partsEnv } from "../../support/parts.ts";

export class Pty implements AsyncDisposable {
  /** The link to the tty. */
  readonly path: string;
  #socat: ChildProcessByStdio<Writable, Readable, null> | undefined;
  #count = 0;
  #heard = "";

  constructor(path: string) {
    this.path = path;
  }

  /** Plugs it in; when one is there already, the link leads to the new one from then on. */
  async plug(): Promise<void> {
    mkdirSync(dirname(this.path), { recursive: true });
    this.#count += 1;
    const link = join(dirname(this.path), `.${this.#count}-${process.pid}`);
    const socat = spawn(part("socat"), ["-b65536", "-", `PTY,link=${link},rawer,unlink-close=0`], {
      env: partsEnv,
      stdio: ["pipe", "pipe", "inherit"],
    });
    socat.stdin.on("error", () => {});
    socat.stdout.setEncoding("latin1").on("data", (text: string) => {
      this.#heard += text;
    });
    while (!existsSync(link)) await delay(2);
    renameSync(link, this.path);
    this.#socat = socat;
  }

  /** Ends its far end, so that who has it open is hung up on; and removes the link. */
  async unplug(): Promise<void> {
    await this.hangUp();
    rmSync(this.path, { force: true });
  }

  async hangUp(): Promise<void> {
    const socat = this.#socat;
    this.#socat = undefined;
    if (!socat || socat.exitCode !== null || socat.signalCode !== null) return;
    const exited = once(socat, "exit");
    socat.kill("SIGKILL");
    await exited;
  }

  /** What the agent's side wrote since the beginning. */
  get heard(): string {
    return this.#heard;
  }

  /** Resolves when it is with socat. */
  say(text: string | Uint8Array): Promise<void> {
    return new Promise((resolve) => this.#socat?.stdin.write(text, () => resolve()));
  }

  get far(): Writable | undefined {
    return this.#socat?.stdin;
  }

  /** The far end takes nothing any more, or takes again. */
  freeze(frozen: boolean): void {
    this.#socat?.kill(frozen ? "SIGSTOP" : "SIGCONT");
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.unplug();
  }
}
