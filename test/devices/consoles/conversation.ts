/** Runs dialogues in tests, and keeps their output, notes and progress. */
import { randomBytes } from "node:crypto";
import type { Sink, Source } from "#/devices/consoles/console.ts";
import { type ConsoleLine, type Dialogue, runDialogue } from "#/devices/consoles/dialogue.ts";

export interface Conversation {
  readonly output: Buffer;
  readonly notes: readonly string[];
  readonly progress: readonly (readonly [number, number])[];
  /** Runs a dialogue; its output replaces the last one's. */
  hold<T>(dialogue: Dialogue<T>, signal?: AbortSignal, onOutput?: (bytes: Uint8Array) => void): Promise<T>;
}

export function conversation(line: ConsoleLine, bound = 60_000): Conversation {
  let output: Uint8Array[] = [];
  let notes: string[] = [];
  let progress: [number, number][] = [];
  return {
    get output() {
      return Buffer.concat(output);
    },
    get notes() {
      return notes;
    },
    get progress() {
      return progress;
    },
    hold(dialogue, signal, onOutput) {
      output = [];
      notes = [];
      progress = [];
      return runDialogue(dialogue, line, {
        signal: AbortSignal.any([AbortSignal.timeout(bound), ...(signal ? [signal] : [])]),
        onOutput(bytes) {
          output.push(Uint8Array.from(bytes));
          onOutput?.(bytes);
        },
        onNote: (text) => void notes.push(text),
        onProgress: (done, total) => void progress.push([done, total]),
      });
    },
  };
}

/** Eight random characters. */
export function newToken(): string {
  return randomBytes(4).toString("hex");
}

/** The same tokens in every run. */
export function seededToken(random: (bound: number) => number): () => string {
  return () => Array.from({ length: 8 }, () => random(36).toString(36)).join("");
}

export function sourceOf(bytes: Uint8Array): Source {
  return { size: bytes.length, read: (offset, length) => bytes.subarray(offset, offset + length) };
}

export function sinkOf(beginning: Uint8Array = new Uint8Array()): Sink & { readonly bytes: Buffer } {
  let pieces = [Buffer.from(beginning)];
  const whole = () => {
    const all = Buffer.concat(pieces);
    pieces = [all];
    return all;
  };
  return {
    get size() {
      return pieces.reduce((sum, { length }) => sum + length, 0);
    },
    get bytes() {
      return whole();
    },
    read: (offset, length) => whole().subarray(offset, offset + length),
    append: (bytes) => void pieces.push(Buffer.from(bytes)),
    truncate: (size) => {
      pieces = [whole().subarray(0, size)];
    },
  };
}
