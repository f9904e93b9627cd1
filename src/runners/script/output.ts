/** The pipe that a job's stdout and stderr share. It is read no faster than its consumer takes the output. */
import { randomUUID } from "node:crypto";
import { closeSync, constants, openSync, readlinkSync } from "node:fs";
import { rm } from "node:fs/promises";
import { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { loadSystemCalls } from "#/host/syscalls.ts";
import { RunnerError } from "../errors.ts";

const systemCalls = loadSystemCalls();

/** Takes output as it comes; the buffer is reused afterwards. Its promise is awaited before more is read; an error ends the run. */
export type Output = (chunk: Buffer) => void | Promise<void>;

/** The capacity of a pipe on Linux. */
const bufferSize = 64 * 1024;

/** How long a writer that couldn't be killed may be silent. */
const maxSilenceMs = 1000;

/** How much is read after the kill, in bytes: more than any pipe holds (pipe-max-size is 1 MiB). */
const maxRemainder = 2 * 1024 * 1024;

const gaveUp = new Error("a process that couldn't be killed keeps the pipe open");

/**
 *     reading ──finish()──> finishing ──end of file, silence, or too much──> done
 *        │
 *        └── end of file, or the consumer throws ──────────────────────────> done
 */
type State = "reading" | "finishing" | "done";

export class OutputPipe implements Disposable {
  /** How /proc/PID/fd shows it. */
  readonly link: string;
  readonly #reader: Socket;
  /** One for all reads: with a new one for each, 64 MiB of garbage pile up before Node collects any. */
  readonly #buffer = Buffer.allocUnsafeSlow(bufferSize);
  /** Called with the number of bytes that came; 0: no more will come. */
  #came: (length: number) => void = () => {};
  #writer: number | undefined;
  #state: State = "reading";
  #consuming = false;

  private constructor(reader: number, writer: number) {
    this.link = readlinkSync(`/proc/self/fd/${writer}`);
    const onread = {
      buffer: this.#buffer,
      callback: (length: number) => {
        this.#came(length);
        // Reads nothing more until the next resume().
        return false;
      },
    };
    this.#reader = new Socket({ fd: reader, readable: true, writable: false, onread });
    // The error is kept in `errored`.
    this.#reader.on("error", () => {}).on("close", () => this.#came(0));
    this.#writer = writer;
  }

  /** @throws RunnerError START */
  static async open(): Promise<OutputPipe> {
    const { reader, writer } = await makePipe();
    return new OutputPipe(reader, writer);
  }

  /** The descriptor that becomes the job's stdout and stderr. */
  get writer(): number {
    if (this.#writer === undefined) throw new TypeError("the writing end is closed");
    return this.#writer;
  }

  /** Closes our copy of the writing end: the pipe then ends with its last process. */
  closeWriter(): void {
    if (this.#writer !== undefined) closeSync(this.#writer);
    this.#writer = undefined;
  }

  /** Reads to the end of the pipe, or until finish() gives up on it. @throws the consumer's error */
  async read(output: Output): Promise<void> {
    let remainder = maxRemainder;
    try {
      for (let chunk = await this.#next(); chunk; chunk = await this.#next()) {
        this.#consuming = true;
        await output(chunk);
        this.#consuming = false;
        if (this.#state === "finishing") remainder -= chunk.length;
        if (remainder < 0) break;
      }
    } catch (error) {
      if (error !== gaveUp) throw error;
    } finally {
      this[Symbol.dispose]();
    }
  }

  /** The next bytes, valid until the next call; undefined at the end. */
  #next(): Promise<Buffer | undefined> {
    return new Promise((resolve, reject) => {
      const reader = this.#reader;
      this.#came = (length) => {
        if (length > 0) resolve(this.#buffer.subarray(0, length));
        else if (reader.errored) reject(reader.errored);
        else resolve(undefined);
      };
      if (reader.destroyed) this.#came(0);
      else reader.resume();
    });
  }

  /** Call it when all writers are dead, or can't be killed: what is in the pipe is read, but a silent writer isn't waited for. */
  finish(): void {
    if (this.#state !== "reading") return;
    this.#state = "finishing";
    const reader = this.#reader.on("timeout", () => {
      const { bytesRead } = reader;
      // A timer that is late fires before the pipe is looked at: what has come meanwhile is read first.
      setImmediate(() => this.#giveUp(bytesRead));
    });
    reader.setTimeout(maxSilenceMs);
  }

  /** @param bytesRead when it was silent */
  #giveUp(bytesRead: number): void {
    // The silence may be the consumer's fault.
    if (this.#consuming || this.#reader.bytesRead > bytesRead) this.#reader.setTimeout(maxSilenceMs);
    else this.#reader.destroy(gaveUp);
  }

  [Symbol.dispose](): void {
    this.#state = "done";
    this.closeWriter();
    this.#reader.destroy();
  }
}

/**
 * A real pipe: Node's own pipes are sockets, on which `echo >/dev/stderr` fails.
 * @throws RunnerError START
 */
export async function makePipe(): Promise<{ readonly reader: number; readonly writer: number }> {
  const pipe = systemCalls?.pipe();
  if (pipe) return pipe;
  const path = join(tmpdir(), `labgear-${randomUUID()}`);
  try {
    await execa("mkfifo", ["-m", "600", path]);
    // In this order neither open() blocks.
    const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    return { reader, writer: openSync(path, "w") };
  } catch (cause) {
    throw new RunnerError("START", `the pipe for the output can't be created: ${(cause as Error).message}`, {
      cause,
    });
  } finally {
    await rm(path, { force: true });
  }
}
