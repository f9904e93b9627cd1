/** The right to write to a port. It has one holder at a time. */
import type { DeviceError } from "../errors.ts";
import type { Control, Line, LineFormat } from "./line.ts";

/** A port lent to another program. Disposing takes it back, and resolves when it is open again or known to be gone. */
export interface Loan extends AsyncDisposable {
  /** A device file, or an address that pySerial understands: socket://HOST:PORT or rfc2217://HOST:PORT. */
  readonly path: string;
}

/** Disposing gives the right up. */
export interface PortWriter extends Disposable {
  readonly who: string;
  /** Aborts with a DeviceError PORT_LOST when the line is gone. If the port comes back, that needs a new writer. */
  readonly lost: AbortSignal;
  /**
   * @param secret such as a password: a capture doesn't show it
   * @throws DeviceError PORT_LOST, PORT_STUCK
   */
  write(bytes: Uint8Array, secret?: boolean): Promise<void>;
  /** @throws DeviceError PORT_LOST, PORT_REFUSED */
  setControl(control: Control): Promise<void>;
  /** @throws DeviceError PORT_LOST, PORT_REFUSED */
  sendBreak(durationMs: number): Promise<void>;
  /** Until the port is opened anew, or restoreBaud(). @throws DeviceError PORT_LOST, PORT_ABSENT, PORT_REFUSED */
  setBaud(baud: number): Promise<void>;
  /** As long as setBaud(). @throws DeviceError PORT_LOST, PORT_ABSENT, PORT_REFUSED */
  setFormat(format: LineFormat): Promise<void>;
  /**
   * Closes the port for another program, and keeps the claim on it. The writer works again after the loan.
   * @throws DeviceError PORT_LOST
   */
  lend(): Promise<Loan>;
}

export interface WriterOptions {
  readonly who: string;
  /** The current line. @throws DeviceError PORT_LOST if there is none */
  readonly line: () => Line;
  readonly sent: (bytes: Uint8Array, secret: boolean) => void;
  readonly setBaud: (baud: number) => Promise<void>;
  readonly setFormat: (format: LineFormat) => Promise<void>;
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

  async sendBreak(durationMs: number): Promise<void> {
    await this.#line().sendBreak(durationMs);
  }

  async setBaud(baud: number): Promise<void> {
    this.#lost.signal.throwIfAborted();
    await this.#options.setBaud(baud);
  }

  async setFormat(format: LineFormat): Promise<void> {
    this.#lost.signal.throwIfAborted();
    await this.#options.setFormat(format);
  }

  async lend(): Promise<Loan> {
    this.#lost.signal.throwIfAborted();
    return this.#options.lend();
  }

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
