/** A port as dialogues use it: its output from an offset on, and the right to answer. */
import { setImmediate as turn } from "node:timers/promises";
import type { Port } from "./port.ts";
import type { PortWriter } from "./writer.ts";

/** A board that is down is silent for this long. */
const silenceMs = 100;
/** How long bytes may still come after a board went down. */
const maxUnderWayMs = 2000;
/** Enough to tell text from other bytes. */
const minTextLength = 64;

export class PortLine {
  readonly #port: Port;
  readonly #writer: PortWriter;
  #at: number;

  /** @param from the offset in the port's stream at which reading starts */
  constructor(port: Port, writer: PortWriter, from: number) {
    this.#port = port;
    this.#writer = writer;
    this.#at = from;
  }

  /** The offset of the next byte to read. */
  get at(): number {
    return this.#at;
  }

  /**
   * The next bytes, as soon as there are any. Earlier ones that weren't read yet come first, as far back as the ring goes.
   * @returns no bytes after `timeoutMs` of silence
   * @throws DeviceError PORT_LOST; the signal's reason
   */
  async read(timeoutMs: number, signal: AbortSignal): Promise<Uint8Array> {
    signal.throwIfAborted();
    // The ring is read to its end even if the port is gone.
    return this.#take() ?? (await this.#wait(timeoutMs, signal));
  }

  /** @throws DeviceError */
  write(bytes: Uint8Array, _signal: AbortSignal, secret?: boolean): Promise<void> {
    return this.#writer.write(bytes, secret);
  }

  /** Drops all output so far. */
  skip(): void {
    this.#at = this.#port.ring.end;
  }

  /**
   * Drops output until none comes for a moment. What was under way when a board went down, in adapters and networks, still comes.
   * @returns false if the board still prints text; an open wire without power makes other bytes
   */
  async skipUntilSilent(signal: AbortSignal): Promise<boolean> {
    const until = performance.now() + maxUnderWayMs;
    let text = "";
    for (;;) {
      const bytes = await this.read(silenceMs, signal);
      // A busy process may see the time pass before the bytes that came meanwhile.
      if (bytes.length === 0) await turn();
      if (bytes.length === 0 && this.#at === this.#port.ring.end) return true;
      if (performance.now() < until) continue;
      text += Buffer.from(bytes).toString("latin1");
      if (text.length >= minTextLength) return !/[ -~]{8}/.test(text);
    }
  }

  #take(): Uint8Array | undefined {
    const chunk = this.#port.ring.read(this.#at);
    if (!chunk) return undefined;
    this.#at = chunk.offset + chunk.bytes.length;
    return chunk.bytes;
  }

  #wait(timeoutMs: number, signal: AbortSignal): Promise<Uint8Array> {
    const { lost } = this.#writer;
    return new Promise((resolve, reject) => {
      const stop = (settle: () => void) => {
        clearTimeout(timer);
        this.#port.off("data", onData);
        signal.removeEventListener("abort", onAbort);
        lost.removeEventListener("abort", onLost);
        settle();
      };
      const onData = () => stop(() => resolve(this.#take() ?? new Uint8Array()));
      const onAbort = () => stop(() => reject(signal.reason));
      const onLost = () => stop(() => reject(lost.reason));
      // A timer takes at most 2^31-1 ms; with Infinity it would fire at once.
      const timer = setTimeout(() => stop(() => resolve(new Uint8Array())), Math.min(timeoutMs, 0x7fffffff));
      if (lost.aborted) return onLost();
      this.#port.on("data", onData);
      signal.addEventListener("abort", onAbort);
      lost.addEventListener("abort", onLost);
    });
  }
}
