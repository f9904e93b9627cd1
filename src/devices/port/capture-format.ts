/** The file that keeps both directions of a serial line, byte for byte, with the times: how it is written and read. Pure. */

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
