/** A line over a console server that speaks RFC 2217: bytes, speed, control lines and break over telnet. */
import type { Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import type { PortConfig } from "#/config/model.ts";
import { type Address, formatAddress } from "#/lib/address.ts";
import { DeviceError } from "../errors.ts";
import type { Control, Line, LineErrors, Receive } from "./line.ts";
import { dialServer, socketEnd, writeSocket } from "./tcp.ts";
import {
  encodeData,
  encodeOption,
  encodeSub,
  type TelnetEvent,
  TelnetParser,
  telnetOption,
} from "./telnet.ts";

/** RFC 2217, section 3: the client's commands. The server answers with the same number plus 100. */
const setBaudRate = 1;
const setDataSize = 2;
const setParity = 3;
const setStopSize = 4;
const setControl = 5;
const notifyLineState = 106;
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

const answerTimeoutMs = 5000;

/**
 * Connects and sets the speed. DTR and RTS stay as they are on the server until someone sets them: a change may reset a board.
 * @throws DeviceError PORT_ABSENT, PORT_REFUSED
 */
export async function openRfc2217(
  address: Address,
  config: Pick<PortConfig, "baud" | "flow">,
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

class Rfc2217Line implements Line {
  readonly closed: Promise<DeviceError | undefined>;
  readonly #socket: Socket;
  readonly #name: string;
  readonly #receive: Receive;
  readonly #parser = new TelnetParser();
  /** The server accepts binary data (RFC 856). */
  #binary = false;
  /** The server's yes or no to the Com Port Control option. */
  #agreed = Promise.withResolvers<boolean>();
  /** What waits for the answer to a command, by the command's number. */
  readonly #answers = new Map<number, (bytes: Uint8Array) => void>();
  #errors: LineErrors = { broken: 0, overrun: 0 };

  constructor(socket: Socket, name: string, receive: Receive) {
    this.#socket = socket;
    this.#name = name;
    this.#receive = receive;
    this.closed = socketEnd(socket, name);
    socket.on("data", (bytes: Buffer) => {
      for (const event of this.#parser.push(bytes)) this.#take(event);
    });
  }

  async negotiate(
    { baud, flow: kind }: Pick<PortConfig, "baud" | "flow">,
    signal: AbortSignal,
  ): Promise<void> {
    const { binary, suppressGoAhead, comPort } = telnetOption;
    this.#send(
      encodeOption("will", comPort),
      encodeOption("will", binary),
      encodeOption("do", binary),
      encodeOption("will", suppressGoAhead),
      encodeOption("do", suppressGoAhead),
    );
    const isAgreed = await this.#within(this.#agreed.promise, signal);
    if (!isAgreed) {
      const message = `${this.#name} doesn't speak RFC 2217: enable it on the console server, or write tcp:// instead of rfc2217://`;
      throw new DeviceError("PORT_REFUSED", message);
    }
    // Eight bits, no parity, one stop bit. If a server refuses them, the console shows it soon enough.
    this.#send(
      ...[
        [setDataSize, 8],
        [setParity, 1],
        [setStopSize, 1],
        [setControl, flow[kind]],
      ].map(comPortSub),
    );
    await this.setBaud(baud);
  }

  write(bytes: Uint8Array): Promise<void> {
    return writeSocket(this.#socket, encodeData(bytes, this.#binary), this.#name);
  }

  /** Waits for no answer: ser2net sets the lines and sends none. */
  async setControl(control: Control): Promise<void> {
    this.#throwIfClosed();
    const values = { dtr: { on: dtrOn, off: dtrOff }, rts: { on: rtsOn, off: rtsOff } };
    for (const [line, value] of Object.entries(control))
      this.#send(comPortSub([setControl, values[line as keyof Control][value ? "on" : "off"]]));
  }

  async sendBreak(durationMs: number): Promise<void> {
    this.#throwIfClosed();
    this.#send(comPortSub([setControl, breakOn]));
    await delay(durationMs);
    this.#throwIfClosed();
    this.#send(comPortSub([setControl, breakOff]));
  }

  async setBaud(baud: number): Promise<void> {
    this.#throwIfClosed();
    const wanted = Buffer.alloc(4);
    wanted.writeUInt32BE(baud);
    const { promise, resolve } = Promise.withResolvers<Uint8Array>();
    this.#answers.set(setBaudRate, resolve);
    this.#send(comPortSub([setBaudRate, ...wanted]));
    const answer = await this.#within(promise);
    this.#answers.delete(setBaudRate);
    const got = answer && answer.length >= 4 ? Buffer.from(answer).readUInt32BE() : 0;
    if (got === baud) return;
    const what = answer ? `it says ${got}` : "it doesn't answer";
    throw new DeviceError("PORT_REFUSED", `${this.#name} can't be set to ${baud} baud: ${what}`);
  }

  errors(): LineErrors | undefined {
    return this.#errors;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.destroy();
    await this.closed;
  }

  #take(event: TelnetEvent): void {
    if (event.kind === "data") this.#receive(event.bytes);
    else if (event.kind === "option") this.#onOption(event.verb, event.option);
    else if (event.option === telnetOption.comPort) this.#onComPort(event.bytes);
  }

  /** Takes the server's answers to the options of negotiate(), and declines all others. */
  #onOption(verb: "will" | "wont" | "do" | "dont", option: number): void {
    const { binary, suppressGoAhead, comPort, echo } = telnetOption;
    const isYes = verb === "will" || verb === "do";
    if (option === comPort) {
      if (verb === "do" || verb === "dont") this.#agreed.resolve(isYes);
      return;
    }
    if (option === binary) {
      if (verb === "will" || verb === "wont") this.#parser.binary = isYes;
      else this.#binary = isYes;
      return;
    }
    // The board echoes, and the server may offer to.
    if (option === suppressGoAhead || (option === echo && verb !== "do")) return;
    if (verb === "will") this.#send(encodeOption("dont", option));
    if (verb === "do") this.#send(encodeOption("wont", option));
  }

  #onComPort([command = 0, ...value]: Uint8Array): void {
    if (command === notifyLineState) {
      const [bits = 0] = value;
      this.#errors = {
        broken: this.#errors.broken + (bits & (parityError | framingError) ? 1 : 0),
        overrun: this.#errors.overrun + (bits & overrunError ? 1 : 0),
      };
    }
    this.#answers.get(command - 100)?.(Uint8Array.from(value));
  }

  #send(...parts: Uint8Array[]): void {
    if (!this.#socket.destroyed) this.#socket.write(Buffer.concat(parts));
  }

  /** @returns undefined at the timeout. @throws DeviceError PORT_LOST */
  async #within<T>(answer: Promise<T>, signal?: AbortSignal): Promise<T | undefined> {
    const done = new AbortController();
    const end = signal ? AbortSignal.any([signal, done.signal]) : done.signal;
    const late = delay(answerTimeoutMs, undefined, { signal: end }).catch(() => undefined);
    const lost = this.closed.then((error) => {
      throw error ?? this.#gone();
    });
    try {
      return await Promise.race([answer, late, lost]);
    } finally {
      done.abort();
      lost.catch(() => {});
    }
  }

  #throwIfClosed(): void {
    if (this.#socket.destroyed) throw this.#gone();
  }

  #gone(): DeviceError {
    return new DeviceError("PORT_LOST", `${this.#name} is closed`);
  }
}

function comPortSub(bytes: readonly number[]): Uint8Array {
  return encodeSub(telnetOption.comPort, bytes);
}
