/** What the runners on a board share: the build's view of the board, its console read in the background, and files over it. */
import type { FileTransfer } from "#/config/model.ts";
import type { Sink, Source } from "#/devices/consoles/console.ts";
import type { Dialogue, DialogueOptions } from "#/devices/consoles/dialogue.ts";
import type { Cause } from "#/devices/errors.ts";
import type { Reservation } from "#/devices/reservation.ts";
import { Condition } from "#/lib/condition.ts";
import type { HostEnding } from "../script/run.ts";

export interface BoardRun {
  readonly reservation: Reservation;
  /** What a script on the board finds in its environment. */
  readonly variables: Readonly<Record<string, string>>;
  /** From power or reset to the prompt. */
  readonly bootTimeoutMs: number;
  /** Aborts when the build has to stop. */
  readonly signal: AbortSignal;
  /** Writes to the build's console, in order; awaited before more is read. */
  readonly output: (bytes: Uint8Array) => Promise<void>;
  /** Writes a line from labgear itself to the build's console. */
  readonly note: (text: string) => Promise<void>;
  readonly progress: (percent: number) => void;
  /** Says what it does now. */
  readonly step: (name: "build" | "flash" | "boot" | "login" | "test") => void;
  /** Runs a script on the host, in the workspace, with its output on the build's console. */
  readonly host: (script: string, name: string) => Promise<HostEnding>;
  readonly files: WorkspaceFiles;
}

/** Opens files of the workspace. A job can turn them into links, so a refusal is the job's fault: one line that says why. */
export interface WorkspaceFiles {
  source(path: string): Promise<(Source & AsyncDisposable) | string>;
  sink(path: string): Promise<(Sink & Disposable) | string>;
}

/** The result of the job itself. Faults of the board are thrown as BoardFailure. */
export interface BoardVerdict {
  readonly passed: boolean;
  readonly reason: string;
  readonly exitCode?: number;
  readonly cause?: Cause;
  /** A JUnit report of the test cases. */
  readonly junit?: string;
}

export function failed(reason: string): BoardVerdict {
  return { passed: false, reason };
}

/** @returns undefined when the script passed */
export function scriptProblem({ code, signal, oom }: HostEnding): string | undefined {
  if (code === 0) return undefined;
  if (oom) return "the script exceeded the job's memory limit";
  return signal ? `the script was killed by ${signal}` : `the script ended with exit code ${code}`;
}

/**
 * Runs a dialogue with its output and notes on the build's console.
 * @throws BoardFailure
 */
export function runDialogue<T>(run: BoardRun, dialogue: Dialogue<T>): Promise<T> {
  return run.reservation.run(dialogue, dialogueOptions(run));
}

/**
 * Gets to the console's prompt.
 * @throws BoardFailure
 */
export async function enter(run: BoardRun, timeoutMs: number, isRestarted = false): Promise<void> {
  run.step(isRestarted ? "boot" : "login");
  await run.reservation.enter(timeoutMs, isRestarted, dialogueOptions(run));
  run.step("test");
}

function dialogueOptions({ signal, output, note }: BoardRun): DialogueOptions {
  // When the build's console can't be written to, the next output fails too, and that one is awaited.
  return { signal, onOutput: output, onNote: (text) => void note(text).catch(() => {}) };
}

/** @returns why the file can't be copied to the board; undefined when it was @throws BoardFailure */
export async function put(run: BoardRun, { from, to }: FileTransfer): Promise<string | undefined> {
  const { console } = run.reservation;
  if (!console.put) return `a ${console.kind} console can't receive files`;
  const source = await run.files.source(from);
  if (typeof source === "string") return source;
  await using file = source;
  await run.note(`copying ${from} to ${to} on the board, ${file.size} bytes`);
  await runDialogue(run, console.put(file, to));
  return undefined;
}

/** @returns why the file can't be copied from the board; undefined when it was @throws BoardFailure */
export async function get(run: BoardRun, { from, to }: FileTransfer): Promise<string | undefined> {
  const { console } = run.reservation;
  if (!console.get) return `a ${console.kind} console can't send files`;
  const sink = await run.files.sink(to);
  if (typeof sink === "string") return sink;
  using file = sink;
  await runDialogue(run, console.get(from, file));
  await run.note(`copied ${from} from the board to ${to}, ${file.size} bytes`);
  return undefined;
}

/** Silence after which a match at the end of the output counts, though more could undo it. */
const quietMs = 200;

/** Looks for something in the output of a board. */
export interface OutputListener {
  feed(bytes: Uint8Array): void;
  /** Nothing came for a while. */
  quiet(): void;
}

/** Copies the board's output to the build's console and to a listener, in the background. Only one may read at a time. */
export class ConsoleReader implements AsyncDisposable {
  readonly #run: BoardRun;
  readonly #listener: OutputListener | undefined;
  readonly #fed = new Condition();
  readonly #stopping = new AbortController();
  readonly #loop: Promise<void>;

  constructor(run: BoardRun, listener?: OutputListener) {
    this.#run = run;
    this.#listener = listener;
    this.#loop = this.#read();
    // race() reports the failure.
    this.#loop.catch(() => {});
  }

  /**
   * Waits for the work, and fails early when reading fails.
   * @throws BoardFailure unplugged; the error of writing to the build's console
   */
  async race<T>(work: Promise<T>): Promise<T> {
    const failed = this.#loop.then(() => work);
    return await Promise.race([work, failed]);
  }

  /**
   * Waits until what the listener has seen satisfies the predicate.
   * @returns false after the timeout
   * @throws as race(); the reason of the build's signal
   */
  async until(predicate: () => boolean, timeoutMs: number): Promise<boolean> {
    const { signal, reservation } = this.#run;
    const timeout = AbortSignal.timeout(timeoutMs);
    const ending = AbortSignal.any([signal, reservation.lost, timeout]);
    try {
      await this.race(this.#fed.until(predicate, ending));
      return true;
    } catch (error) {
      if (error === timeout.reason) return false;
      throw error;
    }
  }

  async #read(): Promise<void> {
    const { signal } = this.#stopping;
    const { reservation, output } = this.#run;
    while (!signal.aborted) {
      const bytes = await reservation.line.read(quietMs, signal).catch((error) => {
        if (signal.aborted) return undefined;
        throw reservation.lost.aborted ? reservation.lost.reason : error;
      });
      if (!bytes) return;
      if (bytes.length > 0) {
        await output(bytes);
        this.#listener?.feed(bytes);
      } else this.#listener?.quiet();
      this.#fed.wake();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort();
    await this.#loop.catch(() => {});
  }
}
