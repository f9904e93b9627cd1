/**
 * The queue on disk, for the server's next start: a line for each change. What the server has written survives its end, however that
 * comes; what a power cut may take is the last moment.
 */
import { closeSync, fdatasync, openSync, readFileSync, writeSync } from "node:fs";
import { removeHalfWritten, replaceFileSync } from "#/lib/replace-file.ts";
import { type Job, type Priority, priorities, toKey } from "./jobs.ts";

/** A job as it was when the last server ended. */
export interface KeptJob {
  readonly handle: string;
  /** Name and unique have one latin1 char for each byte: see toKey(). */
  readonly name: string;
  readonly unique: string;
  /** Base64; empty for a foreground job, which its client submits again. */
  readonly data: string;
  readonly priority: Priority;
  readonly order: number;
  readonly background: boolean;
  readonly losses: number;
}

type Line = { readonly keep: KeptJob } | { readonly run: string } | { readonly end: string };

/** The file grows by so much, or to three times what is in the queue, before it is written anew. */
const minGrowthBytes = 1024 * 1024;
const failuresSkipped = 1000;
/** Job data has a password now and then. */
const mode = 0o600;

/**
 *     kept ──the disk is full or fails──▶ failed ──written anew──▶ kept
 *       └──dispose──▶ closed ◀──dispose──┘
 */
export class Journal implements Disposable {
  readonly #path: string;
  readonly #jobs: () => Iterable<Job>;
  readonly #onFailure: (message: string) => void;
  #file: number | undefined;
  #growth = 0;
  #maxGrowth = minGrowthBytes;
  #state: "kept" | "failed" | "closed" = "kept";
  /** How many changes go by until the next attempt. */
  #skip = 0;

  /**
   * @param jobs all that are in the queue
   * @param onFailure called once, when the disk is full or fails: the queue is then in memory alone, until there is room
   */
  constructor(path: string, jobs: () => Iterable<Job>, onFailure: (message: string) => void) {
    this.#path = path;
    this.#jobs = jobs;
    this.#onFailure = onFailure;
  }

  /** Reads what an earlier server left; call rewrite() before anything is noted. */
  read(): KeptJob[] {
    let text = "";
    try {
      removeHalfWritten(this.#path);
      text = readFileSync(this.#path, "latin1");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") this.#fail(error);
    }
    const kept = new Map<string, KeptJob>();
    for (const written of text.split("\n")) {
      const line = parseLine(written);
      if (line === undefined) continue;
      if ("end" in line) kept.delete(line.end);
      else if ("keep" in line) kept.set(line.keep.handle, line.keep);
      else {
        const job = kept.get(line.run);
        // Whatever ended the server, ended its worker's connection, too.
        if (job) kept.set(line.run, { ...job, losses: job.losses + 1 });
      }
    }
    return [...kept.values()].sort((a, b) => a.order - b.order);
  }

  /** Writes down what has become of a job: that it is in the queue, before its client hears of it; that a worker has it; or its end. */
  note(change: "keep" | "run" | "forget", job: Job): void {
    if (this.#state === "closed") return;
    if (this.#file === undefined || this.#growth > this.#maxGrowth) {
      // A full disk isn't tried at each change.
      if (this.#skip-- <= 0) this.rewrite();
      return;
    }
    const line: Line =
      change === "keep"
        ? { keep: asKept(job) }
        : change === "run"
          ? { run: job.handle }
          : { end: job.handle };
    const bytes = Buffer.from(asText(line));
    try {
      if (writeSync(this.#file, bytes) < bytes.length) throw new Error("ENOSPC");
      this.#growth += bytes.length;
      if (change === "keep" && job.background) fdatasync(this.#file, () => {});
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Writes the file anew, without what has ended. */
  rewrite(): void {
    try {
      const lines = [...this.#jobs()].flatMap((job) => {
        const kept = asText({ keep: asKept(job) });
        return job.state.kind === "running" ? [kept, asText({ run: job.handle })] : [kept];
      });
      const text = lines.join("");
      replaceFileSync(this.#path, text, mode);
      this.#close();
      this.#file = openSync(this.#path, "a", mode);
      this.#growth = 0;
      this.#maxGrowth = Math.max(minGrowthBytes, 2 * text.length);
      this.#state = "kept";
    } catch (error) {
      this.#fail(error);
    }
  }

  /** The next change writes it anew. */
  #fail(error: unknown): void {
    this.#close();
    this.#skip = failuresSkipped;
    if (this.#state === "failed") return;
    this.#state = "failed";
    this.#onFailure(`the queue can't be kept in ${this.#path}: ${(error as Error).message}`);
  }

  /** The file stays as it is. */
  [Symbol.dispose](): void {
    this.#close();
    this.#state = "closed";
  }

  #close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }
}

function asKept({ handle, unique, data, priority, order, background, losses, ...job }: Job): KeptJob {
  const kept = background ? Buffer.from(data).toString("base64") : "";
  const names = { name: job.function.name, unique: toKey(unique) };
  return { handle, ...names, data: kept, priority, order, background, losses };
}

/** In ASCII alone, so that the encoding is none of its concern. */
function asText(line: Line): string {
  const escaped = (char: string) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return `${JSON.stringify(line).replace(/[\u0080-\uffff]/g, escaped)}\n`;
}

/** Undefined for what a crash cut short, or another version wrote. */
function parseLine(text: string): Line | undefined {
  try {
    const line = JSON.parse(text) as Record<string, unknown>;
    const { keep, run, end } = line;
    if (typeof run === "string") return { run };
    if (typeof end === "string") return { end };
    const job = keep as KeptJob;
    const texts = [job.handle, job.name, job.unique, job.data];
    const fine =
      texts.every((value) => typeof value === "string") &&
      priorities.includes(job.priority) &&
      Number.isSafeInteger(job.order) &&
      Number.isSafeInteger(job.losses) &&
      typeof job.background === "boolean";
    return fine ? { keep: job } : undefined;
  } catch {
    return undefined;
  }
}
