/** Turns a peer's bytes, in whatever pieces they arrive, into packets and lines of the admin text protocol. */
import { GearmanError } from "./errors.ts";
import { decodeData, defaultMaxPacket, headerSize, type Magic, type Packet } from "./packet.ts";

/** One line of the admin text protocol, without its line end. `"line" in item` tells it from a packet. */
export interface TextLine {
  readonly line: string;
}

export interface ParserOptions {
  /** The magic that the peer has to send. */
  readonly magic: Magic;
  /** The maximum size of a packet's data, in bytes. */
  readonly maxPacket?: number;
  /** Accept text lines too: an item that doesn't begin with NUL is one. */
  readonly text?: boolean;
  /** The maximum length of a text line, in bytes. */
  readonly maxLine?: number;
}

const newline = 0x0a;

/**
 * What is being read:
 *
 *     ┌──> item ──NUL──> header ──12 bytes──> data ──┐
 *     │     └───other──> line ──newline──┐           │ its size
 *     └──────────────────────────────────┴───────────┘
 *     anything wrong: broken, for good
 */
type State =
  | { readonly kind: "item" }
  | { readonly kind: "header"; readonly bytes: Collector }
  | { readonly kind: "data"; readonly number: number; readonly bytes: Collector }
  | { readonly kind: "line"; readonly bytes: Collector }
  | { readonly kind: "broken"; readonly error: GearmanError };

/**
 * The parser of one connection. It buffers at most one unfinished item, and refuses a packet by the size in its header
 * before it takes any of its data. Source: PROTOCOL of gearmand, "Binary Packet" and "Administrative Protocol".
 */
export class PacketParser {
  readonly #magic: Magic;
  readonly #prefix: Buffer;
  readonly #maxPacket: number;
  readonly #maxLine: number;
  readonly #text: boolean;
  #state: State = { kind: "item" };

  constructor(options: ParserOptions) {
    this.#magic = options.magic;
    this.#prefix = Buffer.from(`\0${options.magic}`, "latin1");
    this.#maxPacket = options.maxPacket ?? defaultMaxPacket;
    this.#maxLine = options.maxLine ?? 64 * 1024;
    this.#text = options.text ?? false;
  }

  /**
   * The items that these bytes complete, in order. The bytes of an unfinished one are copied and kept for the next call.
   * Iterate to the end.
   * @throws GearmanError GARBAGE or TOO_LARGE after the items that came before; then at each later call
   */
  *push(chunk: Buffer): Generator<Packet | TextLine, void, undefined> {
    let rest = chunk;
    try {
      while (rest.length > 0) {
        const [taken, item] = this.#step(rest);
        rest = rest.subarray(taken);
        if (item) yield item;
      }
    } catch (error) {
      if (error instanceof GearmanError) this.#state = { kind: "broken", error };
      throw error;
    }
  }

  /** True between two items: nothing unfinished is buffered. */
  get idle(): boolean {
    return this.#state.kind === "item";
  }

  /** Consumes some bytes of a chunk that isn't empty; returns how many, and the item they complete. */
  #step(chunk: Buffer): [taken: number, item?: Packet | TextLine | undefined] {
    const state = this.#state;
    switch (state.kind) {
      case "item":
        this.#state = this.#begin(chunk);
        return [0];
      case "header": {
        const taken = state.bytes.take(chunk);
        this.#checkMagic(state.bytes.view(), chunk.subarray(taken));
        if (state.bytes.length < headerSize) return [taken];
        return [taken, this.#endHeader(state.bytes.view())];
      }
      case "data": {
        const taken = state.bytes.take(chunk);
        if (state.bytes.length < state.bytes.maxLength) return [taken];
        this.#state = { kind: "item" };
        return [taken, decodeData(this.#magic, state.number, state.bytes.view())];
      }
      case "line": {
        const end = chunk.indexOf(newline);
        const length = end < 0 ? chunk.length : end;
        if (state.bytes.length + length > this.#maxLine) {
          throw new GearmanError("TOO_LARGE", `a text line is longer than ${this.#maxLine} bytes`);
        }
        state.bytes.take(chunk.subarray(0, length));
        if (end < 0) return [length];
        this.#state = { kind: "item" };
        return [length + 1, { line: state.bytes.view().toString("utf8").replace(/\r$/, "") }];
      }
      case "broken":
        throw state.error;
    }
  }

  #begin(chunk: Buffer): State {
    const first = chunk[0] ?? 0;
    if (first === 0) return { kind: "header", bytes: new Collector(headerSize) };
    const isControl = first < 0x20 && !(first >= 0x09 && first <= 0x0d);
    if (!this.#text || isControl) throw garbageError(chunk);
    return { kind: "line", bytes: new Collector(this.#maxLine) };
  }

  /**
   * Refuses what can't become a header as early as possible. The other direction's magic is refused only once the type
   * is known: geard tells a client that its worker was lost by a WORK_FAIL with the magic of a request (gear 0.13,
   * Server._lostConnection).
   */
  #checkMagic(header: Buffer, following: Buffer): void {
    const magic = header.toString("latin1", 0, this.#prefix.length);
    const known = magic === "\0REQ" || magic === "\0RES";
    if (header.length === headerSize && known) {
      if (header.subarray(0, magic.length).equals(this.#prefix)) return;
      if (this.#magic === "RES" && header.readUInt32BE(4) === workFail) return;
    } else if ("\0REQ".startsWith(magic) || "\0RES".startsWith(magic)) return;
    throw garbageError(Buffer.concat([header, following.subarray(0, excerptSize)]));
  }

  #endHeader(header: Buffer): Packet | undefined {
    const number = header.readUInt32BE(4);
    const size = header.readUInt32BE(8);
    if (size > this.#maxPacket) {
      const message = `a packet of ${size} bytes is over the limit of ${this.#maxPacket}`;
      throw new GearmanError("TOO_LARGE", message);
    }
    if (size > 0) {
      this.#state = { kind: "data", number, bytes: new Collector(size) };
      return undefined;
    }
    this.#state = { kind: "item" };
    return decodeData(this.#magic, number, Buffer.alloc(0));
  }
}

/** Collects pieces into one buffer. It grows by doubling, so neither many small pieces nor a large announced size cost much. */
class Collector {
  readonly maxLength: number;
  #buffer: Buffer;
  #length = 0;

  constructor(maxLength: number) {
    this.maxLength = maxLength;
    this.#buffer = Buffer.allocUnsafeSlow(Math.min(maxLength, 256));
  }

  get length(): number {
    return this.#length;
  }

  /** Copies bytes of the piece until it is full; returns how many. */
  take(piece: Buffer): number {
    const count = Math.min(piece.length, this.maxLength - this.#length);
    const needed = this.#length + count;
    if (needed > this.#buffer.length) this.#grow(needed);
    piece.copy(this.#buffer, this.#length, 0, count);
    this.#length = needed;
    return count;
  }

  /** The bytes held so far: a view, not a copy. */
  view(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  #grow(needed: number): void {
    const grown = Buffer.allocUnsafeSlow(Math.min(this.maxLength, Math.max(needed, this.#buffer.length * 2)));
    this.#buffer.copy(grown, 0, 0, this.#length);
    this.#buffer = grown;
  }
}

/** The type number of WORK_FAIL. */
const workFail = 14;

const excerptSize = 40;

/** How the peers that people mix up with a Gearman peer begin. */
const otherProtocols: readonly (readonly [prefix: string, explanation: string])[] = [
  ["HTTP/", "the peer speaks HTTP"],
  ["GET ", "the peer speaks HTTP"],
  ["POST ", "the peer speaks HTTP"],
  ["\x16\x03", "the peer speaks TLS (a handshake), this side doesn't"],
  ["\x15\x03", "the peer speaks TLS (an alert): it wants TLS, this side speaks plain text"],
  ["SSH-", "the peer speaks SSH"],
  ["\0REQ", "the peer sends requests: it is a Gearman client or worker, not a job server"],
  ["\0RES", "the peer sends responses: it is a Gearman job server, not a client or worker"],
];

/** An error that shows what arrived in place of Gearman. */
export function garbageError(bytes: Buffer): GearmanError {
  const start = bytes.toString("latin1", 0, excerptSize);
  const [, explanation = "the peer doesn't speak Gearman"] =
    otherProtocols.find(([prefix]) => start.startsWith(prefix)) ?? [];
  return new GearmanError("GARBAGE", `${explanation}: "${printableBytes(bytes, excerptSize)}"`);
}

/** A peer's bytes as one line of printable ASCII, cut after `maxBytes`; all else, quotes and backslashes are escaped. */
export function printableBytes(bytes: Buffer, maxBytes = 200): string {
  const names: Record<string, string> = { "\r": "\\r", "\n": "\\n", "\t": "\\t", '"': '\\"', "\\": "\\\\" };
  const escaped = (char: string) => names[char] ?? `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`;
  const text = bytes.toString("latin1", 0, maxBytes).replace(/[^ -~]|["\\]/g, escaped);
  return bytes.length > maxBytes ? `${text}…` : text;
}
