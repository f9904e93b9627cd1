/** A verdict from the job's own patterns. */
import { type Match, OutputMatcher } from "#/devices/consoles/matcher.ts";
import { shown } from "#/lib/text.ts";
import { type Convention, failure, pass, type TestCase, type Verdict } from "./convention.ts";

export class Patterns implements Convention {
  readonly #matcher = new OutputMatcher();
  readonly #fail: readonly string[];
  /** Those that haven't matched yet. All must match, in any order. */
  readonly #pass: Set<string>;
  readonly cases: readonly TestCase[] = [];
  begun = false;

  constructor(patterns: { readonly pass: readonly string[]; readonly fail: readonly string[] }) {
    this.#pass = new Set(patterns.pass);
    this.#fail = patterns.fail;
    this.#matcher.expect(patterns.pass, patterns.fail);
  }

  get missing(): string {
    return `nothing matched ${[...this.#pass].join(" and ")}`;
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
    if (match.kind === "fail") return failure(`the \`fail\` pattern matched ${matched}`);
    this.#pass.delete(match.pattern);
    const isPassed = this.#pass.size === 0;
    // A failure still counts after the last of them.
    const later = this.#verdict(this.#matcher.expect([...this.#pass], this.#fail));
    return later ?? (isPassed ? pass(`the output has ${matched}`) : undefined);
  }
}
