/** A tty as a line for dialogues. */
import { close, constants, openSync, write } from "node:fs";
import { ReadStream } from "node:tty";
import { promisify } from "node:util";
import type { ConsoleLine } from "#/devices/consoles/dialogue.ts";

export class TtyLine implements ConsoleLine, Disposable {
  /** The end of what came, one character a byte. */
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

  async read(timeoutMs: number): Promise<Uint8Array> {
    if (this.#fresh.length === 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, timeoutMs);
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

  /** Resolves once the text has come, within a minute. */
  async until(text: string): Promise<void> {
    const end = AbortSignal.timeout(60_000);
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
