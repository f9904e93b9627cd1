/** Keeps what goes over a port in a file, and reads such a file. */
import { createReadStream } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import type { Port } from "./port.ts";
import type { Chunk } from "./ring.ts";

/** Milliseconds count from the beginning that the head tells. */
export interface CaptureRecord {
  readonly kind: "received" | "sent" | "note";
  readonly at: number;
  /** A note's are UTF-8. */
  readonly bytes: Uint8Array;
}

const signs = { received: "<", sent: ">", note: "#" } as const;
const magic = "labgear capture 1\n";
/** Sign, time, length. */
const recordHead = 9;
/** Bytes of one record. */
const mostBytes = 64 * 1024;
const longestHead = 4096;

/** @param began Unix milliseconds */
export function encodeHead(began: number): Buffer {
  return Buffer.from(`${magic}began ${new Date(began).toISOString()}

Both directions of a serial line, byte for byte. Records follow the line of three dashes, each of:
  1 byte    "<" from the board, ">" to the board, "#" a note (UTF-8)
  4 bytes   milliseconds since the beginning, unsigned, the highest byte first
  4 bytes   how many bytes follow, unsigned, the highest byte first
  the bytes
A record that the end of the file cuts off was being written when the agent ended.
---
`);
}

/** As one record, or as several when there are many bytes. */
export function encodeRecord({ kind, at, bytes }: CaptureRecord): Buffer[] {
  const parts: Buffer[] = [];
  for (let from = 0; from < bytes.length || from === 0; from += mostBytes) {
    const part = bytes.subarray(from, from + mostBytes);
    const record = Buffer.allocUnsafe(recordHead + part.length);
    record.write(signs[kind], 0, "latin1");
    record.writeUInt32BE(Math.max(0, Math.min(0xffffffff, Math.round(at))), 1);
    record.writeUInt32BE(part.length, 5);
    record.set(part, recordHead);
    parts.push(record);
  }
  return parts;
}

/** Reads a capture in pieces of any size. */
export class CaptureParser {
  #rest: Buffer = Buffer.alloc(0);
  #began: number | undefined;

  /** Unix milliseconds; undefined until the head was read. */
  get began(): number | undefined {
    return this.#began;
  }

  /** How many bytes at the end are no whole record. */
  get pending(): number {
    return this.#rest.length;
  }

  /** @throws TypeError when it is no capture, or a damaged one */
  *push(piece: Uint8Array): Generator<CaptureRecord> {
    let data: Buffer = Buffer.concat([this.#rest, piece]);
    if (this.#began === undefined) data = this.#readHead(data);
    this.#rest = data;
    while (this.#began !== undefined && this.#rest.length >= recordHead) {
      const length = this.#rest.readUInt32BE(5);
      const kind = kinds.get(this.#rest.toString("latin1", 0, 1));
      if (kind === undefined || length > mostBytes) throw new TypeError("the capture is damaged");
      if (this.#rest.length < recordHead + length) return;
      const record = this.#rest.subarray(0, recordHead + length);
      this.#rest = this.#rest.subarray(record.length);
      yield { kind, at: record.readUInt32BE(1), bytes: record.subarray(recordHead) };
    }
  }

  /** @returns what follows the head, or all when it isn't whole yet */
  #readHead(data: Buffer): Buffer {
    const end = data.indexOf("\n---\n");
    const head = data.toString("latin1", 0, end < 0 ? data.length : end);
    const isOurs = head.startsWith(magic.slice(0, head.length));
    if (!isOurs || (end < 0 && data.length > longestHead))
      throw new TypeError("this is no capture of labgear's");
    if (end < 0) return data;
    this.#began = Date.parse(/^began (.*)$/m.exec(head)?.[1] ?? "");
    return data.subarray(end + 5);
  }
}

const kinds = new Map(
  Object.entries(signs).map(([kind, sign]) => [sign as string, kind as CaptureRecord["kind"]]),
);

/** Bytes of a file, at most. */
const defaultMost = 64 * 1024 * 1024;
/** Bytes that wait for the disk, at most: more than that is left out, and a note says how much. */
const mostWaiting = 4 * 1024 * 1024;

export interface CaptureOptions {
  /** Bytes of the file, at most; then a last note says so. */
  readonly most?: number;
}

/** Disposing writes what waits and closes the file. */
export interface Capture extends AsyncDisposable {
  /** A remark among the bytes, with its time. */
  note(text: string): void;
}

/**
 * Captures both directions of a port into a new file until it is disposed of. Each record is appended whole, so a crash costs
 * the last ones at most. What the disk doesn't take in time, or at all, is left out: the port never waits.
 *
 * @param from what came since this offset, as far as the ring has it
 */
export async function openCapture(
  path: string,
  port: Port,
  from = port.ring.end,
  { most = defaultMost }: CaptureOptions = {},
): Promise<Capture> {
  const began = port.ring.read(from)?.at ?? Date.now();
  const file = await open(path, "wx", 0o640);
  const recorder = new Recorder(file, began, most);
  for (let chunk = port.ring.read(from); chunk; chunk = port.ring.read(chunk.offset + chunk.bytes.length))
    recorder.take("received", chunk);
  const received = (chunk: Chunk) => recorder.take("received", chunk);
  const sent = (chunk: Chunk) => recorder.take("sent", chunk);
  const state = () => recorder.note(`the port is ${port.state.kind}`);
  port.on("data", received).on("sent", sent).on("state", state);
  return {
    note: (text) => recorder.note(text),
    async [Symbol.asyncDispose]() {
      port.off("data", received).off("sent", sent).off("state", state);
      await recorder.close();
    },
  };
}

/** @throws TypeError when the file is no capture, or a damaged one. A record that the end cuts off is left out. */
export async function* readCapture(path: string): AsyncGenerator<CaptureRecord> {
  const parser = new CaptureParser();
  for await (const piece of createReadStream(path)) yield* parser.push(piece as Buffer);
}

class Recorder {
  readonly #file: FileHandle;
  readonly #began: number;
  readonly #most: number;
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #bytes = 0;
  /** Bytes that had to be left out since the last record. */
  #missed = 0;
  #state: "open" | "full" | "failed" | "closed" = "open";
  #writing: Promise<void> | undefined;

  constructor(file: FileHandle, began: number, most: number) {
    this.#file = file;
    this.#began = began;
    this.#most = most;
    this.#push([encodeHead(began)]);
  }

  take(kind: CaptureRecord["kind"], { at, bytes }: Omit<Chunk, "offset">): void {
    if (this.#state !== "open") return;
    if (this.#waitingBytes + bytes.length > mostWaiting) {
      this.#missed += bytes.length;
      return;
    }
    if (this.#bytes + bytes.length > this.#most) {
      this.#record("note", Date.now(), Buffer.from("the capture is full: what follows is missing"));
      this.#state = "full";
      return;
    }
    if (this.#missed > 0) {
      const text = `${this.#missed} bytes are missing here: the disk was too slow`;
      this.#missed = 0;
      this.#record("note", at, Buffer.from(text));
    }
    this.#record(kind, at, bytes);
  }

  note(text: string): void {
    this.take("note", { at: Date.now(), bytes: Buffer.from(text) });
  }

  async close(): Promise<void> {
    if (this.#state === "closed") return;
    if (this.#state === "open" && this.#missed > 0) this.note("end");
    this.#state = "closed";
    await this.#writing;
    await this.#file.close();
  }

  #record(kind: CaptureRecord["kind"], at: number, bytes: Uint8Array): void {
    this.#push(encodeRecord({ kind, at: at - this.#began, bytes }));
  }

  #push(parts: Buffer[]): void {
    for (const part of parts) {
      this.#waiting.push(part);
      this.#waitingBytes += part.length;
      this.#bytes += part.length;
    }
    this.#writing ??= this.#write().finally(() => {
      this.#writing = undefined;
    });
  }

  async #write(): Promise<void> {
    // What comes in the same turn goes along.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const data = Buffer.concat(this.#waiting);
      this.#waiting = [];
      try {
        await this.#file.appendFile(data);
      } catch {
        // A full disk: the capture is an aid, and the build goes on without the rest of it.
        this.#state = "failed";
        this.#waiting = [];
      }
      this.#waitingBytes -= data.length;
    }
  }
}
