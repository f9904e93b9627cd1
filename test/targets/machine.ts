/** A small Linux-like machine for the bad board: real shells on a real terminal, in name spaces of its own. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import type { Readable, Writable } from "node:stream";
import { part, partsEnv } from "../support/parts.ts";
import { type Encoder, machineRoot, setupScript, smallFolder } from "./machine-root.ts";

export const machineLogin = { user: "root", password: "board-3" } as const;

const isRoot = process.getuid?.() === 0;
// With a name space for processes, all that runs in the machine goes with its first one, whatever it has done to hide.
const unshare = [
  "--mount",
  "--pid",
  "--fork",
  "--kill-child",
  ...(isRoot ? [] : ["--user", "--map-root-user"]),
];
/** Where we are root, the machine's is nobody, who may only enter the folder. It may end the first process, as `reboot` does. */
const asNobody = isRoot
  ? "setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps +sys_chroot --ambient-caps +sys_chroot --".split(
      " ",
    )
  : [];

/** For a test's `skip` option: false when name spaces can be had here. */
export function lacksMachine(): string | false {
  if (spawnSync("unshare", [...unshare, "true"]).status === 0) return false;
  const reason = "NOT TESTED HERE: no name spaces for mounts and processes can be had";
  if (process.env.CI) throw new Error(reason);
  return reason;
}

/** One run of a board, from power on to power off. */
export interface Running extends AsyncDisposable {
  /** What is printed before it runs. */
  readonly banner: string;
  readonly input: Writable;
  readonly output: Readable;
  /** Resolves when nothing of it runs any more. */
  readonly ended: Promise<unknown>;
}

export interface MachineOptions {
  /** The folder that is its /truth. */
  readonly truth: string;
  /** The shell's PS1. */
  readonly prompt: string;
  /** The terminal says what is typed, as it does unless it is told otherwise. */
  readonly echo: boolean;
  /** Its shell is dash, and it has only what labgear needs, with this encoder. */
  readonly onlyEncoder?: Encoder;
}

export class Machine implements Running {
  readonly banner = banner;
  readonly input: Writable;
  readonly output: Readable;
  readonly ended: Promise<unknown>;
  readonly #process: ChildProcess;

  private constructor(child: ChildProcess, input: Writable, output: Readable) {
    this.#process = child;
    this.input = input.on("error", () => {});
    this.output = output;
    this.ended = once(child, "close");
    this.ended.catch(() => {});
  }

  static async start({ truth, prompt, echo, onlyEncoder }: MachineOptions): Promise<Machine> {
    const root = await machineRoot();
    const terminal = `pty,setsid,ctty,stderr,chroot=${root}`;
    const socat = [part("socat"), "-b", "65536", "-", `EXEC:/bin/busybox sh /etc/getty,${terminal}`];
    const child = spawn("unshare", [...unshare, "sh", setupScript, root, truth, ...asNobody, ...socat], {
      stdio: ["pipe", "pipe", "ignore"],
      detached: true,
      env: {
        ...partsEnv,
        ECHO: echo ? "echo" : "-echo",
        PROMPT: prompt,
        USER_NAME: machineLogin.user,
        PASSWORD: machineLogin.password,
        PROGRAMS: onlyEncoder === undefined ? "/bin" : smallFolder(onlyEncoder),
      },
    });
    return new Machine(child, child.stdin, child.stdout);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // The group has the machine's first process, which leaves no other behind; killing unshare alone would not reach it.
    const { pid, exitCode, signalCode } = this.#process;
    if (pid !== undefined && exitCode === null && signalCode === null) process.kill(-pid, "SIGKILL");
    this.output.resume();
    await this.ended.catch(() => {});
  }
}

const banner = [
  "",
  "U-Boot 2023.01 (Jan 01 2023 - 00:00:00 +0000)",
  "Starting kernel ...",
  "[    0.000000] Booting Linux on physical CPU 0x0000000000 [0x410fd034]",
  "[    0.000000] Linux version 6.1.0 (build@lab) (gcc 12.2.0) #1 SMP",
  "[    0.912345] Run /init as init process",
  "",
].join("\r\n");
