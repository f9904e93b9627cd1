/**
 * The console as WORK_DATA packets for a client that asked with LABGEAR_STREAM=1: at most 4 a second, 64 KiB each.
 * It follows the file, so a build is never held back; a client that is left behind misses a piece, and sees by the
 * offsets which one.
 */
import { once } from "node:events";
import { open } from "node:fs/promises";
import type { ConsoleLog } from "#/builds/console.ts";
import { consoleChange } from "#/builds/follow.ts";

const interval = 250;
const packetSize = 64 * 1024;
/** How far the stream may lag, in bytes: four seconds' worth, which is also what the build's end waits at most. */
const maxLag = 16 * packetSize;

/** Where the stream goes to. */
export interface StreamLine {
  /** Resolves when somebody listens. */
  attached(): Promise<void>;
  /** @param offset where in the console the text begins, in bytes */
  output(text: string, offset: number): void;
}

/** Streams a console until it is closed and all of it is sent, or nobody is left to send it to. */
export async function streamConsole(console: ConsoleLog, line: StreamLine): Promise<void> {
  await using file = await open(console.file, "r");
  let at = 0;
  let sent = Number.NEGATIVE_INFINITY;
  for (;;) {
    // Asked before the read: what was written before the close is then sure to be sent.
    const { closed, size } = console;
    if (size - at > maxLag) at = size - maxLag;
    const { buffer, bytesRead } = await file.read(Buffer.alloc(packetSize), 0, packetSize, at);
    const piece = fitting(buffer.subarray(0, bytesRead), closed && at + bytesRead === size);
    if (piece.length > 0) {
      await delay(sent + interval - performance.now());
      if (!(await listens(console, line))) return;
      line.output(piece.toString("utf8"), at);
      sent = performance.now();
      at += piece.length;
    } else if (closed) return;
    else await consoleChange(console, size);
  }
}

/** Waits for somebody to listen, at most until the console is closed: the end isn't held up for the stream. */
async function listens(console: ConsoleLog, line: StreamLine): Promise<boolean> {
  const closed = console.closed ? undefined : once(console, "closed").then(() => false);
  return Promise.race([line.attached().then(() => true), closed ?? false]);
}

/** The rate's limit: the packets' distance is the contract's, there is nothing to wait for instead. */
function delay(ms: number): Promise<void> | undefined {
  return ms > 0 ? new Promise((resolve) => setTimeout(resolve, ms)) : undefined;
}

/** As much of the bytes as ends on a whole character and fits a packet once it is written as JSON. */
function fitting(bytes: Buffer, last: boolean): Buffer {
  let piece = last ? bytes : bytes.subarray(0, wholeCharacters(bytes));
  while (Buffer.byteLength(JSON.stringify(piece.toString("utf8"))) > packetSize) {
    const half = piece.subarray(0, piece.length / 2);
    piece = half.subarray(0, wholeCharacters(half));
  }
  return piece;
}

/** How many bytes to take so that the last UTF-8 sequence isn't cut; a sequence is 4 bytes at most. */
function wholeCharacters(bytes: Buffer): number {
  for (let back = 1; back <= Math.min(4, bytes.length); back++) {
    const byte = bytes[bytes.length - back] ?? 0;
    if ((byte & 0xc0) === 0x80) continue;
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return length > back ? bytes.length - back : bytes.length;
  }
  return bytes.length;
}
