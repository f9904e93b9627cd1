/** One opened connection to a port: bytes and control lines, whatever carries them. */
import type { DeviceError } from "../errors.ts";

export interface Control {
  readonly dtr?: boolean;
  readonly rts?: boolean;
}

/** What a driver counted since the line was opened. */
export interface LineErrors {
  /** Characters that came broken: framing and parity. Many of them: the speed is wrong. */
  readonly broken: number;
  /** Characters that came and were lost before they could be read. */
  readonly overrun: number;
}

/** Disposing closes it; that is bounded in time even when the other side takes nothing. */
export interface Line extends AsyncDisposable {
  /** Resolves when all of it is with the system. @throws DeviceError PORT_STUCK, PORT_LOST */
  write(bytes: Uint8Array): Promise<void>;
  /** Lines that aren't named stay as they are. @throws DeviceError PORT_REFUSED where there are none */
  setControl(control: Control): Promise<void>;
  /** A break of that many milliseconds. @throws DeviceError PORT_REFUSED where that can't be */
  sendBreak(milliseconds: number): Promise<void>;
  /** @throws DeviceError PORT_REFUSED for a speed that can't be */
  setBaud(baud: number): Promise<void>;
  /** What the driver counted; undefined where it doesn't say. */
  errors(): LineErrors | undefined;
  /** Settles once: with why it was lost, or with undefined after it was disposed. */
  readonly closed: Promise<DeviceError | undefined>;
}

/** Called with the bytes that came. They are the receiver's only until it returns. */
export type Receive = (bytes: Uint8Array) => void;
