/** A verdict from the job's own patterns. */
import { type Match, OutputMatcher } from "#/devices/consoles/matcher.ts";
import { shown } from "#/lib/text.ts";
import { type Convention, failure, pass, type TestCase, type Verdict } from "./convention.ts";

export class Patterns implements Convention {
  readonly #matcher = new OutputMatcher();
  readonly #fail: string | undefined;
  readonly #pass: string;
  readonly cases: readonly TestCase[] = [];
  #passed = false;
  begun = false;

  constructor(patterns: { readonly pass: string; readonly fail?: string }) {
    this.#pass = patterns.pass;
    this.#fail = patterns.fail;
    this.#matcher.expect(patterns.pass, patterns.fail);
  }

  get missing(): string {
    return `nothing matched ${this.#pass}`;
  }

  /** MCUboot is a Zephyr program too: within one boot, its log lines come between two banners. */
  line(line: string): undefined {
    if (line.trim() !== "" && !/^[IWE]: /.test(line)) this.begun = true;
  }

  text(piece: string): Verdict | undefined {
    return this.#verdict(this.#matcher.feed(Buffer.from(piece)));
  }

  quiet(): Verdict | undefined {
    return this.#verdict(this.#matcher.quiet());
  }

  #verdict(match: Match | undefined): Verdict | undefined {
    if (!match) return undefined;
    const matched = shown(match.text, 200);
    if (match.kind === "fail" || this.#passed) return failure(`the \`fail\` pattern matched ${matched}`);
    this.#passed = true;
    // A failure from now on still counts.
    const later = this.#fail === undefined ? undefined : this.#verdict(this.#matcher.expect(this.#fail));
    return later ?? pass(`the output has ${matched}`);
  }
}
