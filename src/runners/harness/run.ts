/** One run of an image: the lines of its convention, crashes and reboots, and the verdict out of all of them. */
import { bootIn, crashIn } from "#/devices/consoles/crash.ts";
import { type Convention, failure, type Verdict } from "./harness.ts";

/** Characters of a line; a longer one is no test's line and is only looked through for a crash. */
const maxLine = 8 * 1024;

export class Run {
  readonly convention: Convention;
  readonly #boots = new Set<string>();
  #line = "";
  /** The line's beginning was let go. */
  #cut = false;
  #verdict: Verdict | undefined;

  constructor(convention: Convention) {
    this.convention = convention;
  }

  get verdict(): Verdict | undefined {
    return this.#verdict;
  }

  /** Text of its output, in any pieces. */
  text(text: string): void {
    for (let at = 0; at < text.length; ) {
      const newline = text.indexOf("\n", at);
      const end = newline < 0 ? text.length : newline + 1;
      this.#piece(text.slice(at, end), newline >= 0);
      at = end;
    }
  }

  quiet(): void {
    this.#settle(this.convention.quiet?.());
  }

  /** The board says that it starts; it does so once. */
  boot(name: string): void {
    if (this.#boots.has(name) ? this.convention.begun : this.convention.begun && this.#boots.size === 0)
      this.#settle(failure(`${name} started anew in the middle of the run`, "rebooted"));
    this.#boots.add(name);
  }

  #piece(piece: string, whole: boolean): void {
    this.#line += whole ? piece.slice(0, -1) : piece;
    if (whole) {
      const crash = crashIn(this.#line);
      if (crash) this.#settle(failure(crash, "panic"));
      const boot = bootIn(this.#line);
      if (boot) this.boot(boot);
      else if (!this.#cut) this.#settle(this.convention.line(this.#line));
      this.#line = "";
      this.#cut = false;
    } else if (this.#line.length > maxLine) {
      const crash = crashIn(this.#line);
      if (crash) this.#settle(failure(crash, "panic"));
      this.#line = this.#line.slice(-200);
      this.#cut = true;
    }
    this.#settle(this.convention.text?.(piece));
  }

  /** A failure is final; a pass stands until one comes. */
  #settle(verdict: Verdict | undefined): void {
    if (!verdict || this.#verdict?.passed === false) return;
    if (!verdict.passed || !this.#verdict) this.#verdict = verdict;
  }
}
