/**
 * The console of a build: `console.log` holds the bytes as they came, `console.times` when they came, in lines of
 * `OFFSET MILLISECONDS`: from this offset on, bytes came at this Unix time or up to 100 ms later. The time is the clock's
 * at the console's opening and what passed since, so it goes on evenly when someone sets the clock. Readers follow the
 * file, so none of them can slow the build.
 */
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { Condition } from "#/lib/condition.ts";

export function consoleFile(folder: string): string {
  return join(folder, "console.log");
}

/** Between two lines of `console.times`, in milliseconds: a job that prints byte by byte costs 20 bytes each. */
const timeStep = 100;

/** Written by the build alone. */
export class ConsoleLog {
  /** Wakes readers when the console has grown or is closed. */
  readonly changed = new Condition();
  readonly file: string;
  readonly #log: FileHandle;
  readonly #times: FileHandle;
  readonly #max: number;
  /** What performance.now() lacks to be Unix time. */
  readonly #epoch = Date.now() - performance.now();
  #size = 0;
  #cut = 0;
  #timesSize = 0;
  #lastTime = Number.NEGATIVE_INFINITY;
  #closed = false;
  #closing: Promise<void> | undefined;
  /** Writes go out one after the other; each waits for the one before. */
  #turn: Promise<void> = Promise.resolve();

  private constructor(file: string, log: FileHandle, times: FileHandle, max: number) {
    this.file = file;
    this.#log = log;
    this.#times = times;
    this.#max = max;
  }

  /**
   * @param folder the build's
   * @param max bytes kept; what comes after is counted and dropped
   */
  static async open(folder: string, max: number): Promise<ConsoleLog> {
    const file = consoleFile(folder);
    const log = await open(file, "a", 0o644);
    try {
      return new ConsoleLog(file, log, await open(join(folder, "console.times"), "a", 0o644), max);
    } catch (error) {
      await log.close();
      throw error;
    }
  }

  /** Bytes in the file. */
  get size(): number {
    return this.#size;
  }

  /** Bytes that came after the file was full. */
  get cut(): number {
    return this.#cut;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /**
   * Appends bytes; resolves when they are written, so that a producer who awaits it is held back by the disk.
   * @throws the file system's error, ENOSPC first of all
   */
  write(chunk: Uint8Array): Promise<void> {
    const written = this.#turn.then(() => this.#append(chunk));
    this.#turn = written.catch(() => {});
    return written;
  }

  /** A line of our own among the job's. */
  async note(text: string): Promise<void> {
    await this.write(Buffer.from(`[labgear] ${text}\n`));
  }

  async #append(chunk: Uint8Array): Promise<void> {
    if (this.#closed || chunk.length === 0) return;
    const kept = chunk.subarray(0, Math.max(0, this.#max - this.#size));
    if (kept.length > 0) await this.#put(kept);
    if (kept.length === chunk.length) return;
    const first = this.#cut === 0;
    this.#cut += chunk.length - kept.length;
    if (!first) return;
    await this.#put(
      Buffer.from(`\n[labgear] the console is cut here, at ${this.#max} bytes; the build goes on\n`),
    );
  }

  async #put(bytes: Uint8Array): Promise<void> {
    await this.#stamp();
    try {
      for (let at = 0; at < bytes.length; ) {
        const { bytesWritten } = await this.#log.write(bytes, at);
        at += bytesWritten;
        this.#size += bytesWritten;
      }
    } finally {
      // Also after an error, which may come when a part is written.
      this.changed.wake();
    }
  }

  async #stamp(): Promise<void> {
    const now = Math.floor(this.#epoch + performance.now());
    if (now < this.#lastTime + timeStep) return;
    const line = `${this.#size} ${now}\n`;
    try {
      await this.#times.appendFile(line);
    } catch (error) {
      // What did find room is no whole line.
      await this.#times.truncate(this.#timesSize).catch(() => {});
      throw error;
    }
    this.#timesSize += line.length;
    this.#lastTime = now;
  }

  /** Ends it after the writes under way; what is written later is dropped. Never rejects. */
  close(): Promise<void> {
    this.#closing ??= this.#turn.then(async () => {
      this.#closed = true;
      await Promise.allSettled([synced(this.#log), synced(this.#times)]);
      this.changed.wake();
    });
    return this.#closing;
  }
}

/** Closes a file with all of it on the disk, as the record will be that says how long it is. */
async function synced(file: FileHandle): Promise<void> {
  try {
    await file.datasync();
  } finally {
    await file.close();
  }
}
