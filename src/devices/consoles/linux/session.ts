/** Requests to our program on the board, and their answers: asked again until they are had, or until the board's failure is plain. */
import { BoardFailure } from "../../errors.ts";
import type { Dialogue } from "../dialogue.ts";
import type { Hearing } from "../hearing.ts";
import { type TypingProfile, typeBlind } from "../typing.ts";
import { type ChecksumProgram, checksum } from "./checksum.ts";
import { type Answer, AnswerReader, type Encoding, unit } from "./framing.ts";

export type Verb = "d" | "e" | "o" | "g" | "k" | "p" | "q";
type Arguments = readonly [string | number, string | number, string | number, string | number];
type Frame = Extract<Answer, { kind: "frame" }>;

/** Takes a frame of an answer; false: it was of no use, which doesn't count as progress. */
export type OnFrame = (frame: Frame) => Dialogue<boolean>;

/** Bytes of a line, before they are encoded. */
const largestLine = 512;
/** Lines of a block, at most. */
const mostLines = 32;
/** Ends a block of which lines were lost, and a request that was cut off. */
export const flush = "\n".repeat(mostLines + 1);

/** Bytes of the largest frame that is asked for. */
export const largestFrame = 4096;
/** Without an answer for so long the board is given up. */
const patience = 60_000;
/** Without an answer for so long, it is looked whether the program is still there. */
const doubt = 6000;
/** After a line of a boot, nothing is sent for so long: it could stop the boot loader, or choke a driver that isn't ready for it. */
const suspicion = 6000;

export interface Link {
  readonly hearing: Hearing;
  readonly profile: TypingProfile;
  readonly key: string;
  readonly sum: ChecksumProgram;
  readonly encoding: Encoding;
  /** The shell's: it shows when the program has ended. */
  readonly prompt: string;
  /** Eight new characters, from a-z and 0-9. */
  readonly token: () => string;
  /** Brings the program back when it is gone; throws BoardFailure when the board has booted again. */
  readonly revive: () => Dialogue<void>;
}

export class Session {
  readonly link: Link;
  readonly #answers: AnswerReader;
  /** The end of what came, shorter than the prompt. */
  #tail = "";
  /** Bytes of a block: a multiple of the unit. */
  #block = 4096;
  /** Whether the pauses are kept that typing needed: a line that only spoils bytes needs none, and is slowed down by them. */
  #careful = false;
  /** Milliseconds until an answer begins, a running mean. */
  #delay = 300;
  /** Milliseconds between two parts of an answer, at most of late. */
  #gap = 1000;

  constructor(link: Link) {
    this.link = link;
    this.#answers = new AnswerReader(link.sum, link.encoding, largestFrame);
    link.hearing.filter.echo = `${link.key} `;
  }

  /**
   * Asks until the words of an answer have come.
   * @param onFrame takes the frames that come before it
   * @param again what to ask for the next time; default: the same
   * @param slow milliseconds that the board may work before the answer's first byte
   */
  *ask(
    verb: Verb,
    first: Arguments,
    onFrame: OnFrame = noFrames,
    { again = () => first, slow = 0, token }: AskOptions = {},
  ): Dialogue<readonly string[]> {
    const { hearing } = this.link;
    const tokens = new Set<string>();
    let progress = hearing.now;
    let args = first;
    for (let attempt = 0; ; attempt++) {
      const mine = token ?? this.link.token();
      tokens.add(mine);
      if (attempt > 0) yield* hearing.write(flush);
      if (attempt > 0 && attempt % 4 === 0) this.#careful = !this.#careful;
      let heard = yield* this.send(verb, mine, args);
      const asked = hearing.now;
      let latest: number | undefined;
      for (;;) {
        for (const answer of this.#answers.feed(heard)) {
          if (!tokens.has(answer.token)) continue;
          if (latest === undefined) this.#delay = this.#delay * 0.75 + (hearing.now - asked) * 0.25;
          else this.#gap = Math.max(this.#gap * 0.9, hearing.now - latest);
          latest = hearing.now;
          if (answer.kind === "words") return answer.words;
          if (answer.kind === "frame" && (yield* onFrame(answer))) progress = hearing.now;
        }
        yield* this.#watch();
        const wait = this.#wait(asked + slow, latest, attempt);
        if (wait <= 0) break;
        if (this.#hasEnded(heard)) {
          yield* this.link.revive();
          break;
        }
        heard = yield* hearing.read(wait);
      }
      args = again();
      if (hearing.now - progress > patience + slow) throw this.#lost();
      if (hearing.now - progress > doubt + slow) yield* this.link.revive();
    }
  }

  /** How long an answer, or the next part of one, is still to be waited for. */
  #wait(asked: number, latest: number | undefined, attempt: number): number {
    const { now, lastByte } = this.link.hearing;
    const usual = Math.min(3000, Math.max(150, 4 * this.#delay));
    if (latest === undefined) return asked + Math.min(10_000, usual * 1.5 ** attempt) - now;
    // Parts of it come as long as the line isn't silent, unless all that comes is others' output.
    const silent = Math.max(lastByte, latest) + usual - now;
    return Math.min(silent, latest + Math.min(10_000, Math.max(1500, 3 * this.#gap)) - now);
  }

  /** Sends a request and waits for nothing; the answer to it is heard by listen(). */
  *send(verb: Verb, token: string, args: Arguments): Dialogue<string> {
    const { key, hearing, profile } = this.link;
    const said = args.join(" ");
    return yield* typeBlind(`${key} ${verb} ${token} ${said} ${said}\n`, hearing, profile, this.#careful);
  }

  /** The answers that come within the time; none when it passes. */
  *listen(timeout: number, earlier = ""): Dialogue<Answer[]> {
    const before = this.#answers.feed(earlier);
    if (before.length > 0) return before;
    yield* this.#watch();
    const heard = yield* this.link.hearing.read(timeout);
    if (this.#hasEnded(earlier + heard)) yield* this.link.revive();
    return this.#answers.feed(heard);
  }

  /** Whether the shell's prompt shows, in whichever pieces it comes. */
  #hasEnded(heard: string): boolean {
    const text = this.#tail + heard;
    const shows = text.includes(this.link.prompt);
    this.#tail = shows ? "" : text.slice(1 - this.link.prompt.length);
    return shows;
  }

  /**
   * Runs a few lines of shell in the board's program, once, however often it has to be asked.
   * @param slow milliseconds that they may take
   */
  *execute(lines: string, slow = 0): Dialogue<{ code: number; output: string }> {
    const { link } = this;
    const frames = new Map<number, Uint8Array>();
    // biome-ignore lint/correctness/useYield: it takes frames, and has nothing to say
    const onFrame: OnFrame = function* (frame) {
      frames.set(frame.unit, frame.bytes);
      return true;
    };
    let rest = lines;
    for (;;) {
      if (rest.length > this.#block) {
        const name = `y.${link.token()}`;
        yield* this.writeFile(name, Buffer.from(rest));
        rest = `. "$T/${name}"`;
      }
      const bytes = Buffer.from(rest);
      const token = link.token();
      yield* this.sendBlock(token, bytes, largestLine);
      for (;;) {
        const words = yield* this.ask("e", ["x", 0, checksum(link.sum, bytes), 0], onFrame, { slow, token });
        if (words[0] === "bad") break;
        const output = Buffer.concat([...frames].sort(([a], [b]) => a - b).map(([, piece]) => piece));
        if (words[0] === "ran" && output.length === Number(words[2])) {
          return { code: Number(words[1]), output: output.toString() };
        }
      }
      this.#shrink();
    }
  }

  /**
   * A file in our folder on the board, in blocks that are as long as the line carries them.
   * @throws BoardFailure mismatch when there is no room
   */
  *writeFile(name: string, bytes: Uint8Array): Dialogue<void> {
    const { link } = this;
    for (let from = 0; from < Math.max(1, bytes.length); ) {
      const block = bytes.subarray(from, from + this.#block);
      const token = link.token();
      yield* this.sendBlock(token, block, largestLine);
      const place = [name, from / unit, checksum(link.sum, block), 0] as const;
      const [word] = yield* this.ask("e", place, noFrames, { token });
      if (word === "ok") from += Math.max(1, block.length);
      else if (word === "bad") this.#shrink();
      else if (word === "full") {
        throw new BoardFailure(
          "mismatch",
          "the board has no room for the script: its temporary folder is full",
        );
      }
    }
  }

  #shrink(): void {
    if (this.#block <= 2 * unit) this.#careful = !this.#careful;
    this.#block = Math.max(unit, Math.floor(this.#block / 2 / unit) * unit);
  }

  /** The lines of a block, encoded; its `e` comes after them. */
  *sendBlock(token: string, bytes: Uint8Array, lineBytes: number): Dialogue<string> {
    const { encoding, hearing, profile } = this.link;
    const longest = Math.max(lineBytes, Math.ceil(bytes.length / mostLines));
    const size = Math.ceil(longest / 3) * 3;
    let lines = "";
    let count = 0;
    for (let from = 0; from < Math.max(1, bytes.length); from += size, count++) {
      lines += `#${encode(encoding, bytes.subarray(from, from + size))}\n`;
    }
    const heard = yield* this.send("d", token, [count, 0, 0, 0]);
    return heard + (yield* typeBlind(lines, hearing, profile, this.#careful));
  }

  /** Looks whether the board crashed or boots. Such lines that come from elsewhere are rare, and cost a pause. */
  *#watch(): Dialogue<void> {
    const { hearing } = this.link;
    const { panic } = hearing;
    if (panic === undefined && hearing.boot.size === 0) return;
    const until = hearing.now + suspicion;
    while (hearing.now < until && hearing.boot.size < 2) {
      // Answers that come meanwhile are lost, and asked for again.
      this.#answers.feed(yield* hearing.read(until - hearing.now));
    }
    const stopped = panic && new BoardFailure("panic", `the board's kernel stopped: ${panic}`);
    if (hearing.boot.size > 1) {
      throw stopped ?? new BoardFailure("rebooted", "the board booted again in the middle of the work");
    }
    hearing.forget();
    if (yield* this.alive(3000)) return;
    if (stopped) throw stopped;
    yield* this.link.revive();
  }

  /** Whether the program answers within the time. A board that boots isn't asked again. */
  *alive(timeout: number): Dialogue<boolean> {
    const { hearing, token } = this.link;
    const until = hearing.now + timeout;
    while (hearing.now < until && hearing.boot.size === 0) {
      const mine = token();
      yield* hearing.write(flush);
      let heard = yield* this.send("p", mine, [0, 0, 0, 0]);
      for (const next = hearing.now + 1000; hearing.now < next; ) {
        heard += yield* hearing.read(next - hearing.now);
        if (this.#answers.feed(heard).some((answer) => answer.token === mine)) return true;
        heard = "";
      }
    }
    return false;
  }

  #lost(): BoardFailure {
    const { hearing } = this.link;
    const quiet = hearing.now - hearing.lastByte > patience;
    return quiet
      ? new BoardFailure(
          "silent",
          `the board has said nothing for ${patience / 1000} s: is it on, and does it run?`,
        )
      : new BoardFailure("noise", "the board sends, and none of it answers: other output fills its console");
  }
}

// biome-ignore lint/correctness/useYield: it has nothing to say
function* noFrames(): Dialogue<boolean> {
  return false;
}

export interface AskOptions {
  readonly again?: () => Arguments;
  readonly slow?: number;
  /** For a request that is about a block: the block's. */
  readonly token?: string;
}

function encode(encoding: Encoding, bytes: Uint8Array): string {
  if (encoding === "base64")
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("base64");
  let text = "";
  for (const byte of bytes) text += `\\0${byte.toString(8).padStart(3, "0")}`;
  return text;
}

/** A text as one word of the board's shell. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
