/** A real shell on a real terminal, and a line to it that can be slow and faulty in a way that a seed repeats. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import type { ConsoleLine } from "#/devices/consoles/dialogue.ts";
import { part, partsEnv } from "../../support/parts.ts";

export interface Faults {
  /** From 0 to below the bound. */
  readonly random: (bound: number) => number;
  /** One byte in so many, from the board and to it. 0: none. */
  readonly drop?: number;
  readonly flip?: number;
  readonly double?: number;
  /** Bytes between two lines of the kernel, which come into the middle of anything. */
  readonly kernelEvery?: number;
  readonly kernelLine?: (number: number) => string;
  /** The line passes seven bits only. */
  readonly sevenBits?: boolean;
  /** Faults on the way to the board too, other than the kernel's lines. */
  readonly both?: boolean;
}

export interface ShellLineOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly faults?: Faults;
  /** Bytes a second each way; default: as fast as it goes. */
  readonly rate?: number;
  readonly cwd?: string;
  /** The shell sees a file system that can't be written, but for /dev/shm. */
  readonly readOnly?: boolean;
}

export interface ShellLine extends ConsoleLine, AsyncDisposable {
  readonly process: ChildProcess;
  /** Bytes that went each way. */
  readonly sent: number;
  readonly received: number;
  /** Faults from now on. */
  faults: Faults | undefined;
  /** The host reads this as though the board had said it now. */
  inject(text: string): void;
  /** What came, for a failing test's message. */
  readonly last: string;
}

/** A mount name space whose root and temporary folders are read-only; runs the rest of its arguments there. */
const readOnlyRoot = [
  "unshare",
  ...(process.getuid?.() === 0 ? [] : ["--user", "--map-root-user"]),
  "--mount",
  "sh",
  "-c",
  `mount -t tmpfs none /dev/shm && mount -o bind,ro / / 2>/dev/null || mount -o remount,bind,ro /
for folder in /tmp /run /var/tmp;do mount --bind $folder $folder && mount -o remount,bind,ro $folder || exit 1;done
exec "$@"`,
  "sh",
];

/** @param command the program and its arguments, as socat's EXEC takes them */
export function startShellLine(command: string, options: ShellLineOptions = {}): ShellLine {
  const socat = [part("socat"), "-", `EXEC:${command},pty,setsid,ctty,stderr`];
  const [program = "", ...args] = options.readOnly ? [...readOnlyRoot, ...socat] : socat;
  const child = spawn(program, args, {
    env: { ...partsEnv, PS1: "$ ", HISTFILE: "", ...options.env },
    // What a board leaves running would keep our standard error open, and its reader waiting.
    stdio: ["pipe", "pipe", "ignore"],
    ...(options.cwd ? { cwd: options.cwd } : {}),
  });
  const state = { sent: 0, received: 0, last: "", faults: options.faults };
  const input: Buffer[] = [];
  let wake = () => {};
  const spoil = faultLayer();
  const give = (bytes: Buffer) => {
    state.received += bytes.length;
    const spoilt = spoil(bytes, state.faults);
    if (spoilt.length === 0) return;
    state.last = (state.last + spoilt.toString("latin1")).slice(-2000);
    input.push(spoilt);
    wake();
  };
  const fromBoard = throttled(options.rate, give, (full) =>
    full ? child.stdout?.pause() : child.stdout?.resume(),
  );
  const toBoard = throttled(options.rate, (bytes) => void child.stdin?.write(bytes));
  child.stdout?.on("data", fromBoard);
  child.stdin?.on("error", () => {});
  return {
    process: child,
    get sent() {
      return state.sent;
    },
    get received() {
      return state.received;
    },
    get last() {
      return state.last;
    },
    get faults() {
      return state.faults;
    },
    set faults(faults) {
      state.faults = faults;
    },
    inject: (text) => give(Buffer.from(text)),
    read: (timeout, signal) =>
      new Promise((resolve, reject) => {
        const stop = () => {
          clearTimeout(timer);
          signal.removeEventListener("abort", abort);
          wake = () => {};
        };
        const take = () => {
          stop();
          resolve(Buffer.concat(input.splice(0)));
        };
        const abort = () => {
          stop();
          reject(signal.reason);
        };
        const timer = setTimeout(take, timeout);
        signal.addEventListener("abort", abort);
        wake = take;
        if (input.length > 0) take();
      }),
    async write(bytes) {
      state.sent += bytes.length;
      const { faults } = state;
      const { kernelEvery: _, ...others } = faults ?? { random: () => 0 };
      toBoard(faults?.both ? spoil(Buffer.from(bytes), others) : Buffer.from(bytes));
    },
    async [Symbol.asyncDispose]() {
      child.stdout?.destroy();
      if (child.exitCode === null && child.signalCode === null) {
        const gone = once(child, "exit");
        child.kill("SIGKILL");
        await gone;
      }
    },
  };
}

/** Passes bytes on at most at the rate, in pieces as a UART would. */
function throttled(
  rate: number | undefined,
  pass: (bytes: Buffer) => void,
  onFull?: (full: boolean) => void,
): (bytes: Buffer) => void {
  if (rate === undefined) return pass;
  let queue: Buffer[] = [];
  let queued = 0;
  let timer: NodeJS.Timeout | undefined;
  let since = 0;
  const tick = () => {
    const now = performance.now();
    let allowed = Math.floor(((now - since) / 1000) * rate);
    since += (allowed / rate) * 1000;
    while (allowed > 0 && queue.length > 0) {
      const first = queue[0] ?? Buffer.alloc(0);
      const piece = first.subarray(0, allowed);
      allowed -= piece.length;
      queued -= piece.length;
      if (piece.length === first.length) queue = queue.slice(1);
      else queue[0] = first.subarray(piece.length);
      pass(piece);
    }
    if (queued < 4096) onFull?.(false);
    timer = queue.length > 0 ? setTimeout(tick, 5).unref() : undefined;
  };
  return (bytes) => {
    queue.push(bytes);
    queued += bytes.length;
    if (queued > 8192) onFull?.(true);
    if (timer) return;
    since = performance.now();
    timer = setTimeout(tick, 5).unref();
  };
}

function faultLayer(): (bytes: Buffer, faults: Faults | undefined) => Buffer {
  let untilKernel = 0;
  let kernelLines = 0;
  return (bytes, faults) => {
    if (!faults) return bytes;
    const { random } = faults;
    const strikes = (chance: number | undefined) =>
      chance !== undefined && chance > 0 && random(chance) === 0;
    const out: Buffer[] = [];
    for (const sent of bytes) {
      const byte = faults.sevenBits ? sent & 0x7f : sent;
      if (faults.kernelEvery && untilKernel-- <= 0) {
        untilKernel = random(2 * faults.kernelEvery);
        const line =
          faults.kernelLine ?? ((number) => `[  ${number}.123456] noise ${number}: of the kernel\r\n`);
        out.push(Buffer.from(line(kernelLines++)));
      }
      if (strikes(faults.drop)) continue;
      out.push(Buffer.from([strikes(faults.flip) ? byte ^ (1 << random(7)) : byte]));
      if (strikes(faults.double)) out.push(Buffer.from([byte]));
    }
    return Buffer.concat(out);
  };
}
