/** A line over a tty. serialport's binding opens it and sets it up; this file reads, writes and locks. */
import { fstatSync, writeSync } from "node:fs";
import { stat } from "node:fs/promises";
import { setTimeout as delay, setImmediate as turn } from "node:timers/promises";
import { SerialPort } from "serialport";
import type { PortConfig } from "#/config/model.ts";
import { holdersOf } from "../discovery/sysfs.ts";
import { DeviceError } from "../errors.ts";
import type { Control, Line, LineErrors, LineFormat, ModemState, Receive } from "./line.ts";
import { deviceNumber, isPseudoTerminal, type TtyIoctl } from "./tty-ioctl.ts";
import { TtyReader } from "./tty-reader.ts";

/** Between attempts to write to a driver whose buffer is full. */
const writeRetryMs = 5;
/** How long a write may go without progress. */
const writeTimeoutMs = 10_000;
/** Of one write, and of writes in a row before other work gets its turn. */
const maxWriteBytes = 4096;
const maxTurnBytes = 64 * 1024;
/** For the driver to send what was written before the port closes; the kernel would wait for 30 s. */
const closeTimeoutMs = 500;

export interface TtyOptions {
  readonly path: string;
  readonly config: Omit<PortConfig, "address">;
  readonly receive: Receive;
  readonly calls: TtyIoctl;
}

/**
 * Opens a tty raw, with 8 bits, under flock and, where it can, TIOCEXCL.
 *
 * Linux raises DTR and RTS at every open (tty_port_raise_dtr_rts), and nothing can prevent that. A board with auto-reset
 * resets on an *edge* of DTR, or when DTR and RTS differ; it ignores both while they stay up. So this code leaves both alone unless
 * asked, and clears HUPCL: they stay up after a close too, and only the first open after the adapter was plugged in (and the
 * board with it) makes an edge.
 *
 * @throws DeviceError PORT_ABSENT, PORT_BUSY, PORT_REFUSED
 */
export async function openTty(options: TtyOptions): Promise<Line> {
  const { path, config } = options;
  const xon = config.flow === "xonxoff";
  try {
    const binding = await SerialPort.binding.open({
      path,
      baudRate: config.baud,
      ...(config.parity && { parity: config.parity }),
      ...(config.stopBits && { stopBits: config.stopBits }),
      hupcl: false,
      rtscts: config.flow === "rtscts",
      xon,
      xoff: xon,
    });
    if (!("poller" in binding) || binding.fd === null) throw new TypeError("serial ports need Linux");
    return new TtyLine(options, binding as TtyBinding);
  } catch (error) {
    throw await openFailure(path, error as Error);
  }
}

/** Why a tty can't be opened, and what to do. @param error of the binding, which has the system's reason only in its text */
async function openFailure(path: string, error: Error): Promise<DeviceError> {
  const { message } = error;
  const fail = (code: "PORT_ABSENT" | "PORT_BUSY" | "PORT_REFUSED", text: string) =>
    new DeviceError(code, text, { cause: error });
  if (/No such file|No such device/.test(message)) return fail("PORT_ABSENT", `${path} isn't there`);
  if (/Cannot lock port|resource busy/i.test(message)) {
    const holders = await holdersOf(path);
    const who = holders.length > 0 ? holders.join(", ") : "another program";
    return fail("PORT_BUSY", `${path} is in use by ${who}: end it, then labgear takes the port`);
  }
  if (/Permission denied|not permitted/.test(message)) {
    const group = await groupOf(path);
    const hint = `add labgear's user to group ${group} (usermod -aG ${group} USER) and restart labgear`;
    return fail("PORT_REFUSED", `${path} can't be opened: permission denied; ${hint}`);
  }
  return fail("PORT_REFUSED", `${path} can't be opened: ${plain(error)}`);
}

/** Debian gives serial ports to dialout; any other group is shown by its number. */
async function groupOf(path: string): Promise<string> {
  const { gid } = await stat(path).catch(() => ({ gid: 0 }));
  return gid === 0 || gid === 20 ? "dialout" : String(gid);
}

/** The part of serialport's Linux binding that this file uses. */
interface TtyBinding {
  readonly fd: number;
  readonly poller: {
    once(event: "readable", ready: (error: Error | null) => void): unknown;
  };
  update(options: { baudRate: number }): Promise<void>;
  set(options: { dtr: boolean; rts: boolean; brk: boolean }): Promise<void>;
  flush(): Promise<void>;
  close(): Promise<void>;
}

class TtyLine implements Line {
  readonly closed: Promise<DeviceError | undefined>;
  readonly #path: string;
  readonly #binding: TtyBinding;
  /** A copy: the binding forgets it when it closes. */
  readonly #descriptor: number;
  readonly #calls: TtyIoctl;
  readonly #reader: TtyReader;
  readonly #end: (error: DeviceError | undefined) => void;
  readonly #ending = new AbortController();
  readonly #isExclusive: boolean;
  readonly #errorsBefore: LineErrors | undefined;
  /** As the kernel sets them at an open. */
  #control = { dtr: true, rts: true };
  /** The latest write, finished or not. */
  #writing: Promise<void> = Promise.resolve();
  #closing: Promise<void> | undefined;

  constructor({ path, config, receive, calls }: TtyOptions, binding: TtyBinding) {
    const { promise, resolve } = Promise.withResolvers<DeviceError | undefined>();
    this.closed = promise;
    this.#end = resolve;
    this.#path = path;
    this.#binding = binding;
    this.#descriptor = binding.fd;
    this.#calls = calls;
    this.#errorsBefore = calls.errors(this.#descriptor);
    calls.keepLinesOnClose(this.#descriptor);
    // After a crash, a pseudo-terminal's other end would keep it, and no program could open it again.
    this.#isExclusive = !isPseudoTerminal(deviceNumber(fstatSync(this.#descriptor).rdev).major);
    if (this.#isExclusive) calls.setExclusive(this.#descriptor, true);
    this.#reader = new TtyReader({
      descriptor: this.#descriptor,
      poller: binding.poller,
      receive,
      lost: (reason) => this.#lose(reason),
    });
    this.#reader.setBaud(config.baud);
  }

  write(bytes: Uint8Array): Promise<void> {
    const writing = this.#writing.then(() => this.#write(bytes));
    this.#writing = writing.catch(() => {});
    return writing;
  }

  async setControl(control: Control): Promise<void> {
    this.#control = { ...this.#control, ...control };
    await this.#setLines(false);
  }

  async sendBreak(durationMs: number): Promise<void> {
    await this.#setLines(true);
    try {
      await delay(durationMs, undefined, { signal: this.#ending.signal });
    } catch {
      throw this.#gone();
    }
    await this.#setLines(false);
  }

  async setBaud(baud: number): Promise<void> {
    this.#throwIfEnding();
    this.#reader.pause();
    try {
      await this.#binding.update({ baudRate: baud });
      this.#reader.setBaud(baud);
    } catch (cause) {
      const message = `${this.#path} can't be set to ${baud} baud: ${plain(cause)}; choose a speed that the adapter supports`;
      throw new DeviceError("PORT_REFUSED", message, { cause });
    } finally {
      this.#reader.resume();
    }
  }

  async setFormat(format: LineFormat): Promise<void> {
    this.#throwIfEnding();
    // What was written before leaves as it was meant.
    const until = performance.now() + closeTimeoutMs;
    while ((this.#calls.unsent(this.#descriptor) ?? 0) > 0 && performance.now() < until)
      await delay(writeRetryMs);
    this.#throwIfEnding();
    if (this.#calls.setFormat(this.#descriptor, format)) return;
    const text = `${format.bits} bits, parity ${format.parity}, ${format.stop} stop bits`;
    throw new DeviceError("PORT_REFUSED", `${this.#path} can't be set to ${text}`);
  }

  errors(): LineErrors | undefined {
    const now = this.#ending.signal.aborted ? undefined : this.#calls.errors(this.#descriptor);
    const before = this.#errorsBefore;
    if (!now || !before) return undefined;
    return {
      framing: now.framing - before.framing,
      parity: now.parity - before.parity,
      overrun: now.overrun - before.overrun,
      breaks: now.breaks - before.breaks,
    };
  }

  modem(): ModemState | undefined {
    return this.#ending.signal.aborted ? undefined : this.#calls.modem(this.#descriptor);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Writes without blocking, and retries while the driver's buffer is full; serialport's own write stops reading while it waits. */
  async #write(bytes: Uint8Array): Promise<void> {
    let progress = performance.now();
    for (let done = 0, sinceTurn = 0; done < bytes.length; ) {
      this.#throwIfEnding();
      let count = 0;
      try {
        count = writeSync(this.#descriptor, bytes, done, Math.min(bytes.length - done, maxWriteBytes));
      } catch (error) {
        const { code, message } = error as NodeJS.ErrnoException;
        if (code !== "EAGAIN" && code !== "EINTR") {
          this.#lose(message);
          throw this.#gone();
        }
      }
      done += count;
      sinceTurn += count;
      if (count > 0) progress = performance.now();
      else if (performance.now() - progress > writeTimeoutMs) throw this.#stuck();
      else await delay(writeRetryMs, undefined, { signal: this.#ending.signal }).catch(() => {});
      if (sinceTurn >= maxTurnBytes) {
        sinceTurn = 0;
        await turn();
      }
    }
  }

  async #setLines(brk: boolean): Promise<void> {
    this.#throwIfEnding();
    try {
      await this.#binding.set({ ...this.#control, brk });
    } catch (cause) {
      const message = `${this.#path} has no control lines (${plain(cause)}), as a pseudo-terminal hasn't: use power commands`;
      throw new DeviceError("PORT_REFUSED", message, { cause });
    }
  }

  #lose(reason: string): void {
    if (this.#ending.signal.aborted) return;
    this.#end(new DeviceError("PORT_LOST", `${this.#path} went away: ${reason}`));
    this.#closing = this.#close();
  }

  async #close(): Promise<void> {
    this.#ending.abort();
    this.#reader.stop();
    const until = performance.now() + closeTimeoutMs;
    while ((this.#calls.unsent(this.#descriptor) ?? 0) > 0 && performance.now() < until)
      await delay(writeRetryMs);
    if (this.#isExclusive) this.#calls.setExclusive(this.#descriptor, false);
    if (this.#calls.unsent(this.#descriptor) !== 0) await this.#binding.flush().catch(() => {});
    // Closing a line that is gone fails, and closes the descriptor all the same.
    await this.#binding.close().catch(() => {});
    this.#end(undefined);
  }

  #throwIfEnding(): void {
    if (this.#ending.signal.aborted) throw this.#gone();
  }

  #gone(): DeviceError {
    return new DeviceError("PORT_LOST", `${this.#path} is closed`);
  }

  #stuck(): DeviceError {
    const message = `${this.#path} has accepted no bytes for ${writeTimeoutMs / 1000} s: check flow control and the other end of the line`;
    return new DeviceError("PORT_STUCK", message);
  }
}

/** The addon's messages begin with "Error: ". */
function plain(error: unknown): string {
  return (error as Error).message.replace(/^Error:? /, "");
}
