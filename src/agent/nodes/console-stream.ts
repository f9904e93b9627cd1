/**
 * The console as WORK_DATA packets for a client that asked with LABGEAR_STREAM=1: at most 20 a second, 64 KiB each, and the rest
 * at the end without a pause. It follows the file, so it never slows the build; a client that falls behind misses a piece, and
 * sees by the offsets which one.
 */
import { open } from "node:fs/promises";
import type { ConsoleLog } from "#/builds/console/log.ts";

/** Only a flood meets it: the first line after a pause goes out at once. */
const packetIntervalMs = 50;
/** Of a packet's JSON object. */
const maxPacketBytes = 64 * 1024;
/** Of the text in it; the rest is for the keys and the offset. */
const maxTextBytes = maxPacketBytes - 64;
/** How far the stream may fall behind: the build's ending waits until that is sent. */
const maxLagBytes = 16 * maxPacketBytes;
/** The same for a stopped build, whose ending goes out at once, and when the rest takes too long. */
const maxHurriedLagBytes = maxPacketBytes / 2;
/** How long the line may take for what is left when the console is closed: the executor's next job waits for it, too. */
const restTimeoutMs = 1000;

/** The clients that the stream goes to. */
export interface StreamTarget {
  readonly isAttached: boolean;
  /** Resolves when a client is attached. */
  attached(): Promise<void>;
  /**
   * Resolves when more can be sent without piling up.
   * @param offset where in the console the text begins, in bytes
   */
  output(text: string, offset: number): Promise<void>;
}

/**
 * Streams a console until it is closed and all of it is sent, or no client is left.
 * @param stopped the build's: after its abort only the end of the console is sent
 */
export async function streamConsole(
  console: ConsoleLog,
  target: StreamTarget,
  stopped: AbortSignal,
): Promise<void> {
  await using file = await open(console.file, "r");
  const buffer = Buffer.alloc(maxPacketBytes);
  let sent = Number.NEGATIVE_INFINITY;
  let restMs = 0;
  let at = 0;
  /** The size up to which there is nothing to send: `at`, or behind the beginning of a character. */
  let seen = 0;
  for (;;) {
    await console.changed.until(() => console.size > seen || console.closed);
    if (console.closed && at >= console.size) return;
    // Before the read, so that the packet has everything that came meanwhile.
    if (!console.closed) await reached(sent + packetIntervalMs);
    if (!(await listens(console, target))) return;
    // Before the read, so that what was written before the close is sure to be sent.
    const { closed, size } = console;
    const hurried = stopped.aborted || restMs > restTimeoutMs;
    const from = Math.max(at, size - (hurried ? maxHurriedLagBytes : maxLagBytes));
    const { bytesRead } = await file.read(buffer, 0, maxPacketBytes, from);
    const bytes = buffer.subarray(0, bytesRead);
    const skipped = from > at ? cutCharacter(bytes) : 0;
    const piece = fitting(bytes.subarray(skipped), closed && from + bytesRead === size);
    if (piece.length > 0) {
      const begun = performance.now();
      await target.output(piece.toString("utf8"), from + skipped);
      sent = performance.now();
      if (closed) restMs += sent - begun;
      at = from + skipped + piece.length;
      seen = at;
    } else if (closed) return;
    else seen = size;
  }
}

/** Waits for a client, at most until the console is closed: the build's end doesn't wait for the stream. */
async function listens(console: ConsoleLog, target: StreamTarget): Promise<boolean> {
  if (!target.isAttached && !console.closed) {
    const waiting = new AbortController();
    const closed = console.changed.until(() => console.closed, waiting.signal).catch(() => {});
    await Promise.race([target.attached(), closed]);
    waiting.abort();
  }
  return target.isAttached;
}

/**
 * Limits the rate of packets: nothing else says when the next one may go out. A timer counts whole milliseconds from the start of
 * its turn of the event loop, so it can fire up to two early.
 * @param time by performance.now()
 */
async function reached(time: number): Promise<void> {
  for (let ms = time - performance.now(); ms > 0; ms = time - performance.now())
    await new Promise((resolve) => setTimeout(resolve, Math.ceil(ms)));
}

/** As many bytes as fit a packet as JSON, up to the end of a character. */
function fitting(bytes: Buffer, last: boolean): Buffer {
  let piece = last ? bytes : wholeCharacters(bytes);
  for (;;) {
    const length = Buffer.byteLength(JSON.stringify(piece.toString("utf8")));
    if (length <= maxTextBytes) return piece;
    // Most output is alike throughout, so a few rounds find the share that fits.
    piece = wholeCharacters(piece.subarray(0, Math.floor((piece.length * maxTextBytes) / length)));
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
