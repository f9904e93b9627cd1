/**
 * The console as WORK_DATA packets for a client that asked with LABGEAR_STREAM=1: at most 4 a second, 64 KiB each.
 * It follows the file, so a build is never held back; a client that is left behind misses a piece, and sees by the
 * offsets which one.
 */
import { open } from "node:fs/promises";
import type { ConsoleLog } from "#/builds/console/log.ts";

const interval = 250;
/** Of a packet's object as JSON, in bytes. */
const packetSize = 64 * 1024;
/** What of it the text may take; the rest is for the keys and the offset. */
const textSize = packetSize - 64;
/**
 * How far the stream may lag, in bytes: four seconds' worth of plain text, which the build's end waits for. Control
 * characters take six times the room as JSON, and so the time.
 */
const maxLag = 16 * packetSize;

/** Where the stream goes to. */
export interface StreamLine {
  /** True while somebody listens. */
  readonly isAttached: boolean;
  /** Resolves when somebody listens. */
  attached(): Promise<void>;
  /**
   * Resolves when more can be sent without piling up.
   * @param offset where in the console the text begins, in bytes
   */
  output(text: string, offset: number): Promise<void>;
}

/** Streams a console until it is closed and all of it is sent, or nobody is left to send it to. */
export async function streamConsole(console: ConsoleLog, line: StreamLine): Promise<void> {
  await using file = await open(console.file, "r");
  const buffer = Buffer.alloc(packetSize);
  let sent = Number.NEGATIVE_INFINITY;
  let at = 0;
  /** The size up to which there is nothing to send: `at`, or behind the beginning of a character. */
  let seen = 0;
  for (;;) {
    await console.changed.until(() => console.size > seen || console.closed);
    if (console.closed && at >= console.size) return;
    // Before the read, so that the packet has all that came meanwhile.
    await delay(sent + interval - performance.now());
    if (!(await listens(console, line))) return;
    // Asked before the read: what was written before the close is then sure to be sent.
    const { closed, size } = console;
    const from = Math.max(at, size - maxLag);
    const { bytesRead } = await file.read(buffer, 0, packetSize, from);
    const bytes = buffer.subarray(0, bytesRead);
    const skipped = from > at ? cutCharacter(bytes) : 0;
    const piece = fitting(bytes.subarray(skipped), closed && from + bytesRead === size);
    if (piece.length > 0) {
      await line.output(piece.toString("utf8"), from + skipped);
      sent = performance.now();
      at = from + skipped + piece.length;
      seen = at;
    } else if (closed) return;
    else seen = size;
  }
}

/** Waits for somebody to listen, at most until the console is closed: the end isn't held up for the stream. */
async function listens(console: ConsoleLog, line: StreamLine): Promise<boolean> {
  if (!line.isAttached && !console.closed) {
    const waiting = new AbortController();
    const closed = console.changed.until(() => console.closed, waiting.signal).catch(() => {});
    await Promise.race([line.attached(), closed]);
    waiting.abort();
  }
  return line.isAttached;
}

/** The rate's limit: the packets' distance is the contract's, there is nothing to wait for instead. */
function delay(ms: number): Promise<void> | undefined {
  return ms > 0 ? new Promise((resolve) => setTimeout(resolve, ms)) : undefined;
}

/** As much of the bytes as ends on a whole character and fits a packet once it is written as JSON. */
function fitting(bytes: Buffer, last: boolean): Buffer {
  let piece = last ? bytes : wholeCharacters(bytes);
  for (;;) {
    const length = Buffer.byteLength(JSON.stringify(piece.toString("utf8")));
    if (length <= textSize) return piece;
    // Output is much alike throughout, so the share that fits is found in few rounds.
    piece = wholeCharacters(piece.subarray(0, Math.floor((piece.length * textSize) / length)));
  }
}

/** The bytes without a UTF-8 sequence that is cut at their end; a sequence is 4 bytes at most. */
function wholeCharacters(bytes: Buffer): Buffer {
  for (let back = 1; back <= Math.min(4, bytes.length); back++) {
    const byte = bytes[bytes.length - back] ?? 0;
    if (isContinuation(byte)) continue;
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return length > back ? bytes.subarray(0, bytes.length - back) : bytes;
  }
  return bytes;
}

/** How many bytes at the beginning are the rest of a UTF-8 sequence. */
function cutCharacter(bytes: Buffer): number {
  const start = bytes.subarray(0, 4).findIndex((byte) => !isContinuation(byte));
  // Four of them are no sequence's.
  return Math.max(0, start);
}

function isContinuation(byte: number): boolean {
  return (byte & 0xc0) === 0x80;
}
