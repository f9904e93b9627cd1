/**
 * What a console's interpreter says and hears: a generator that asks for writing and reading, and does neither itself. So it
 * needs no port and no clock, and reads as the conversation that it is.
 */

export type Step =
  /** To the board. Answered with the empty Heard when it is written. */
  | { readonly kind: "write"; readonly bytes: Uint8Array }
  /** Answered with what came, as soon as anything did; with nothing when `timeout` milliseconds passed in silence. */
  | { readonly kind: "read"; readonly timeout: number }
  /** Bytes of the job's output, exact, in their order. */
  | { readonly kind: "output"; readonly bytes: Uint8Array }
  /** A line of ours, for the build's log. */
  | { readonly kind: "note"; readonly text: string }
  /** How much of a transfer is done, in bytes. */
  | { readonly kind: "progress"; readonly done: number; readonly total: number };

/** The answer to a step. `bytes` is empty for a silence, and for steps that aren't a read. */
export interface Heard {
  readonly bytes: Uint8Array;
  /** Milliseconds, by a clock that nobody sets. */
  readonly now: number;
}

/**
 * A conversation that ends with a T, or throws BoardFailure with the cause. It may be ended from outside at any yield (return()):
 * then whoever goes on with the board calls the console's interrupt().
 */
export type Dialogue<T> = Generator<Step, T, Heard>;
