/**
 * The console of a build: `console.log` has the bytes as they came, `console.times` when they came, in lines of
 * `OFFSET MILLISECONDS`: from this offset on, bytes came at this Unix time or up to 100 ms later. The clock is read once, when
 * the console is opened, so the times go on evenly when someone sets it. Readers follow the file, so none of them can slow
 * down the build.
 */
import { constants, fstatSync, lstatSync } from "node:fs";
import { copyFile, type FileHandle, open, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Condition } from "#/lib/condition.ts";
import type { Masker } from "../masker.ts";

export function consoleFile(folder: string): string {
  return join(folder, "console.log");
}

function timesFile(folder: string): string {
  return join(folder, "console.times");
}

/** Between two lines of `console.times`, which take 20 bytes each. */
const timeStepMs = 100;

const newline = 10;
/** How much of the end is kept of a console that is cut, in bytes; half of it when the console is short. */
const maxTail = 1024 * 1024;
/** Of our notes in it, in bytes. */
const maxNotes = 64 * 1024;

/** Only the build writes it. */
export class ConsoleLog {
  /** Wakes when the console has grown or is closed. */
  readonly changed = new Condition();
  readonly file: string;
  readonly #log: FileHandle;
  readonly #timesFile: string;
  readonly #times: FileHandle;
  readonly #max: number;
  /** Add it to performance.now() for Unix time. */
  readonly #epoch = Date.now() - performance.now();
  #size = 0;
  /** What came after the beginning that is kept; written when the console is closed. */
  #tail: Tail | undefined;
  /** A line says so. */
  #isCut = false;
  /** The last byte that came, of the job or of us. */
  #last = newline;
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
    this.#timesFile = timesFile(dirname(file));
    this.#times = times;
    this.#max = max;
  }

  /**
   * @param folder the build's
   * @param max bytes that are kept: the beginning, and the end
   */
  static async open(folder: string, max: number): Promise<ConsoleLog> {
    const file = consoleFile(folder);
    const [log, times] = await Promise.allSettled([
      open(file, "a", 0o644),
      open(timesFile(folder), "a", 0o644),
    ]);
    if (log.status === "fulfilled" && times.status === "fulfilled")
      return new ConsoleLog(file, log.value, times.value, max);
    for (const one of [log, times]) if (one.status === "fulfilled") await one.value.close();
    throw [log, times].find((one) => one.status === "rejected")?.reason;
  }

  /** Bytes in the file. */
  get size(): number {
    return this.#size;
  }

  /** Bytes that were dropped. */
  get cut(): number {
    return this.#tail?.cut ?? 0;
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
    return this.#inTurn(() => this.#take(chunk));
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => {});
    return done;
  }

  /** A line of our own among the job's, also where the job's are cut. */
  note(text: string): Promise<void> {
    return this.#inTurn(() => this.#take(this.#line(text), true));
  }

  #line(text: string): Buffer {
    return noteAfter(this.#last, text);
  }

  #take(bytes: Uint8Array, isNote = false): Promise<void> {
    this.#last = bytes.at(-1) ?? this.#last;
    return this.#append(this.#masker?.write(bytes) ?? bytes, isNote);
  }

  async #append(chunk: Uint8Array, isNote = false): Promise<void> {
    if (this.#closed || chunk.length === 0) return;
    const head = this.#max - Math.min(maxTail, Math.floor(this.#max / 2));
    const kept = this.#tail ? chunk.subarray(0, 0) : chunk.subarray(0, Math.max(0, head - this.#size));
    if (kept.length > 0) await this.#put(kept);
    if (kept.length === chunk.length) return;
    this.#tail ??= new Tail(this.#max - head);
    const rest = chunk.subarray(kept.length);
    if (isNote) this.#tail.note(Buffer.from(rest));
    else this.#tail.push(rest);
    if (this.#isCut || this.#tail.cut === 0) return;
    this.#isCut = true;
    const text = `[labgear] the console is cut here, at ${head} bytes; the build goes on, and its last bytes follow at its end`;
    await this.#put(Buffer.from(`\n${text}\n`));
  }

  async #putTail(tail: Tail): Promise<void> {
    if (tail.cut > 0) await this.#put(Buffer.from(`[labgear] ${tail.cut} bytes are left out\n`));
    for (const bytes of tail.pieces()) await this.#put(bytes);
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
      if (this.#tail) await this.#putTail(this.#tail).catch(() => {});
      this.#closed = true;
      await Promise.allSettled([synced(this.#log, this.file), synced(this.#times, this.#timesFile)]);
      this.changed.wake();
    });
    return this.#closing;
  }
}

/** It begins a line, even behind the job's last one without an end. */
function noteAfter(last: number, text: string): Buffer {
  return Buffer.from(`${last === newline ? "" : "\n"}[labgear] ${text}\n`);
}

/**
 * Adds a line of our own to the console of a build that nothing writes any more; nothing happens without one.
 * @throws the file system's error
 */
export async function appendNote(folder: string, text: string): Promise<void> {
  // A job may have put a link or a pipe in its place.
  const { O_RDWR, O_APPEND, O_NOFOLLOW, O_NONBLOCK } = constants;
  const opened = open(consoleFile(folder), O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK);
  await using file = await opened.catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT" && error.code !== "ELOOP") throw error;
    return undefined;
  });
  const stat = await file?.stat();
  if (!file || !stat?.isFile()) return;
  const last = Buffer.of(newline);
  await file.read(last, 0, 1, Math.max(0, stat.size - 1));
  await file.write(noteAfter(last[0] ?? newline, text));
}

/** The last bytes of the job, with our notes among them: those stay where the job's bytes are dropped. */
class Tail {
  readonly #ring: Buffer;
  /** How many bytes of the job have come. */
  #end = 0;
  #notes: { readonly at: number; readonly bytes: Buffer }[] = [];
  #notesSize = 0;
  #notesCut = 0;

  constructor(max: number) {
    this.#ring = Buffer.allocUnsafe(max);
  }

  /** How many bytes were dropped. */
  get cut(): number {
    return this.#start + this.#notesCut;
  }

  get #start(): number {
    return Math.max(0, this.#end - this.#ring.length);
  }

  push(bytes: Uint8Array): void {
    const kept = bytes.subarray(Math.max(0, bytes.length - this.#ring.length));
    this.#end += bytes.length;
    const at = (this.#end - kept.length) % this.#ring.length;
    this.#ring.set(kept.subarray(0, this.#ring.length - at), at);
    this.#ring.set(kept.subarray(this.#ring.length - at), 0);
  }

  note(bytes: Buffer): void {
    this.#notes.push({ at: this.#end, bytes });
    this.#notesSize += bytes.length;
    while (this.#notesSize > maxNotes) {
      const dropped = this.#notes.shift()?.bytes.length ?? 0;
      this.#notesSize -= dropped;
      this.#notesCut += dropped;
    }
  }

  *pieces(): Generator<Buffer> {
    let from = this.#start;
    for (const { at, bytes } of this.#notes) {
      yield* this.#between(from, at);
      yield bytes;
      from = Math.max(from, at);
    }
    yield* this.#between(from, this.#end);
  }

  *#between(from: number, to: number): Generator<Buffer> {
    for (let at = from; at < to; ) {
      const place = at % this.#ring.length;
      const piece = this.#ring.subarray(place, place + to - at);
      yield piece;
      at += piece.length;
    }
  }
}

/** Closes a file after syncing it: the record, which has its length, is synced too. */
async function synced(file: FileHandle, path: string): Promise<void> {
  try {
    // A job that runs as the agent's user can remove it, or put something else there; what was written is still there.
    if (!isThere(file, path)) {
      await rm(path, { recursive: true, force: true });
      await copyFile(`/proc/self/fd/${file.fd}`, path, constants.COPYFILE_EXCL);
    }
    await file.datasync();
  } finally {
    await file.close();
  }
}

function isThere({ fd }: FileHandle, path: string): boolean {
  return fstatSync(fd).ino === lstatSync(path, { throwIfNoEntry: false })?.ino;
}
