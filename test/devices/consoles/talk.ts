/** Holds a console's conversations over a real tty, or with a board that a test plays. */
import { close, constants, openSync, write } from "node:fs";
import { ReadStream } from "node:tty";
import { promisify } from "node:util";
import { type ConsoleLine, type Dialogue, runDialogue } from "#/devices/consoles/dialogue.ts";

/** Eight characters, other ones each time. */
export const token = (): string => Math.random().toString(36).slice(2, 10).padEnd(8, "0");

/** A tty as a line for conversations. */
export class TtyLine implements ConsoleLine, Disposable {
  /** All that came, one character a byte. */
  log = "";
  readonly #in: ReadStream;
  readonly #out: number;
  #fresh: Buffer[] = [];
  #wake = () => {};

  constructor(tty: string) {
    this.#in = new ReadStream(openSync(tty, constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK));
    this.#out = openSync(tty, constants.O_WRONLY | constants.O_NOCTTY);
    this.#in.on("error", () => {});
    this.#in.on("data", (bytes: Buffer) => {
      this.#fresh.push(bytes);
      this.log = (this.log + bytes.toString("latin1")).slice(-20_000);
      this.#wake();
    });
  }

  async read(timeout: number): Promise<Uint8Array> {
    if (this.#fresh.length === 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, timeout);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    const bytes = Buffer.concat(this.#fresh);
    this.#fresh = [];
    return bytes;
  }

  /** Resolves when the text is among what came, within 20 s. */
  async until(text: string): Promise<void> {
    const end = AbortSignal.timeout(20_000);
    while (!this.log.includes(text)) {
      end.throwIfAborted();
      await new Promise((resolve) => this.#in.once("data", resolve));
    }
  }

  async write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; ) at += (await promisify(write)(this.#out, bytes, at)).bytesWritten;
  }

  [Symbol.dispose](): void {
    this.#in.destroy();
    close(this.#out);
  }
}

export interface Talk {
  /** The job's output, one character a byte. */
  output: string;
  readonly notes: string[];
  /** Holds a conversation to its end. */
  hold<T>(dialogue: Dialogue<T>): Promise<T>;
}

/** @param signal ends a conversation wherever it is */
export function talk(line: ConsoleLine, signal = AbortSignal.timeout(100_000)): Talk {
  const notes: string[] = [];
  const self: Talk = {
    output: "",
    notes,
    hold: (dialogue) =>
      runDialogue(dialogue, line, {
        signal,
        onOutput: (bytes) => {
          self.output += Buffer.from(bytes).toString("latin1");
        },
        onNote: (text) => notes.push(text),
      }),
  };
  return self;
}
