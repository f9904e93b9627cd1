/** The one pipe that a job's stdout and stderr share, read no faster than its consumer takes it. */
import { closeSync, constants, openSync } from "node:fs";
import { rm } from "node:fs/promises";
import { Socket } from "node:net";
import { execa } from "execa";
import { RunnerError } from "../errors.ts";

/** Takes output as it comes; the bytes change once it is done. What it returns is awaited before more is read; what it throws ends the run and is passed on. */
export type Output = (chunk: Buffer) => void | Promise<void>;

/** What a pipe of Linux holds. */
const bufferSize = 64 * 1024;

/** How long a writer that couldn't be killed may keep silent before the pipe is given up, in milliseconds. */
const silenceBound = 1000;

/** What is read at most after the kill, in bytes: more than any pipe holds (pipe-max-size is 1 MiB). */
const remainderBound = 2 * 1024 * 1024;

const gaveUp = new Error("nothing more came from a process that couldn't be killed");

/**
 *     reading ──finish()──> finishing ──end of file, silence, or too much──> done
 *        │
 *        └── end of file, or the consumer throws ──────────────────────────> done
 */
type State = "reading" | "finishing" | "done";

export class OutputPipe implements Disposable {
  /** What /proc/PID/fd shows for whoever has it open. */
  readonly link: string;
  readonly #reader: Socket;
  /** One for all reads: a new one for each would be 64 MiB of garbage before Node collects any. */
  readonly #buffer = Buffer.allocUnsafeSlow(bufferSize);
  /** So many bytes came; 0: no more will. */
  #came: (length: number) => void = () => {};
  #writer: number | undefined;
  #state: State = "reading";
  #consuming = false;

  private constructor(path: string, reader: number, writer: number) {
    this.link = `${path} (deleted)`;
    const onread = {
      buffer: this.#buffer,
      callback: (length: number) => {
        this.#came(length);
        // Nothing more is read until the next call of resume().
        return false;
      },
    };
    this.#reader = new Socket({ fd: reader, readable: true, writable: false, onread });
    // The reason is kept for whoever reads on.
    this.#reader.on("error", () => {}).on("close", () => this.#came(0));
    this.#writer = writer;
  }

  /**
   * A real pipe: Node's own are sockets, on which `echo >/dev/stderr` fails.
   *
   * @param path where it may stand for the moment that it needs a name
   * @param hand gives it to whoever is to open it by /dev/stderr
   * @throws RunnerError START
   */
  static async open(path: string, hand: (path: string) => Promise<void>): Promise<OutputPipe> {
    try {
      await execa("mkfifo", ["-m", "600", path]);
      await hand(path);
      // In this order neither waits for the other.
      const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
      const writer = openSync(path, "w");
      return new OutputPipe(path, reader, writer);
    } catch (cause) {
      throw new RunnerError("START", `no pipe for the output: ${(cause as Error).message}`, { cause });
    } finally {
      await rm(path, { force: true });
    }
  }

  /** The descriptor that becomes the job's stdout and stderr. */
  get writer(): number {
    if (this.#writer === undefined) throw new TypeError("the writing end is closed");
    return this.#writer;
  }

  /** Closes our copy of the writing end, so that the last process to end ends the pipe. */
  closeWriter(): void {
    if (this.#writer !== undefined) closeSync(this.#writer);
    this.#writer = undefined;
  }

  /** Reads to the end of the pipe, or what finish() takes for it. @throws what the consumer throws */
  async read(output: Output): Promise<void> {
    let remainder = remainderBound;
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

  /** The next bytes, which are good until it is called again; undefined at the end. */
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

  /** All writers are dead, or can't be killed: what is in the pipe is still read, but nobody waited for any longer. */
  finish(): void {
    if (this.#state !== "reading") return;
    this.#state = "finishing";
    this.#reader.setTimeout(silenceBound, () => {
      // A slow consumer also makes the pipe silent.
      if (this.#consuming) this.#reader.setTimeout(silenceBound);
      else this.#reader.destroy(gaveUp);
    });
  }

  [Symbol.dispose](): void {
    this.#state = "done";
    this.closeWriter();
    this.#reader.destroy();
  }
}
