/** A test's own hand on a tty, by the system's means alone: says things and waits for what comes. */
import { close, constants, openSync, write } from "node:fs";
import { ReadStream } from "node:tty";
import { promisify } from "node:util";
import { bounded, patienceMs } from "../support/servers.ts";

const reading = constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK;
// Writes wait in a thread: node's own streams would hold up the whole process, and with it the line's broker.
const writing = constants.O_WRONLY | constants.O_NOCTTY;

export class Wire implements Disposable {
  /** All that came, one character a byte. */
  text = "";
  /** Resolves when the tty hung up. */
  readonly closed: Promise<void>;
  readonly #in: ReadStream;
  readonly #out: number;
  #written: Promise<unknown> = Promise.resolve();
  readonly #waiting = new Set<() => void>();
  #seen = 0;

  constructor(tty: string) {
    this.#in = new ReadStream(openSync(tty, reading));
    this.#out = openSync(tty, writing);
    this.#in.on("data", (bytes) => {
      this.text += bytes.toString("latin1");
      for (const look of [...this.#waiting]) look();
    });
    this.#in.on("error", () => {});
    this.closed = new Promise((resolve) => this.#in.once("close", resolve));
  }

  /** Resolves when the tty has taken it; what is said to one that hung up is lost. */
  async say(text: string): Promise<void> {
    const bytes = Buffer.from(text, "latin1");
    const turn = this.#written.then(async () => {
      for (let at = 0; at < bytes.length; ) at += (await promisify(write)(this.#out, bytes, at)).bytesWritten;
    });
    this.#written = turn.catch(() => {});
    await this.#written;
  }

  /** What came since the last wait, up to and with the pattern; an error when the tty hangs up or it takes too long. */
  async until(pattern: RegExp | string, milliseconds = patienceMs): Promise<string> {
    const found = new Promise<string>((resolve) => {
      const look = () => {
        const fresh = this.text.slice(this.#seen);
        const match = typeof pattern === "string" ? literal(fresh, pattern) : matched(fresh, pattern);
        if (match === undefined) return;
        this.#seen += match.length;
        this.#waiting.delete(look);
        resolve(match);
      };
      this.#waiting.add(look);
      look();
    });
    return this.#bounded(found, milliseconds).catch((error: Error) => {
      const tail = JSON.stringify(this.text.slice(-2000));
      throw new Error(`no ${pattern} came (${error.message}), but: ${tail}`);
    });
  }

  /** Resolves when so many bytes have come, in all. */
  async received(bytes: number, milliseconds = patienceMs): Promise<void> {
    const enough = new Promise<void>((resolve) => {
      const look = () => {
        if (this.text.length < bytes) return;
        this.#waiting.delete(look);
        resolve();
      };
      this.#waiting.add(look);
      look();
    });
    await this.#bounded(enough, milliseconds);
  }

  #bounded<T>(event: Promise<T>, milliseconds: number): Promise<T> {
    const hungUp = this.closed.then(() => {
      throw new Error("the tty hung up");
    });
    return bounded(Promise.race([event, hungUp]), milliseconds);
  }

  [Symbol.dispose](): void {
    this.#in.destroy();
    void this.#written.then(() => close(this.#out));
  }
}

function literal(text: string, part: string): string | undefined {
  const at = text.indexOf(part);
  return at < 0 ? undefined : text.slice(0, at + part.length);
}

function matched(text: string, pattern: RegExp): string | undefined {
  const match = pattern.exec(text);
  return match ? text.slice(0, match.index + match[0].length) : undefined;
}
