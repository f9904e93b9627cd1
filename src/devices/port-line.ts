/** A port as conversations use it: what the board says from some moment on, and the right to answer. */
import type { Port } from "./port/port.ts";
import type { PortWriter } from "./port/writer.ts";

export class PortLine {
  readonly #port: Port;
  readonly #writer: PortWriter;
  #at: number;

  /** @param from the offset in the port's stream of the first byte that is read */
  constructor(port: Port, writer: PortWriter, from: number) {
    this.#port = port;
    this.#writer = writer;
    this.#at = from;
  }

  /**
   * The next bytes, as soon as there are any; bytes that came while nobody read are there as far back as the ring goes.
   * @param timeout milliseconds
   * @returns nothing when the time has passed in silence
   * @throws DeviceError PORT_LOST; the signal's reason
   */
  async read(timeout: number, signal: AbortSignal): Promise<Uint8Array> {
    signal.throwIfAborted();
    // What the ring has is read to its end, also when the port is gone by now.
    return this.#take() ?? (await this.#wait(timeout, signal));
  }

  /** @throws DeviceError */
  write(bytes: Uint8Array): Promise<void> {
    return this.#writer.write(bytes);
  }

  /** Lets go of what came until now. */
  skip(): void {
    this.#at = this.#port.ring.end;
  }

  #take(): Uint8Array | undefined {
    const chunk = this.#port.ring.read(this.#at);
    if (!chunk) return undefined;
    this.#at = chunk.offset + chunk.bytes.length;
    return chunk.bytes;
  }

  #wait(timeout: number, signal: AbortSignal): Promise<Uint8Array> {
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
      // A timer takes 2^31-1 ms at most, and Infinity would fire at once.
      const timer = setTimeout(() => stop(() => resolve(new Uint8Array())), Math.min(timeout, 0x7fffffff));
      if (lost.aborted) return onLost();
      this.#port.on("data", onData);
      signal.addEventListener("abort", onAbort);
      lost.addEventListener("abort", onLost);
    });
  }
}
