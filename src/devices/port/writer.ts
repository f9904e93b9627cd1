/** The right to write to a port, which one holder has at a time. */
import type { DeviceError } from "../errors.ts";
import type { Control, Line } from "./line.ts";

/** A port in the hands of another program. Disposing takes it back, and resolves when it is open again or found to be gone. */
export interface Loan extends AsyncDisposable {
  /** A device file, or an address that pySerial understands: socket://HOST:PORT or rfc2217://HOST:PORT. */
  readonly path: string;
}

/** Disposing gives the right up. */
export interface PortWriter extends Disposable {
  readonly who: string;
  /** Aborts with a DeviceError PORT_LOST when the line is gone, also when it comes back later: then a new writer is needed. */
  readonly lost: AbortSignal;
  /**
   * @param secret such as a password: a capture doesn't show it
   * @throws DeviceError PORT_LOST, PORT_STUCK
   */
  write(bytes: Uint8Array, secret?: boolean): Promise<void>;
  /** @throws DeviceError PORT_LOST, PORT_REFUSED */
  setControl(control: Control): Promise<void>;
  /** @throws DeviceError PORT_LOST, PORT_REFUSED */
  sendBreak(milliseconds: number): Promise<void>;
  /** @throws DeviceError PORT_LOST, PORT_REFUSED */
  setBaud(baud: number): Promise<void>;
  /**
   * Closes the port for another program and keeps it from everybody else. The writer stays, and works again after the loan.
   * @throws DeviceError PORT_LOST
   */
  lend(): Promise<Loan>;
}

export interface WriterOptions {
  readonly who: string;
  /** The line at this moment. @throws DeviceError PORT_LOST when there is none */
  readonly line: () => Line;
  readonly sent: (bytes: Uint8Array, secret: boolean) => void;
  readonly lend: () => Promise<Loan>;
  readonly release: () => void;
}

export class Writer implements PortWriter {
  readonly who: string;
  readonly #options: WriterOptions;
  readonly #lost = new AbortController();

  constructor(options: WriterOptions) {
    this.who = options.who;
    this.#options = options;
  }

  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  async write(bytes: Uint8Array, secret = false): Promise<void> {
    const line = this.#line();
    this.#options.sent(bytes, secret);
    await line.write(bytes);
  }

  async setControl(control: Control): Promise<void> {
    await this.#line().setControl(control);
  }

  async sendBreak(milliseconds: number): Promise<void> {
    await this.#line().sendBreak(milliseconds);
  }

  async setBaud(baud: number): Promise<void> {
    await this.#line().setBaud(baud);
  }

  async lend(): Promise<Loan> {
    this.#lost.signal.throwIfAborted();
    return this.#options.lend();
  }

  /** The port lost its line. */
  lose(error: DeviceError): void {
    this.#lost.abort(error);
  }

  [Symbol.dispose](): void {
    this.#options.release();
  }

  #line(): Line {
    this.#lost.signal.throwIfAborted();
    return this.#options.line();
  }
}
