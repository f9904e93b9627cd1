/**
 * A conversation with a board, written as a generator that asks for writing and reading and does neither itself. It needs no
 * port and no clock, and reads from top to bottom like the conversation it is.
 */

export type Step =
  /** Bytes to the board. A capture doesn't show secret ones, such as a password. */
  | { readonly kind: "write"; readonly bytes: Uint8Array; readonly secret?: boolean }
  /** Answered as soon as any bytes arrive, or with none after `timeoutMs` of silence. */
  | { readonly kind: "read"; readonly timeoutMs: number }
  /** Bytes of the job's output, exact and in order. */
  | { readonly kind: "output"; readonly bytes: Uint8Array }
  /** A line from labgear itself, for the build's log. */
  | { readonly kind: "note"; readonly text: string }
  /** Progress of a transfer, in bytes. */
  | { readonly kind: "progress"; readonly done: number; readonly total: number };

/** The answer to a step. `bytes` is empty after a silence, and for steps other than a read. */
export interface Heard {
  readonly bytes: Uint8Array;
  /** Milliseconds, from a monotonic clock. */
  readonly now: number;
}

/**
 * Ends with a T, or throws BoardFailure with the cause. The caller may end it at any yield with return(); the next user of the
 * board then calls the console's interrupt().
 */
export type Dialogue<T> = Generator<Step, T, Heard>;

/** The bytes of a console, for the one that may write. */
export interface ConsoleLine {
  /**
   * Resolves as soon as any bytes arrive, or with none after `timeoutMs` of silence.
   * @throws DeviceError PORT_LOST; the signal's reason
   */
  read(timeoutMs: number, signal: AbortSignal): Promise<Uint8Array>;
  /**
   * Resolves when the bytes are on their way.
   * @param secret such as a password: a capture doesn't show it
   * @throws DeviceError PORT_LOST, PORT_STUCK
   */
  write(bytes: Uint8Array, signal: AbortSignal, secret?: boolean): Promise<void>;
}

export interface DialogueOptions {
  /** Ends the dialogue at its next step. */
  readonly signal: AbortSignal;
  /** Takes the job's output; reading goes on once it resolves. */
  readonly onOutput?: (bytes: Uint8Array) => Promise<void> | void;
  readonly onNote?: (text: string) => void;
  readonly onProgress?: (done: number, total: number) => void;
}

const none = new Uint8Array(0);

/**
 * Runs the dialogue over the line.
 * @returns what the dialogue returns
 * @throws what the dialogue or the line throws; the signal's reason
 */
export async function runDialogue<T>(
  dialogue: Dialogue<T>,
  line: ConsoleLine,
  options: DialogueOptions,
): Promise<T> {
  const { signal } = options;
  try {
    // A generator ignores what the first next() passes.
    let state = dialogue.next({ bytes: none, now: performance.now() });
    while (!state.done) {
      signal.throwIfAborted();
      const bytes = (await takeStep(state.value, line, options)) ?? none;
      signal.throwIfAborted();
      state = dialogue.next({ bytes, now: performance.now() });
    }
    return state.value;
  } finally {
    dialogue.return(undefined as T);
  }
}

async function takeStep(
  step: Step,
  line: ConsoleLine,
  { signal, onOutput, onNote, onProgress }: DialogueOptions,
): Promise<Uint8Array | undefined> {
  switch (step.kind) {
    case "read":
      return line.read(step.timeoutMs, signal);
    case "write":
      await line.write(step.bytes, signal, step.secret);
      return undefined;
    case "output":
      await onOutput?.(step.bytes);
      return undefined;
    case "note":
      onNote?.(step.text);
      return undefined;
    case "progress":
      onProgress?.(step.done, step.total);
      return undefined;
  }
}
