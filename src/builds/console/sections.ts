/**
 * Sections of a console, by the marks that CI systems know: GitHub's `::group::`, Azure's `##[group]`, GitLab's `section_start`, and
 * Buildkite's headings `---` and `+++`.
 */
import type { FileHandle } from "node:fs/promises";

export interface Section {
  /** The line of its heading, from 0. */
  readonly from: number;
  /** Its last line; null: it isn't over. */
  readonly to: number | null;
  readonly title: string;
  /** It asks to be folded. */
  readonly folded?: true;
}

/** Further sections are ignored. */
const maxSections = 10_000;
const maxDepth = 50;
const maxTitle = 200;
/** Of a line that may be a mark, in bytes. */
const maxMarkBytes = 1024;

const group = /^(?:::group::|##\[group\])(.*)/;
const groupEnd = /^(?:::endgroup::|##\[endgroup\])/;
const gitlab = /section_(start|end):\d+:([\w.-]+)(\[[^\]\r]*\])?(?:\r|$)/g;
const heading = /^(?:---|\+\+\+|~~~) +(\S.*)/;
/** The verdicts of go test look like headings. */
const verdict = /^--- (?:PASS|FAIL|SKIP|BENCH): /;
/** CSI and other escape sequences (ECMA-48). */
const sequence = String.raw`\x1b(?:\[[0-?]*[ -/]*[@-~]|[ -/]*[0-~])`;
const escapes = new RegExp(sequence, "g");

interface Open {
  readonly kind: "group" | "heading" | "gitlab";
  readonly name: string;
  readonly section: { from: number; to: number | null; title: string; folded?: true };
}

/** Reads lines, and keeps the sections that they make. @internal */
export class SectionReader {
  readonly #sections: Section[] = [];
  #open: Open[] = [];
  /** A line with `---`: the next one says whether it heads a section or a diff. */
  #pending: { readonly n: number; readonly title: string } | undefined;

  /**
   * @param lines how many there were
   * @param isOver whether that is all, so that what is open ends with it
   */
  sections(lines: number, isOver: boolean): Section[] {
    const pending = this.#pending;
    if (pending && (isOver || lines > pending.n + 1)) {
      this.#pending = undefined;
      this.#begin("heading", "", pending.n, pending.title);
    }
    const shown = this.#sections.map((section) => ({
      ...section,
      to: section.to ?? (isOver ? lines - 1 : null),
    }));
    return shown.filter(({ from, to }) => to === null || to > from);
  }

  line(n: number, text: string): void {
    const pending = this.#pending;
    this.#pending = undefined;
    if (pending) {
      if (n === pending.n + 1 && text.startsWith("+++ ")) return;
      this.#begin("heading", "", pending.n, pending.title);
    }
    if (text.includes("section_")) this.#gitlab(n, text);
    const clean = text.replace(escapes, "").trimEnd();
    const [, groupTitle] = group.exec(clean) ?? [];
    const [, title] = heading.exec(clean) ?? [];
    if (groupTitle !== undefined) this.#begin("group", "", n, groupTitle);
    else if (groupEnd.test(clean)) this.#end("group", "", n);
    else if (title === undefined || verdict.test(clean)) return;
    else if (clean.startsWith("---")) this.#pending = { n, title };
    else this.#begin("heading", "", n, title);
  }

  #gitlab(n: number, text: string): void {
    const marks = [...text.matchAll(gitlab)];
    const isNext = marks.some(([, edge]) => edge === "start");
    // What a terminal would show: the text behind the last carriage return.
    const title = text.slice(text.lastIndexOf("\r") + 1).replace(escapes, "");
    for (const [, edge, name = "", options] of marks) {
      if (edge === "end") this.#end("gitlab", name, isNext ? n - 1 : n);
      else this.#begin("gitlab", name, n, title || name, options?.includes("collapsed=true"));
    }
  }

  /** A group ends the one before, a heading too; GitLab's sections nest. */
  #begin(kind: Open["kind"], name: string, n: number, title: string, folded = false): void {
    if (kind !== "gitlab") this.#end(kind, "", n - 1);
    if (this.#sections.length >= maxSections || this.#open.length >= maxDepth) return;
    const shown = title.trim().slice(0, maxTitle) || "…";
    const section: Open["section"] = {
      from: n,
      to: null,
      title: shown,
      ...(folded && { folded: true as const }),
    };
    this.#sections.push(section);
    this.#open.push({ kind, name, section });
  }

  /** Ends a section, and those within. */
  #end(kind: Open["kind"], name: string, n: number): void {
    const at = this.#open.findLastIndex((open) => open.kind === kind && open.name === name);
    if (at < 0) return;
    for (const { section } of this.#open.slice(at)) section.to = n;
    this.#open = this.#open.slice(0, at);
  }
}

const newline = 10;
const pieceSize = 256 * 1024;
/** The first bytes that a mark may have: most lines are passed over by this alone. */
const firstBytes: ReadonlySet<number> = new Set(Buffer.from(":#-+~s\x1b"));

/** The sections of one console, which may grow: what has been read once isn't read again. */
export class SectionIndex {
  readonly #reader = new SectionReader();
  #line = 0;
  /** Of the current line, or of the rest of a long one. */
  #offset = 0;
  #isInside = false;
  #turn: Promise<void> = Promise.resolve();

  /** @param isOver whether the console is complete, so that what is open ends with it */
  async read(file: FileHandle, size: number, isOver: boolean): Promise<Section[]> {
    const done = this.#turn.then(() => this.#extend(file, size));
    this.#turn = done.catch(() => {});
    await done;
    return this.#reader.sections(this.#line + (this.#offset < size ? 1 : 0), isOver);
  }

  async #extend(file: FileHandle, size: number): Promise<void> {
    const buffer = Buffer.allocUnsafe(pieceSize);
    while (this.#offset < size) {
      const wanted = Math.min(buffer.length, size - this.#offset);
      const { bytesRead } = await file.read(buffer, 0, wanted, this.#offset);
      const read = this.#take(buffer.subarray(0, bytesRead));
      // The last line may still grow.
      if (read === 0 && bytesRead < buffer.length) return;
      this.#offset += read === 0 ? bytesRead : read;
      this.#isInside = read === 0;
    }
  }

  /** @returns how many bytes of whole lines there were */
  #take(bytes: Buffer): number {
    let at = 0;
    for (let end = bytes.indexOf(newline); end >= 0; end = bytes.indexOf(newline, at)) {
      const first = bytes[at] ?? newline;
      if (!this.#isInside && firstBytes.has(first))
        this.#reader.line(this.#line, bytes.toString("utf8", at, Math.min(end, at + maxMarkBytes)));
      this.#isInside = false;
      this.#line += 1;
      at = end + 1;
    }
    return at;
  }
}
