/** Requests to our program on the board: each is repeated until its answer has arrived, or until it is clear why none will. */
import { BoardFailure } from "../../errors.ts";
import type { Dialogue } from "../dialogue.ts";
import type { LinuxBoard } from "./board.ts";
import { type ChecksumProgram, checksum } from "./checksum.ts";
import { type Answer, AnswerReader, type Encoding, type Frame, unitBytes } from "./framing.ts";
import type { KnownBoard } from "./known.ts";
import { typeBlind } from "./typing.ts";

type Verb = "d" | "e" | "o" | "O" | "g" | "G" | "k" | "p" | "q";
type Arguments = readonly [string | number, string | number, string | number, string | number];

/** Takes a frame of an answer. @returns false when it was of no use, and so no progress */
export type OnFrame = (frame: Frame) => Dialogue<boolean> | boolean;

/** Of a line of a block, before encoding. */
const lineBytes = 512;
const maxBlockLines = 32;
/** Ends a block that lost lines, and a request that was cut off. */
export const flush = "\n".repeat(maxBlockLines + 1);

/** Without progress for this long, the board is given up. */
export const progressTimeoutMs = 60_000;
/** Without progress for this long, the program may be gone. */
const reviveAfterMs = 6000;
/** After a line of a boot, nothing is sent for this long: input could stop the boot loader, or hang a driver that isn't ready for it. */
const bootPauseMs = 6000;
const aliveTimeoutMs = 3000;
/** So many damaged frames before the first good one: the line doesn't pass eight bits. */
const maxDamagedDense = 3;

/** What the board decodes blocks with: octal is for printf. */
export type Decoder = "base64" | "octal";

export interface Link {
  readonly board: LinuxBoard;
  readonly known: KnownBoard;
  readonly key: string;
  readonly sum: ChecksumProgram;
  readonly encoding: Encoding;
  readonly decoder: Decoder;
  /** The shell's prompt. It comes when our program has ended. */
  readonly prompt: string;
  /** Returns eight new characters from a-z and 0-9. */
  readonly token: () => string;
  /** After a panic, nothing is sent before this much silence. */
  readonly bootSilenceMs: number;
  /** Starts our program again if it is gone. @throws BoardFailure rebooted */
  readonly revive: () => Dialogue<void>;
}

export interface AskOptions {
  /** The arguments of the next try; default: the same. */
  readonly retry?: () => Arguments;
  /** How long the board may work before it answers. */
  readonly workMs?: number;
  /** The token of the block that the request is about. */
  readonly token?: string;
}

export class Session {
  readonly link: Link;
  readonly #answers: AnswerReader;
  /** The end of the output, shorter than the prompt. */
  #tail = "";
  /** A multiple of the unit. */
  #blockBytes = 4096;
  /** Whether to keep the pauses that typing needed. They only slow down a line that damages bytes but doesn't lose them. */
  #careful = false;
  /** The next frames are asked for without the eighth bit. */
  #isPlainNext = false;
  #damagedDense = 0;
  /** A running mean of the time until an answer begins. */
  #delayMs = 300;
  /** The longest time between two parts of an answer lately. */
  #gapMs = 1000;

  constructor(link: Link) {
    this.link = link;
    this.#answers = new AnswerReader(link.sum, link.encoding);
    link.board.filter.echo = `${link.key} `;
  }

  /**
   * Asks until the words of an answer arrive.
   * @param onFrame takes the frames that come before them
   */
  *ask(
    verb: Verb,
    first: Arguments,
    onFrame: OnFrame = () => false,
    { retry = () => first, workMs = 0, token }: AskOptions = {},
  ): Dialogue<readonly string[]> {
    const { board } = this.link;
    const tokens = new Set<string>();
    let progress = board.now;
    let args = first;
    for (let attempt = 0; ; attempt++) {
      const own = token ?? this.link.token();
      tokens.add(own);
      // What has already come may show that the board is down.
      let text = yield* board.next(0);
      yield* this.#checkBoot();
      if (attempt > 0) yield* board.send(flush);
      if (attempt > 0 && attempt % 4 === 0) this.#careful = !this.#careful;
      text += yield* this.send(this.#variant(verb, attempt), own, args);
      const asked = board.now;
      let latest: number | undefined;
      for (;;) {
        for (const answer of this.#answers.feed(text)) {
          if (!tokens.has(answer.token)) continue;
          if (latest === undefined) this.#delayMs = this.#delayMs * 0.75 + (board.now - asked) * 0.25;
          else this.#gapMs = Math.max(this.#gapMs * 0.9, board.now - latest);
          latest = board.now;
          if (answer.kind === "words") return answer.words;
          this.#learnBits(answer);
          if (answer.kind === "damaged") continue;
          const useful = onFrame(answer);
          if (typeof useful === "boolean" ? useful : yield* useful) progress = board.now;
        }
        yield* this.#checkBoot();
        const waitMs = this.#waitMs(asked + workMs, latest, attempt);
        if (waitMs <= 0) break;
        if (this.#hasEnded(text)) {
          yield* this.link.revive();
          break;
        }
        text = yield* board.next(waitMs);
      }
      args = retry();
      if (board.now - progress > progressTimeoutMs + workMs) throw this.#noAnswer();
      if (board.now - progress > reviveAfterMs + workMs) yield* this.link.revive();
    }
  }

  /** Frames in eight bits are asked for, unless the line damages them. */
  #variant(verb: Verb, attempt: number): Verb {
    const isPlain = this.#isPlainNext || attempt % 2 === 1;
    this.#isPlainNext = false;
    if (isPlain || this.link.known.eightBits === false) return verb;
    return verb === "o" ? "O" : verb === "g" ? "G" : verb;
  }

  #learnBits({ kind, isDense }: Exclude<Answer, { kind: "words" }>): void {
    const { known } = this.link;
    if (!isDense) return;
    if (kind === "frame") known.eightBits = true;
    else this.#isPlainNext = true;
    if (kind === "damaged" && !known.eightBits && ++this.#damagedDense >= maxDamagedDense)
      known.eightBits = false;
  }

  /** How long an answer, or its next part, may still take. */
  #waitMs(asked: number, latest: number | undefined, attempt: number): number {
    const { now, lastByteAt } = this.link.board;
    const usualMs = Math.min(3000, Math.max(150, 4 * this.#delayMs));
    if (latest === undefined) return asked + Math.min(10_000, usualMs * 1.5 ** attempt) - now;
    // Parts follow while the line isn't silent, unless it only carries other output.
    const silenceEnd = Math.max(lastByteAt, latest) + usualMs;
    const gapEnd = latest + Math.min(10_000, Math.max(1500, 3 * this.#gapMs));
    return Math.min(silenceEnd, gapEnd) - now;
  }

  /** Sends a request without waiting; listen() returns its answer. @returns what came meanwhile */
  *send(verb: Verb, token: string, args: Arguments): Dialogue<string> {
    const { key, board, known } = this.link;
    const copy = args.join(" ");
    return yield* typeBlind(`${key} ${verb} ${token} ${copy} ${copy}\n`, board, known.typing, this.#careful);
  }

  /** @param earlier text that came before @returns the next answers; none after the timeout */
  *listen(timeoutMs: number, earlier = ""): Dialogue<Answer[]> {
    const { board, revive } = this.link;
    const end = board.now + timeoutMs;
    let answers = this.#answers.feed(earlier);
    for (let text = earlier; answers.length === 0; text = "") {
      yield* this.#checkBoot();
      const fresh = yield* board.next(end - board.now);
      if (this.#hasEnded(text + fresh)) yield* revive();
      answers = this.#answers.feed(fresh);
      if (board.now >= end) break;
    }
    return answers;
  }

  /** Whether the shell's prompt came, in whatever pieces. */
  #hasEnded(text: string): boolean {
    const { prompt } = this.link;
    const all = this.#tail + text;
    const hasPrompt = all.includes(prompt);
    this.#tail = hasPrompt ? "" : all.slice(1 - prompt.length);
    return hasPrompt;
  }

  /**
   * Runs a few lines of shell in our program: once, however often it has to ask.
   * @throws BoardFailure mismatch when the folder is full or read-only
   */
  *execute(lines: string, workMs = 0): Dialogue<{ code: number; output: string }> {
    const { link } = this;
    const frames = new Map<number, Uint8Array>();
    const onFrame = (frame: Frame) => {
      frames.set(frame.unit, frame.bytes);
      return true;
    };
    let rest = lines;
    const end = link.board.now + workMs + progressTimeoutMs;
    for (;;) {
      if (rest.length > this.#blockBytes) {
        const name = `y.${link.token()}`;
        yield* this.writeFile(name, Buffer.from(rest));
        rest = `. "$T/${name}"`;
      }
      const bytes = Buffer.from(rest);
      const token = link.token();
      yield* this.sendBlock(token, bytes, lineBytes);
      for (;;) {
        const place = ["x", 0, checksum(link.sum, bytes), 0] as const;
        const [word, code = "", size] = yield* this.ask("e", place, onFrame, { workMs, token });
        if (word === "full" || (word === "ran" && code === "")) throw this.noRoom();
        if (link.board.now > end) throw damagedBlocks();
        if (word === "bad") break;
        const output = Buffer.concat([...frames].sort(([a], [b]) => a - b).map(([, piece]) => piece));
        if (word === "ran" && output.length === Number(size))
          return { code: Number(code), output: output.toString() };
      }
      this.#shrinkBlocks();
    }
  }

  /**
   * Writes a file in our folder on the board, in blocks as long as the line allows.
   * @param starts whether to start the file as the job
   * @throws BoardFailure mismatch when the folder is full or read-only
   */
  *writeFile(name: string, bytes: Uint8Array, starts = false): Dialogue<void> {
    const { link } = this;
    let progress = link.board.now;
    for (let from = 0; from < Math.max(1, bytes.length); ) {
      const block = bytes.subarray(from, from + this.#blockBytes);
      const token = link.token();
      yield* this.sendBlock(token, block, lineBytes);
      const isLast = from + block.length >= bytes.length;
      const place = [name, from / unitBytes, checksum(link.sum, block), starts && isLast ? 1 : 0] as const;
      const [word] = yield* this.ask("e", place, undefined, { token });
      if (word === "full") throw this.noRoom();
      if (word === "ok") {
        from += Math.max(1, block.length);
        progress = link.board.now;
      } else if (link.board.now - progress > progressTimeoutMs) throw damagedBlocks();
      else if (word === "bad") this.#shrinkBlocks();
    }
  }

  /** The next session looks for another folder. */
  noRoom(): BoardFailure {
    this.link.known.shell = undefined;
    const message = "labgear's temporary folder on the board is full, or has become read-only";
    return new BoardFailure("mismatch", message);
  }

  #shrinkBlocks(): void {
    if (this.#blockBytes <= 2 * unitBytes) this.#careful = !this.#careful;
    const units = Math.floor(this.#blockBytes / 2 / unitBytes);
    this.#blockBytes = unitBytes * Math.max(1, units);
  }

  /** Sends the encoded lines of a block; an `e` request completes it. @returns what came meanwhile */
  *sendBlock(token: string, bytes: Uint8Array, bytesInLine: number): Dialogue<string> {
    const { decoder, board, known } = this.link;
    const length = Math.max(bytesInLine, Math.ceil(bytes.length / maxBlockLines));
    // Whole groups of base64.
    const step = Math.ceil(length / 3) * 3;
    let lines = "";
    let count = 0;
    for (let from = 0; from < Math.max(1, bytes.length); from += step, count++) {
      lines += `#${encode(decoder, bytes.subarray(from, from + step))}\n`;
    }
    const text = yield* this.send("d", token, [count, 0, 0, 0]);
    return text + (yield* typeBlind(lines, board, known.typing, this.#careful));
  }

  /** Checks whether the board panicked or boots. Other programs rarely print such lines; then it costs a pause. */
  *#checkBoot(): Dialogue<void> {
    const { board } = this.link;
    const { panic, lines } = board.boot;
    if (panic === undefined && lines.size === 0) return;
    const pauseMs = panic === undefined ? bootPauseMs : Math.max(bootPauseMs, this.link.bootSilenceMs);
    const end = board.now + pauseMs;
    // After a panic, a single line of a boot is proof enough.
    const isCertain = () => lines.size > 1 || (panic !== undefined && lines.size > 0);
    while (board.now < end && !isCertain()) {
      // Answers that come now are lost, and asked for again.
      this.#answers.feed(yield* board.next(end - board.now));
    }
    const panicked = panic && new BoardFailure("panic", `the board's kernel panicked: ${panic}`);
    if (isCertain())
      throw panicked ?? new BoardFailure("rebooted", "the board rebooted in the middle of the script");
    board.boot.forget();
    if (yield* this.alive(aliveTimeoutMs)) return;
    if (panicked) throw panicked;
    yield* this.link.revive();
  }

  /** Whether our program answers in time. A board that boots isn't asked again. */
  *alive(timeoutMs: number): Dialogue<boolean> {
    const { board, token } = this.link;
    const end = board.now + timeoutMs;
    while (board.now < end && board.boot.lines.size === 0) {
      const own = token();
      yield* board.send(flush);
      let text = yield* this.send("p", own, [0, 0, 0, 0]);
      for (const next = board.now + 1000; board.now < next; ) {
        text += yield* board.next(next - board.now);
        if (this.#answers.feed(text).some((answer) => answer.token === own)) return true;
        text = "";
      }
    }
    return false;
  }

  #noAnswer(): BoardFailure {
    const { board } = this.link;
    if (board.now - board.lastByteAt > progressTimeoutMs) {
      const message = `the board has sent nothing for ${progressTimeoutMs / 1000} s: is it on, and does it run?`;
      return new BoardFailure("silent", message);
    }
    return new BoardFailure("noise", "the board sends, but no answers: its console is full of other output");
  }
}

export function damagedBlocks(): BoardFailure {
  const message =
    "what labgear sends arrives on the board damaged, again and again: check the line and its speed";
  return new BoardFailure("noise", message);
}

function encode(decoder: Decoder, bytes: Uint8Array): string {
  if (decoder === "base64")
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("base64");
  let text = "";
  for (const byte of bytes) text += `\\0${byte.toString(8).padStart(3, "0")}`;
  return text;
}
