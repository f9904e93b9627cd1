/**
 * The console of a build: `console.log` has the bytes as they came, `console.times` when they came, in lines of
 * `OFFSET MILLISECONDS`: from this offset on, bytes came at this Unix time or up to 100 ms later. The clock is read once, when
 * the console is opened, so the times go on evenly when someone sets it. Readers follow the file, so none of them can slow
 * down the build.
 */
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { Condition } from "#/lib/condition.ts";
import type { Masker } from "../masker.ts";

export function consoleFile(folder: string): string {
  return join(folder, "console.log");
}

/** Between two lines of `console.times`, which take 20 bytes each. */
const timeStepMs = 100;

/** Only the build writes it. */
export class ConsoleLog {
  /** Wakes when the console has grown or is closed. */
  readonly changed = new Condition();
  readonly file: string;
  readonly #log: FileHandle;
  readonly #times: FileHandle;
  readonly #max: number;
  /** Add it to performance.now() for Unix time. */
  readonly #epoch = Date.now() - performance.now();
  #size = 0;
  #cut = 0;
  #timesSize = 0;
  #lastTime = Number.NEGATIVE_INFINITY;
  #masker: Masker | undefined;
  #closed = false;
  #closing: Promise<void> | undefined;
  /** Each write waits for the one before. */
  #turn: Promise<void> = Promise.resolve();

  private constructor(file: string, log: FileHandle, times: FileHandle, max: number) {
    this.file = file;
    this.#log = log;
    this.#times = times;
    this.#max = max;
  }

  /**
   * @param folder the build's
   * @param max bytes that are kept; what comes after is counted and dropped
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

  /** Bytes that were dropped. */
  get cut(): number {
    return this.#cut;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Masks what is written from now on, before anyone can see it. */
  mask(masker: Masker): void {
    this.#masker = masker;
  }

  /**
   * Appends bytes; resolves when they are written, so a producer that awaits it is as slow as the disk.
   * @throws the file system's error, ENOSPC first of all
   */
  write(chunk: Uint8Array): Promise<void> {
    const written = this.#turn.then(() => this.#append(this.#masker?.write(chunk) ?? chunk));
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
      // Also after an error: a part may be written.
      this.changed.wake();
    }
  }

  async #stamp(): Promise<void> {
    const now = Math.floor(this.#epoch + performance.now());
    if (now < this.#lastTime + timeStepMs) return;
    const line = `${this.#size} ${now}\n`;
    try {
      await this.#times.appendFile(line);
    } catch (error) {
      // A part of the line may be written.
      await this.#times.truncate(this.#timesSize).catch(() => {});
      throw error;
    }
    this.#timesSize += line.length;
    this.#lastTime = now;
  }

  /** Closes it after the writes so far; later ones are dropped. Never rejects. */
  close(): Promise<void> {
    this.#closing ??= this.#turn.then(async () => {
      // What might have become a secret. A full disk has been noticed, or will be.
      if (this.#masker) await this.#append(this.#masker.end()).catch(() => {});
      this.#masker = undefined;
      this.#closed = true;
      await Promise.allSettled([synced(this.#log), synced(this.#times)]);
      this.changed.wake();
    });
    return this.#closing;
  }
}

/** Closes a file after syncing it: the record, which has its length, is synced too. */
async function synced(file: FileHandle): Promise<void> {
  try {
    await file.datasync();
  } finally {
    await file.close();
  }
}
