/**
 * The format of a capture: what went over a serial line in both directions, byte for byte and with its times. Pure.
 */

/** The capture of a build, in the build's folder. */
export const captureFile = "serial.capture";

export interface CaptureRecord {
  readonly kind: "received" | "sent" | "note";
  /** Milliseconds since the capture began. */
  readonly at: number;
  /** UTF-8 for a note. */
  readonly bytes: Uint8Array;
}

const signs = { received: "<", sent: ">", note: "#" } as const;
const kinds = new Map(
  Object.entries(signs).map(([kind, sign]) => [sign as string, kind as CaptureRecord["kind"]]),
);
const magic = "labgear capture 1\n";
const maxHeadBytes = 4096;
/** Sign, time, length. */
const recordHeadBytes = 9;
/** Of one record, without its head. */
const maxRecordBytes = 64 * 1024;

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

/** As one record, or as several if there are many bytes. */
export function encodeRecord({ kind, at, bytes }: CaptureRecord): Buffer[] {
  const parts: Buffer[] = [];
  for (let from = 0; from < bytes.length || from === 0; from += maxRecordBytes) {
    const part = bytes.subarray(from, from + maxRecordBytes);
    const record = Buffer.allocUnsafe(recordHeadBytes + part.length);
    record.write(signs[kind], 0, "latin1");
    record.writeUInt32BE(Math.max(0, Math.min(0xffffffff, Math.round(at))), 1);
    record.writeUInt32BE(part.length, 5);
    record.set(part, recordHeadBytes);
    parts.push(record);
  }
  return parts;
}

/**
 * Parses a capture that comes in pieces of any size.
 * @internal
 */
export class CaptureParser {
  #rest: Buffer = Buffer.alloc(0);
  #began: number | undefined;

  /** Unix milliseconds; undefined until the head is read. */
  get began(): number | undefined {
    return this.#began;
  }

  /** How many bytes at the end are no complete record. */
  get pending(): number {
    return this.#rest.length;
  }

  /** @throws TypeError if the data is no capture, or a damaged one */
  *push(piece: Uint8Array): Generator<CaptureRecord> {
    let data: Buffer = Buffer.concat([this.#rest, piece]);
    if (this.#began === undefined) data = this.#readHead(data);
    this.#rest = data;
    while (this.#began !== undefined && this.#rest.length >= recordHeadBytes) {
      const length = this.#rest.readUInt32BE(5);
      const kind = kinds.get(this.#rest.toString("latin1", 0, 1));
      if (kind === undefined || length > maxRecordBytes) throw new TypeError("the capture is damaged");
      if (this.#rest.length < recordHeadBytes + length) return;
      const record = this.#rest.subarray(0, recordHeadBytes + length);
      this.#rest = this.#rest.subarray(record.length);
      yield { kind, at: record.readUInt32BE(1), bytes: record.subarray(recordHeadBytes) };
    }
  }

  /** @returns what follows the head; all of the data while the head is incomplete */
  #readHead(data: Buffer): Buffer {
    const end = data.indexOf("\n---\n");
    const head = data.toString("latin1", 0, end < 0 ? data.length : end);
    const isCapture = head.startsWith(magic.slice(0, head.length));
    if (!isCapture || (end < 0 && data.length > maxHeadBytes))
      throw new TypeError("this is no capture of labgear's");
    if (end < 0) return data;
    this.#began = Date.parse(/^began (.*)$/m.exec(head)?.[1] ?? "");
    return data.subarray(end + 5);
  }
}

/** A record as a reader sees it. */
export interface CaptureEntry extends CaptureRecord {
  /** Unix milliseconds. */
  readonly time: number;
}

/** @throws TypeError if the bytes are no capture, or a damaged one. A record that the end cuts off is left out. */
export async function* readCapture(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<CaptureEntry> {
  const parser = new CaptureParser();
  for await (const piece of bytes)
    for (const record of parser.push(piece)) yield { ...record, time: (parser.began ?? 0) + record.at };
}
