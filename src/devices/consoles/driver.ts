/** Holds a conversation with a real line: does the writing and reading that a dialogue asks for. */
import type { Dialogue, Heard, Step } from "./dialogue.ts";

/** A console's bytes, as the port hands them to the one who may write. */
export interface ConsoleLine {
  /**
   * What came since the last read, as soon as anything did; nothing when `timeout` milliseconds passed in silence.
   * @throws BoardFailure unplugged
   */
  read(timeout: number, signal: AbortSignal): Promise<Uint8Array>;
  /**
   * Resolves when the bytes are on their way.
   * @throws BoardFailure unplugged
   */
  write(bytes: Uint8Array, signal: AbortSignal): Promise<void>;
}

export interface ConverseOptions {
  /** Ends the conversation wherever it is; the promise rejects with the signal's reason. */
  readonly signal: AbortSignal;
  /** Milliseconds, by a clock that nobody sets. */
  readonly now: () => number;
  /** Takes the job's output; nothing more is read until it has. */
  readonly onOutput: (bytes: Uint8Array) => Promise<void> | void;
  readonly onNote: (text: string) => void;
  readonly onProgress: (done: number, total: number) => void;
}

const nothing = new Uint8Array(0);

/**
 * Holds the dialogue over the line, to its end.
 * @returns what the dialogue ends with
 * @throws what the dialogue throws, what the line throws, or the signal's reason
 */
export async function converse<T>(
  dialogue: Dialogue<T>,
  line: ConsoleLine,
  options: ConverseOptions,
): Promise<T> {
  try {
    // The first answer of a generator is dropped; it says the time with the first step's.
    let state = dialogue.next({ bytes: nothing, now: options.now() });
    while (!state.done) {
      options.signal.throwIfAborted();
      const bytes = await carryOut(state.value, line, options);
      options.signal.throwIfAborted();
      const heard: Heard = { bytes, now: options.now() };
      state = dialogue.next(heard);
    }
    return state.value;
  } finally {
    // Of no effect when it has ended.
    dialogue.return(undefined as T);
  }
}

async function carryOut(step: Step, line: ConsoleLine, options: ConverseOptions): Promise<Uint8Array> {
  switch (step.kind) {
    case "read":
      return line.read(step.timeout, options.signal);
    case "write":
      await line.write(step.bytes, options.signal);
      return nothing;
    case "output":
      await options.onOutput(step.bytes);
      return nothing;
    case "note":
      options.onNote(step.text);
      return nothing;
    case "progress":
      options.onProgress(step.done, step.total);
      return nothing;
  }
}
