/** A file onto a Linux board: blocks with checksums, several under way at once, only damaged ones sent again. */
import { BoardFailure, TransferError } from "../../errors.ts";
import type { Source } from "../console.ts";
import type { Dialogue } from "../dialogue.ts";
import { type ChecksumProgram, checksum, newChecksum } from "./checksum.ts";
import { digestOf, rangeBytes, rangeSums, workTime } from "./digest.ts";
import { unit } from "./framing.ts";
import { flush, quoted, type Session } from "./session.ts";

/** Blocks are multiples of this: whole units, and whole groups of base64. */
const smallestBlock = 192;
const largestBlock = 12_288;
const firstBlock = 1536;
/** Bytes of a line, whose encoding must fit a terminal's buffer several times. */
const smallestLine = 48;
const largestLine = 768;
/** Blocks under way. */
const window = 3;
/** Times that a wrong digest at the end is mended by sending the wrong ranges again. */
const rounds = 3;
const doubt = 10_000;
const patience = 60_000;

interface Block {
  readonly offset: number;
  readonly length: number;
  sent: number;
}

/**
 * Puts the file beside its place, and into it once its digest is right. What an earlier attempt left there is kept as far as it fits.
 * @throws TransferError, BoardFailure
 */
export function* putFile(session: Session, file: Source, to: string): Dialogue<void> {
  yield { kind: "progress", done: 0, total: file.size };
  const there = yield* openPartial(session, to, file.size);
  let missing = yield* differing(session, file, there);
  for (let round = 0; round < rounds; round++) {
    yield* new Sending(session, file, missing).carryOut();
    const digest = yield* digestOf(session, "p", file.size);
    if (digest.digest === sourceDigest(digest.program, file)) {
      const moved = yield* session.execute(`mv -f "$(cat "$T/part")" ${quoted(to)}`, workTime(file.size));
      if (moved.code !== 0)
        throw new TransferError(`${to} can't be written on the board: ${moved.output.trim()}`);
      return;
    }
    missing = yield* differing(session, file, file.size);
  }
  throw new BoardFailure("noise", `${to} arrives on the board with a wrong digest, again and again`);
}

/** Makes the partial file what `p` links to. @returns its size */
function* openPartial(session: Session, to: string, size: number): Dialogue<number> {
  const { code, output } = yield* session.execute(`F=${quoted(to)}
case $F in /*);;*)F=$PWD/$F;;esac
[ ! -d "$F" ]||{ echo it is a folder;exit 1;}
P=\${F%/*}/.\${F##*/}.labgear-part
: >>"$P"||exit 1
printf %s "$P" >"$T/part"
rm -f "$T/p";ln -s "$P" "$T/p"||exit 1
[ $(wc -c <"$P") -le ${size} ]||dd if=/dev/null of="$P" bs=1 seek=${size} 2>/dev/null
echo "size:"$(wc -c <"$P")`);
  const found = /size:(\d+)/.exec(output);
  if (code !== 0 || !found) throw new TransferError(`${to} can't be written on the board: ${output.trim()}`);
  return Number(found[1]);
}

/** The ranges of the file that the board doesn't have. */
function* differing(session: Session, file: Source, there: number): Dialogue<[number, number][]> {
  const range = rangeBytes(file.size);
  const sums =
    there < range && there < file.size ? [] : yield* rangeSums(session, "p", Math.min(there, file.size));
  const missing: [number, number][] = [];
  for (let from = 0, index = 0; from < file.size; from += range, index++) {
    const bytes = file.read(from, Math.min(range, file.size - from));
    if (sums[index] !== checksum(session.link.sum, bytes)) missing.push([from, from + bytes.length]);
  }
  return missing;
}

function sourceDigest(program: ChecksumProgram, file: Source): string {
  const sum = newChecksum(program);
  for (let from = 0; from < file.size; from += 65_536) sum.update(file.read(from, 65_536));
  return sum.digest();
}

class Sending {
  readonly #session: Session;
  readonly #file: Source;
  readonly #left: [number, number][];
  readonly #pending = new Map<string, Block>();
  #block = firstBlock;
  #line = largestLine;
  #done: number;
  /** No block was damaged so far. */
  #clean = true;
  /** Bytes a second, by the blocks that arrived; at first a guess on the slow side. */
  #rate = 700;

  constructor(session: Session, file: Source, missing: readonly [number, number][]) {
    this.#session = session;
    this.#file = file;
    this.#left = [...missing];
    this.#done = file.size - missing.reduce((sum, [from, to]) => sum + to - from, 0);
  }

  *carryOut(): Dialogue<void> {
    const { hearing, revive } = this.#session.link;
    let progress = hearing.now;
    /** When something was last sent or answered. */
    let latest = hearing.now;
    let early = "";
    while (this.#left.length > 0 || this.#pending.size > 0) {
      while (this.#pending.size < window && this.#left.length > 0) {
        early += yield* this.#sendNext();
        latest = hearing.now;
      }
      const wait = latest + this.#patience() - hearing.now;
      for (const answer of yield* this.#session.listen(Math.max(0, wait), early)) {
        const block = this.#pending.get(answer.token);
        if (!block || answer.kind !== "words") continue;
        progress = hearing.now;
        latest = hearing.now;
        yield* this.#settle(answer.token, block, answer.words[0] ?? "");
      }
      early = "";
      if (hearing.now - latest < this.#patience()) continue;
      this.#slower();
      if (hearing.now - progress > patience) {
        throw new BoardFailure("silent", "the board takes no more of the file: it has stopped answering");
      }
      if (hearing.now - progress > doubt) yield* revive();
      yield* hearing.write(flush);
      for (const [token, block] of this.#pending) early += yield* this.#finish(token, block);
      latest = hearing.now;
    }
  }

  *#sendNext(): Dialogue<string> {
    const next = this.#left[0];
    if (!next) return "";
    const [from, to] = next;
    const bytes = this.#file.read(from, Math.min(this.#block, to - from));
    if (from + bytes.length >= to || bytes.length === 0) this.#left.shift();
    else next[0] = from + bytes.length;
    const token = this.#session.link.token();
    const block = { offset: from, length: bytes.length, sent: this.#session.link.hearing.now };
    this.#pending.set(token, block);
    const heard = yield* this.#session.sendBlock(token, bytes, this.#line);
    return heard + (yield* this.#finish(token, block));
  }

  /** The request that ends a block. */
  *#finish(token: string, { offset, length }: Block): Dialogue<string> {
    const sum = checksum(this.#session.link.sum, this.#file.read(offset, length));
    return yield* this.#session.send("e", token, ["p", offset / unit, sum, 0]);
  }

  *#settle(token: string, block: Block, word: string): Dialogue<void> {
    if (word === "full") throw new TransferError("the board has no room for the file");
    const { now } = this.#session.link.hearing;
    if (word === "bad") {
      this.#pending.delete(token);
      this.#left.unshift([block.offset, block.offset + block.length]);
      return this.#slower();
    }
    if (word !== "ok") return;
    const under = [...this.#pending.values()].reduce((sum, { length }) => sum + length, 0);
    this.#rate = this.#rate * 0.7 + 0.3 * ((under * 1000) / Math.max(1, now - block.sent));
    this.#pending.delete(token);
    this.#done += block.length;
    yield { kind: "progress", done: this.#done, total: this.#file.size };
    this.#faster();
    // Answers come in order, so those before it were lost.
    for (const [earlier, other] of this.#pending) {
      if (other.sent < block.sent) yield* this.#finish(earlier, other);
    }
  }

  #slower(): void {
    this.#clean = false;
    this.#block = Math.max(smallestBlock, Math.floor(this.#block / 2 / smallestBlock) * smallestBlock);
    this.#line = Math.max(smallestLine, Math.min(this.#line, this.#block) / 2);
  }

  /** Blocks of a second or so at most: a damaged one costs no more. */
  #faster(): void {
    const most = Math.max(
      firstBlock,
      Math.min(largestBlock, Math.floor(this.#rate / smallestBlock) * smallestBlock),
    );
    this.#block = Math.min(most, this.#block + (this.#clean ? 4 : 1) * smallestBlock);
    this.#line = Math.min(largestLine, this.#line * 2);
  }

  /** Milliseconds that what is under way may take. */
  #patience(): number {
    const under = [...this.#pending.values()].reduce((sum, { length }) => sum + length, 0);
    return 1500 + Math.min(30_000, (under * 3000) / this.#rate);
  }
}
