/** Files between a lease's holder and the board: each waits here between the network and the serial line. */
import { createHash } from "node:crypto";
import { type FileHandle, mkdir, mkdtemp, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { SinkFile, SourceFile } from "#/builds/workspace/files.ts";
import type { Console } from "#/devices/consoles/console.ts";
import type { Dialogue } from "#/devices/consoles/dialogue.ts";
import type { Reservation } from "#/devices/reservation.ts";
import { ExchangeError } from "#/exchange/errors.ts";
import type { Fetched } from "#/exchange/fetch.ts";
import { fileInput, maxFileBytes } from "#/exchange/lease.ts";
import type { Piece } from "#/exchange/send.ts";
import type { Operation } from "#/exchange/typing.ts";
import { formatSize } from "#/lib/units.ts";

type Put = Extract<Operation, { readonly op: "put" }>;
type Get = Extract<Operation, { readonly op: "get" }>;

export interface Transferring {
  readonly reservation: Reservation;
  readonly bootTimeoutMs: number;
  /** Cancels it: the board goes back to its prompt. */
  readonly cancel: AbortSignal;
  readonly signal: AbortSignal;
  readonly onProgress: (done: number, total: number) => void;
}

/** For the board to come back to its prompt after a transfer that was cancelled. */
const interruptTimeoutMs = 5000;
const sentName = "sent";
const gotName = "got";

/** Where files wait on their way. The next start clears what a crash leaves here. */
export function transferFolder(stateDir: string): string {
  return join(stateDir, "transfers");
}

export class LeaseFiles implements AsyncDisposable {
  readonly #folder: string;
  /** What the holder sends now. */
  #sent: { readonly name: string; readonly file: FileHandle; received: number } | undefined;
  /** Of the file that came from the board last. */
  #got: { readonly size: number; readonly sha256: string } | undefined;
  /** Pieces are written one after the other. */
  #taking: Promise<unknown> = Promise.resolve();

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async open(stateDir: string): Promise<LeaseFiles> {
    const base = transferFolder(stateDir);
    await mkdir(base, { recursive: true, mode: 0o700 });
    return new LeaseFiles(await mkdtemp(join(base, "lease-")));
  }

  /**
   * Takes a piece that is known to be the holder's. Another file's first piece replaces what came before.
   * @returns how much of the file is here
   * @throws ExchangeError
   */
  take(piece: Piece): Promise<number> {
    const taken = this.#taking.then(() => this.#take(piece));
    this.#taking = taken.catch(() => {});
    return taken;
  }

  async #take({ name = "", offset, bytes }: Piece): Promise<number> {
    if (this.#sent?.name !== name) {
      await this.#sent?.file.close();
      this.#sent = undefined;
      this.#sent = { name, file: await open(join(this.#folder, sentName), "w", 0o600), received: 0 };
    }
    const { file, received } = this.#sent;
    if (offset + bytes.length <= received) return received;
    if (offset !== received)
      throw new ExchangeError("offset", `the file goes on at ${received}`, { offset: received });
    if (received + bytes.length > maxFileBytes)
      throw new ExchangeError("too-large", `a file can have ${formatSize(maxFileBytes)} at most`);
    try {
      await file.write(bytes, 0, bytes.length, offset);
    } catch {
      throw new ExchangeError("unavailable", "the box can't store the file");
    }
    this.#sent.received += bytes.length;
    return this.#sent.received;
  }

  /** A range of the file that came from the board last. @throws ExchangeError not-found */
  async read(offset: number, length: number): Promise<Fetched> {
    if (!this.#got) throw new ExchangeError("not-found", "no file has come from the board");
    const { size, sha256 } = this.#got;
    await using file = await open(join(this.#folder, gotName));
    const bytes = Buffer.alloc(Math.max(0, Math.min(length, size - offset)));
    await file.read(bytes, 0, bytes.length, offset);
    return { size, offset, end: offset + bytes.length >= size, sha256, bytes };
  }

  /** @throws BoardFailure, TypeError; the signal's reason */
  async put({ to, size, sha256 }: Put, transferring: Transferring): Promise<void> {
    await this.#finishSent(size, sha256);
    const source = await SourceFile.open(this.#folder, sentName);
    if (typeof source === "string") throw new TypeError(source);
    await using file = source;
    await transfer(transferring, (console) => console.put?.(file, to));
  }

  /** @throws BoardFailure, TypeError; the signal's reason */
  async get({ from }: Get, transferring: Transferring): Promise<void> {
    this.#got = undefined;
    const sink = await SinkFile.open(this.#folder, gotName);
    if (typeof sink === "string") throw new TypeError(sink);
    using file = sink;
    await transfer(transferring, (console) => console.get?.(from, file));
    this.#got = { size: file.size, sha256: digestOf(file, file.size) };
  }

  async #finishSent(size: number, sha256: string): Promise<void> {
    await this.#taking;
    const sent = this.#sent;
    this.#sent = undefined;
    await sent?.file.close();
    // An empty file has no pieces.
    if (size === 0) await (await open(join(this.#folder, sentName), "w", 0o600)).close();
    else if (sent?.name !== fileInput(sha256)) throw new TypeError("the file hasn't come");
    const source = await SourceFile.open(this.#folder, sentName);
    if (typeof source === "string") throw new TypeError(source);
    await using file = source;
    if (file.size !== size || digestOf(file, size) !== sha256)
      throw new TypeError("the file isn't the one that was announced: it changed while it was sent");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#taking;
    await this.#sent?.file.close();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

/** One file; afterwards the holder finds the board's own prompt. */
async function transfer(
  { reservation, bootTimeoutMs, cancel, signal: ended, onProgress }: Transferring,
  dialogueFor: (console: Console) => Dialogue<void> | undefined,
): Promise<void> {
  const { console, line } = reservation;
  const dialogue = dialogueFor(console);
  if (!dialogue) throw new TypeError(`a ${console.kind} console can't transfer files`);
  line.skip();
  try {
    const signal = AbortSignal.any([ended, cancel]);
    await reservation.run(console.enter(bootTimeoutMs), { signal });
    await reservation.run(dialogue, { signal, onProgress });
  } catch (error) {
    ended.throwIfAborted();
    if (!cancel.aborted) throw error;
    await reservation.run(console.interrupt(interruptTimeoutMs), { signal: ended });
    throw new TypeError("cancelled");
  } finally {
    if (!ended.aborted) {
      await reservation.leave(ended);
      if (console.handOver !== undefined) await reservation.writer.write(Buffer.from(console.handOver));
    }
  }
}

/** Hex. */
function digestOf(file: { read(offset: number, length: number): Uint8Array }, size: number): string {
  const hash = createHash("sha256");
  for (let at = 0; at < size; at += 1024 * 1024) hash.update(file.read(at, 1024 * 1024));
  return hash.digest("hex");
}
