/** An open connection to a port: bytes and control lines, over a tty or a network. */
import type { DeviceError } from "../errors.ts";

export interface Control {
  readonly dtr?: boolean;
  readonly rts?: boolean;
}

/** Of a character. */
export interface LineFormat {
  readonly bits: 5 | 6 | 7 | 8;
  readonly parity: "none" | "odd" | "even" | "mark" | "space";
  readonly stop: 1 | 2;
}

/** Counted by the driver since the line was opened. */
export interface LineErrors {
  /** Characters with errors. Many of them mean a wrong speed. */
  readonly framing: number;
  readonly parity: number;
  /** Characters lost before they could be read. */
  readonly overrun: number;
  readonly breaks: number;
}

export const noErrors: LineErrors = { framing: 0, parity: 0, overrun: 0, breaks: 0 };

/** The lines that the other side sets. */
export interface ModemState {
  readonly cts: boolean;
  readonly dsr: boolean;
  readonly ri: boolean;
  readonly cd: boolean;
}

/** Disposing closes it, in bounded time even if the other side accepts no bytes. */
export interface Line extends AsyncDisposable {
  /** Resolves when the system has all of the bytes. @throws DeviceError PORT_STUCK, PORT_LOST */
  write(bytes: Uint8Array): Promise<void>;
  /** Sets both at once, or in the order given if the port can't. Lines that aren't named stay as they are. @throws DeviceError PORT_REFUSED if the port has none */
  setControl(control: Control): Promise<void>;
  /** @throws DeviceError PORT_REFUSED if the port can't */
  sendBreak(durationMs: number): Promise<void>;
  /** @throws DeviceError PORT_REFUSED if the port can't */
  setBaud(baud: number): Promise<void>;
  /** @throws DeviceError PORT_REFUSED if the port can't */
  setFormat(format: LineFormat): Promise<void>;
  /** Undefined if the driver doesn't count. */
  errors(): LineErrors | undefined;
  /** Undefined if the port has none, or doesn't say. */
  modem(): ModemState | undefined;
  /** Resolves with the reason if the line is lost, with undefined once it is disposed of. */
  readonly closed: Promise<DeviceError | undefined>;
}

/** Takes received bytes, which are valid only until it returns. */
export type Receive = (bytes: Uint8Array) => void;
