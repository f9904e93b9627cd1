/** A line over a console server that speaks RFC 2217: bytes, speed, control lines and break over telnet. */
import { setTimeout as delay } from "node:timers/promises";
import type { PortConfig } from "#/config/model.ts";
import { type Address, formatAddress } from "#/lib/address.ts";
import { DeviceError } from "../errors.ts";
import {
  type Control,
  type Line,
  type LineErrors,
  type LineFormat,
  type ModemState,
  noErrors,
  type Receive,
} from "./line.ts";
import { dialServer } from "./tcp.ts";
import { encodeSub, telnetOption } from "./telnet.ts";
import { TelnetLine } from "./telnet-line.ts";

/** RFC 2217, section 3: the client's commands. The server answers with the same number plus 100. */
const setBaudRate = 1;
const setDataSize = 2;
const setParity = 3;
const setStopSize = 4;
const setControl = 5;
const setLineStateMask = 10;
const notifyLineState = 106;
const notifyModemState = 107;
const parity = { none: 1, odd: 2, even: 3, mark: 4, space: 5 } as const;
/** Values of SET-CONTROL. */
const flow = { none: 1, xonxoff: 2, rtscts: 3 } as const;
const breakOn = 5;
const breakOff = 6;
const dtrOn = 8;
const dtrOff = 9;
const rtsOn = 11;
const rtsOff = 12;
/** Bits of NOTIFY-LINESTATE. */
const overrunError = 2;
const parityError = 4;
const framingError = 8;
const breakDetected = 16;
/** Bits of NOTIFY-MODEMSTATE. */
const ctsOn = 0x10;
const dsrOn = 0x20;
const riOn = 0x40;
const cdOn = 0x80;

const answerTimeoutMs = 5000;

type LineConfig = Omit<PortConfig, "address">;

/**
 * Connects and sets the speed. DTR and RTS stay as they are on the server until someone sets them: a change may reset a board.
 * @throws DeviceError PORT_ABSENT, PORT_REFUSED
 */
export async function openRfc2217(
  address: Address,
  config: LineConfig,
  receive: Receive,
  signal: AbortSignal,
): Promise<Line> {
  const line = new Rfc2217Line(await dialServer(address, signal), formatAddress(address), receive);
  try {
    await line.negotiate(config, signal);
    return line;
  } catch (error) {
    await line[Symbol.asyncDispose]();
    throw error;
  }
}

class Rfc2217Line extends TelnetLine {
  /** The server's yes or no to the Com Port Control option. */
  readonly #agreed = Promise.withResolvers<boolean>();
  /** What waits for the answer to a command, by the command's number. */
  readonly #answers = new Map<number, (bytes: Uint8Array) => void>();
  #errors = noErrors;
  #modem: ModemState | undefined;

  async negotiate(
    { baud, flow: kind, parity: bit = "none", stopBits = 1 }: LineConfig,
    signal: AbortSignal,
  ): Promise<void> {
    this.ask("will", telnetOption.comPort);
    this.askForBytes();
    const isAgreed = await this.#within(this.#agreed.promise, signal);
    if (!isAgreed) {
      const message = `${this.name} doesn't speak RFC 2217: enable it on the console server, or write tcp:// instead of rfc2217://`;
      throw new DeviceError("PORT_REFUSED", message);
    }
    // If a server refuses them, the console shows it soon enough.
    this.send(
      ...[
        [setDataSize, 8],
        [setParity, parity[bit]],
        [setStopSize, stopBits],
        [setControl, flow[kind]],
        [setLineStateMask, overrunError | parityError | framingError | breakDetected],
      ].map(comPortSub),
    );
    await this.setBaud(baud);
  }

  /** Waits for no answer: ser2net sets the lines and sends none. */
  override async setControl(control: Control): Promise<void> {
    this.throwIfClosed();
    const values = { dtr: { on: dtrOn, off: dtrOff }, rts: { on: rtsOn, off: rtsOff } };
    for (const [line, value] of Object.entries(control))
      this.send(comPortSub([setControl, values[line as keyof Control][value ? "on" : "off"]]));
  }

  override async sendBreak(durationMs: number): Promise<void> {
    this.throwIfClosed();
    this.send(comPortSub([setControl, breakOn]));
    await delay(durationMs);
    this.throwIfClosed();
    this.send(comPortSub([setControl, breakOff]));
  }

  override async setBaud(baud: number): Promise<void> {
    this.throwIfClosed();
    const wanted = Buffer.alloc(4);
    wanted.writeUInt32BE(baud);
    const { promise, resolve } = Promise.withResolvers<Uint8Array>();
    this.#answers.set(setBaudRate, resolve);
    this.send(comPortSub([setBaudRate, ...wanted]));
    const answer = await this.#within(promise);
    this.#answers.delete(setBaudRate);
    const got = answer && answer.length >= 4 ? Buffer.from(answer).readUInt32BE() : 0;
    if (got === baud) return;
    const what = answer ? `it says ${got}` : "it doesn't answer";
    throw new DeviceError("PORT_REFUSED", `${this.name} can't be set to ${baud} baud: ${what}`);
  }

  /** Waits for no answer, as at the beginning: what follows is behind it. */
  override async setFormat(format: LineFormat): Promise<void> {
    this.throwIfClosed();
    this.send(
      ...[
        [setDataSize, format.bits],
        [setParity, parity[format.parity]],
        [setStopSize, format.stop],
      ].map(comPortSub),
    );
  }

  override errors(): LineErrors | undefined {
    return this.#errors;
  }

  override modem(): ModemState | undefined {
    return this.#modem;
  }

  protected override onAnswer(option: number, isOn: boolean): void {
    if (option === telnetOption.comPort) this.#agreed.resolve(isOn);
  }

  protected override onSub(option: number, bytes: Uint8Array): void {
    if (option === telnetOption.comPort) this.#onComPort(bytes);
  }

  #onComPort([command = 0, ...value]: Uint8Array): void {
    if (command === notifyLineState) {
      const [bits = 0] = value;
      this.#errors = {
        framing: this.#errors.framing + (bits & framingError ? 1 : 0),
        parity: this.#errors.parity + (bits & parityError ? 1 : 0),
        overrun: this.#errors.overrun + (bits & overrunError ? 1 : 0),
        breaks: this.#errors.breaks + (bits & breakDetected ? 1 : 0),
      };
    }
    if (command === notifyModemState) {
      const [bits = 0] = value;
      const isOn = (bit: number) => (bits & bit) !== 0;
      this.#modem = { cts: isOn(ctsOn), dsr: isOn(dsrOn), ri: isOn(riOn), cd: isOn(cdOn) };
    }
    this.#answers.get(command - 100)?.(Uint8Array.from(value));
  }

  /** @returns undefined at the timeout. @throws DeviceError PORT_LOST */
  async #within<T>(answer: Promise<T>, signal?: AbortSignal): Promise<T | undefined> {
    const done = new AbortController();
    const end = signal ? AbortSignal.any([signal, done.signal]) : done.signal;
    const late = delay(answerTimeoutMs, undefined, { signal: end }).catch(() => undefined);
    const lost = this.closed.then((error) => {
      throw error ?? this.gone();
    });
    try {
      return await Promise.race([answer, late, lost]);
    } finally {
      done.abort();
      lost.catch(() => {});
    }
  }
}

function comPortSub(bytes: readonly number[]): Uint8Array {
  return encodeSub(telnetOption.comPort, bytes);
}
