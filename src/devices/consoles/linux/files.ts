/** Files to and from a Linux board. Only damaged parts are sent again, and a copy that was cut off is resumed. */
import { shellQuoted } from "#/lib/text.ts";
import { BoardFailure, TransferError } from "../../errors.ts";
import type { Sink, Source } from "../console.ts";
import type { Dialogue } from "../dialogue.ts";
import { type ChecksumProgram, checksum, checksumPrograms, newChecksum } from "./checksum.ts";
import { unitBytes } from "./framing.ts";
import { damagedBlocks, flush, progressTimeoutMs, type Session } from "./session.ts";
import { Transfer } from "./transfer.ts";

/** Blocks are multiples of this: whole units, and whole groups of base64. */
const minBlockBytes = 192;
const maxBlockBytes = 12_288;
const firstBlockBytes = 1536;
/** Of a line before encoding. Several encoded lines have to fit a terminal's buffer. */
const minLineBytes = 48;
const maxLineBytes = 768;
/** Blocks on their way. */
const maxPending = 3;
/** How often wrong ranges are sent again after a wrong digest. */
const maxRounds = 3;
/** Without an answer for this long, our program may be gone. */
const reviveAfterMs = 10_000;
const chunkBytes = 65_536;

interface Block {
  readonly offset: number;
  readonly length: number;
  readonly sentAt: number;
}

/** From and to, in bytes. */
type Range = [number, number];

/**
 * Writes to a partial file beside the target, and renames it once its digest is right. What an earlier attempt left in the partial
 * file is kept as far as it matches.
 * @throws TransferError; BoardFailure
 */
export function* putFile(session: Session, file: Source, to: string): Dialogue<void> {
  yield { kind: "progress", done: 0, total: file.size };
  const partialSize = yield* openPartial(session, to, file.size);
  let missing = yield* missingRanges(session, file, partialSize);
  for (let round = 0; round < maxRounds; round++) {
    yield* new Upload(session, file, missing).run();
    const { program, digest } = yield* digestOnBoard(session, "p", file.size);
    const sum = newChecksum(program);
    for (let at = 0; at < file.size; at += chunkBytes) sum.update(file.read(at, chunkBytes));
    if (digest === sum.digest()) {
      const moved = yield* session.execute(`mv -f "$(cat "$T/part")" ${shellQuoted(to)}`, workMs(file.size));
      if (moved.code !== 0) throw cannotWrite(to, moved.output);
      return;
    }
    missing = yield* missingRanges(session, file, file.size);
  }
  throw new BoardFailure("noise", `${to} arrives on the board with a wrong digest, again and again`);
}

/** Links `p` to the partial file. @returns its size */
function* openPartial(session: Session, to: string, size: number): Dialogue<number> {
  const { code, output } = yield* session.execute(`F=${shellQuoted(to)}
case $F in /*);;*)F=$PWD/$F;;esac
[ ! -d "$F" ]||{ echo it is a folder;exit 1;}
P=\${F%/*}/.\${F##*/}.labgear-part
: >>"$P"||exit 1
printf %s "$P" >"$T/part"
rm -f "$T/p";ln -s "$P" "$T/p"||exit 1
[ $(wc -c <"$P") -le ${size} ]||dd if=/dev/null of="$P" bs=1 seek=${size} 2>/dev/null
echo "size:"$(wc -c <"$P")`);
  const found = /size:(\d+)/.exec(output);
  if (code !== 0 || !found) throw cannotWrite(to, output);
  return Number(found[1]);
}

function cannotWrite(to: string, output: string): TransferError {
  return new TransferError(`can't write ${to} on the board: ${output.trim()}`);
}

/** The ranges of the file that differ on the board. @param partialSize of the file there */
function* missingRanges(session: Session, file: Source, partialSize: number): Dialogue<Range[]> {
  const step = rangeBytes(file.size);
  const isShort = partialSize < step && partialSize < file.size;
  const sums = isShort ? [] : yield* rangeSums(session, "p", Math.min(partialSize, file.size), step);
  const missing: Range[] = [];
  for (let from = 0, index = 0; from < file.size; from += step, index++) {
    const bytes = file.read(from, Math.min(step, file.size - from));
    if (sums[index] !== checksum(session.link.sum, bytes)) missing.push([from, from + bytes.length]);
  }
  return missing;
}

/** Sends ranges of a file in blocks, several at once. */
class Upload {
  readonly #session: Session;
  readonly #file: Source;
  readonly #left: Range[];
  readonly #pending = new Map<string, Block>();
  #blockBytes = firstBlockBytes;
  #lineBytes = maxLineBytes;
  #done: number;
  #anyDamaged = false;
  /** Bytes a second, measured by the blocks that arrived. Starts with a low guess. */
  #rate = 700;

  constructor(session: Session, file: Source, missing: readonly Range[]) {
    this.#session = session;
    this.#file = file;
    this.#left = [...missing];
    this.#done = file.size - missing.reduce((sum, [from, to]) => sum + to - from, 0);
  }

  *run(): Dialogue<void> {
    const { board, revive } = this.#session.link;
    let progress = board.now;
    let answered = board.now;
    /** When something was last sent or answered. */
    let latest = board.now;
    let text = "";
    while (this.#left.length > 0 || this.#pending.size > 0) {
      while (this.#pending.size < maxPending && this.#left.length > 0) {
        text += yield* this.#sendNext();
        latest = board.now;
      }
      const waitMs = latest + this.#pendingTimeoutMs() - board.now;
      for (const answer of yield* this.#session.listen(Math.max(0, waitMs), text)) {
        const block = this.#pending.get(answer.token);
        if (!block || answer.kind !== "words") continue;
        const [word = ""] = answer.words;
        answered = board.now;
        latest = board.now;
        if (word === "ok") progress = board.now;
        yield* this.#settle(answer.token, block, word);
      }
      text = "";
      if (answered > progress && answered - progress > progressTimeoutMs) throw damagedBlocks();
      if (board.now - latest < this.#pendingTimeoutMs()) continue;
      this.#slowDown();
      if (board.now - answered > progressTimeoutMs)
        throw new BoardFailure("silent", "the board stopped answering in the middle of the file");
      if (board.now - answered > reviveAfterMs) yield* revive();
      yield* board.send(flush);
      for (const [token, block] of this.#pending) text += yield* this.#complete(token, block);
      latest = board.now;
    }
  }

  *#sendNext(): Dialogue<string> {
    const next = this.#left[0];
    if (!next) return "";
    const [from, to] = next;
    const bytes = this.#file.read(from, Math.min(this.#blockBytes, to - from));
    if (from + bytes.length >= to || bytes.length === 0) this.#left.shift();
    else next[0] = from + bytes.length;
    const { token: newToken, board } = this.#session.link;
    const token = newToken();
    const block = { offset: from, length: bytes.length, sentAt: board.now };
    this.#pending.set(token, block);
    const text = yield* this.#session.sendBlock(token, bytes, this.#lineBytes);
    return text + (yield* this.#complete(token, block));
  }

  /** Sends the request that completes the block. */
  *#complete(token: string, { offset, length }: Block): Dialogue<string> {
    const sum = checksum(this.#session.link.sum, this.#file.read(offset, length));
    return yield* this.#session.send("e", token, ["p", offset / unitBytes, sum, 0]);
  }

  *#settle(token: string, block: Block, word: string): Dialogue<void> {
    if (word === "full")
      throw new TransferError("the board has no room for the file, or its folder has become read-only");
    const { now } = this.#session.link.board;
    if (word === "bad") {
      this.#pending.delete(token);
      this.#left.unshift([block.offset, block.offset + block.length]);
      return this.#slowDown();
    }
    if (word !== "ok") return;
    const sample = (this.#pendingBytes * 1000) / Math.max(1, now - block.sentAt);
    this.#rate = this.#rate * 0.7 + 0.3 * sample;
    this.#pending.delete(token);
    this.#done += block.length;
    yield { kind: "progress", done: this.#done, total: this.#file.size };
    this.#speedUp();
    // Answers come in order, so those of earlier blocks were lost.
    for (const [earlier, other] of this.#pending) {
      if (other.sentAt < block.sentAt) yield* this.#complete(earlier, other);
    }
  }

  #slowDown(): void {
    this.#anyDamaged = true;
    const blocks = Math.floor(this.#blockBytes / 2 / minBlockBytes);
    this.#blockBytes = minBlockBytes * Math.max(1, blocks);
    this.#lineBytes = Math.max(minLineBytes, Math.min(this.#lineBytes, this.#blockBytes) / 2);
  }

  /** A block takes about a second at most, so a damaged one costs no more than that. */
  #speedUp(): void {
    const bytesInSecond = Math.floor(this.#rate / minBlockBytes) * minBlockBytes;
    const most = Math.max(firstBlockBytes, Math.min(maxBlockBytes, bytesInSecond));
    this.#blockBytes = Math.min(most, this.#blockBytes + (this.#anyDamaged ? 1 : 4) * minBlockBytes);
    this.#lineBytes = Math.min(maxLineBytes, this.#lineBytes * 2);
  }

  get #pendingBytes(): number {
    return [...this.#pending.values()].reduce((sum, { length }) => sum + length, 0);
  }

  /** How long the blocks on their way may take. */
  #pendingTimeoutMs(): number {
    return 1500 + Math.min(30_000, (this.#pendingBytes * 3000) / this.#rate);
  }
}

/** @throws TransferError; BoardFailure */
export function* getFile(session: Session, from: string, sink: Sink): Dialogue<void> {
  const { code, output } = yield* session.execute(`F=${shellQuoted(from)}
case $F in /*);;*)F=$PWD/$F;;esac
[ -f "$F" ]||{ echo there is no such file;exit 1;}
rm -f "$T/g";ln -s "$F" "$T/g"&&x=$(wc -c <"$F")&&echo "size:"$x`);
  const size = Number(/size:(\d+)/.exec(output)?.[1]);
  if (code !== 0 || Number.isNaN(size))
    throw new TransferError(`can't read ${from} on the board: ${output.trim()}`);
  yield* keepMatching(session, sink, size);
  const begin = sink.size;
  yield { kind: "progress", done: begin, total: size };
  const transfer = new Transfer(function* (bytes) {
    sink.append(bytes);
    yield { kind: "progress", done: Math.min(size, sink.size), total: size };
  }, begin / unitBytes);
  const changed = () => new TransferError(`${from} changed on the board during the copy`);
  const { board } = session.link;
  let progress = board.now;
  while (begin + transfer.received < size) {
    const before = transfer.received;
    const [word, unit, now] = yield* session.ask("g", transfer.request(), (frame) => transfer.take(frame), {
      retry: () => transfer.retry(),
    });
    if (word === "full") throw session.noRoom();
    if (word === "unread") throw new TransferError(`the board can't read ${from}`);
    if (transfer.received > before) progress = board.now;
    else if (board.now - progress > progressTimeoutMs)
      throw new BoardFailure("noise", `the board answers, but ${from} doesn't arrive undamaged`);
    if (Number(now) !== size) throw changed();
    transfer.settleFile(Number(unit), size);
  }
  const { program, digest } = yield* digestOnBoard(session, "g", size);
  const sum = newChecksum(program);
  for (let at = 0; at < sink.size; at += chunkBytes) sum.update(sink.read(at, chunkBytes));
  if (sink.size !== size || sum.digest() !== digest) throw changed();
}

/** Truncates the sink to what matches the file. */
function* keepMatching(session: Session, sink: Sink, size: number): Dialogue<void> {
  const step = rangeBytes(size);
  const ranges = Math.floor(Math.min(sink.size, size) / step);
  if (ranges === 0) return sink.truncate(0);
  const sums = yield* rangeSums(session, "g", ranges * step, step);
  let matching = 0;
  while (matching < ranges && sums[matching] === checksum(session.link.sum, sink.read(matching * step, step)))
    matching++;
  sink.truncate(matching * step);
}

/** How long a board with a slow card may take to read so many bytes. */
function workMs(size: number): number {
  return 10_000 + size / 500;
}

/** The length of a file's ranges: a multiple of 64 KiB, so that there are at most 128. */
function rangeBytes(size: number): number {
  return chunkBytes * Math.max(1, Math.ceil(size / chunkBytes / 128));
}

/**
 * The digest by the strongest program that the board has.
 * @param link a link in our folder on the board
 */
function* digestOnBoard(
  session: Session,
  link: string,
  size: number,
): Dialogue<{ program: ChecksumProgram; digest: string }> {
  const strongest = ["sha256sum", "sha512sum", "sha1sum", "md5sum", "cksum"];
  const { output } = yield* session.execute(
    `for S in ${strongest.join(" ")};do $S </dev/null >/dev/null 2>&1&&break;done
x=$($S <"$T/${link}");echo "digest:$S:\${x%% *}:"`,
    workMs(size),
  );
  const [, name, digest = ""] = /digest:(\w+):(\w+):/.exec(output) ?? [];
  const program = checksumPrograms.find((known) => known === name);
  if (!program) throw new TransferError(`the board can't read the file: ${output.trim()}`);
  return { program, digest };
}

/** The checksums of the ranges. The last range may be short. */
function* rangeSums(session: Session, link: string, size: number, step: number): Dialogue<string[]> {
  const count = Math.ceil(size / step);
  const chunks = step / chunkBytes;
  const { output } = yield* session.execute(
    `i=0;while [ $i -lt ${count} ];do
x=$(dd if="$T/${link}" bs=${chunkBytes} skip=$((i*${chunks})) count=${chunks} 2>/dev/null|$C);echo "\${x%% *}";i=$((i+1));done`,
    workMs(size),
  );
  return output.trim().split("\n");
}
