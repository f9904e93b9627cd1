/** A line over a server that speaks telnet (RFC 854): a console server, or a board's own telnetd. */
import type { Socket } from "node:net";
import { type Address, formatAddress } from "#/lib/address.ts";
import { Condition } from "#/lib/condition.ts";
import { DeviceError } from "../errors.ts";
import type { Control, Line, LineErrors, LineFormat, ModemState, Receive } from "./line.ts";
import { dialServer, socketEnd, writeSocket } from "./tcp.ts";
import {
  encodeData,
  encodeOption,
  type TelnetEvent,
  TelnetParser,
  type TelnetVerb,
  telnetOption,
} from "./telnet.ts";

/** @throws DeviceError PORT_ABSENT */
export async function openTelnet(address: Address, receive: Receive, signal: AbortSignal): Promise<Line> {
  const line = new TelnetLine(await dialServer(address, signal), formatAddress(address), receive);
  line.askForBytes();
  await line.agreed(signal);
  return line;
}

/** Some servers answer no option. */
const answerTimeoutMs = 2000;

/** Of an option on one side. RFC 1143: only a change is answered, so that no two peers answer each other for ever. */
type OptionState = "off" | "asked" | "on";

const { binary, echo, suppressGoAhead, terminalType } = telnetOption;

export class TelnetLine implements Line {
  readonly closed: Promise<DeviceError | undefined>;
  protected readonly name: string;
  readonly #socket: Socket;
  readonly #receive: Receive;
  readonly #parser = new TelnetParser();
  readonly #answers = new Condition();
  /** What the server may do, and does. It echoes (RFC 857), or the board behind it. */
  readonly #theirs = new Map<number, OptionState>([
    [binary, "off"],
    [echo, "off"],
    [suppressGoAhead, "off"],
  ]);
  /** What this side may do, and does. */
  readonly #ours = new Map<number, OptionState>([
    [binary, "off"],
    [suppressGoAhead, "off"],
  ]);

  constructor(socket: Socket, name: string, receive: Receive) {
    this.#socket = socket;
    this.name = name;
    this.#receive = receive;
    this.closed = socketEnd(socket, name);
    socket.on("data", (bytes: Buffer) => {
      for (const event of this.#parser.push(bytes)) this.#take(event);
    });
  }

  write(bytes: Uint8Array): Promise<void> {
    return writeSocket(this.#socket, encodeData(bytes, this.#ours.get(binary) === "on"), this.name);
  }

  setControl(_control: Control): Promise<void> {
    return Promise.reject(this.#refusal("control lines"));
  }

  sendBreak(_durationMs: number): Promise<void> {
    return Promise.reject(this.#refusal("break of a certain length"));
  }

  setBaud(_baud: number): Promise<void> {
    return Promise.reject(this.#refusal("speed"));
  }

  setFormat(_format: LineFormat): Promise<void> {
    return Promise.reject(this.#refusal("format of characters"));
  }

  errors(): LineErrors | undefined {
    return undefined;
  }

  modem(): ModemState | undefined {
    return undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.destroy();
    await this.closed;
  }

  /** Asks for all bytes as they are, both ways. */
  askForBytes(): void {
    for (const option of [binary, suppressGoAhead]) {
      this.ask("will", option);
      this.ask("do", option);
    }
  }

  /** Resolves when all questions are answered, or it is too late. What is written before may arrive changed. */
  async agreed(signal: AbortSignal): Promise<void> {
    const isOver = () => ![...this.#ours.values(), ...this.#theirs.values()].includes("asked");
    const end = AbortSignal.any([signal, AbortSignal.timeout(answerTimeoutMs)]);
    await Promise.race([this.#answers.until(isOver, end).catch(() => {}), this.closed]);
  }

  /** Asks for an option, on the server's side ("do") or on this one ("will"). */
  protected ask(verb: "will" | "do", option: number): void {
    (verb === "will" ? this.#ours : this.#theirs).set(option, "asked");
    this.send(encodeOption(verb, option));
  }

  /** An option that was asked for on this side is on or off now. */
  protected onAnswer(_option: number, _isOn: boolean): void {}

  protected onSub(_option: number, _bytes: Uint8Array): void {}

  protected send(...parts: Uint8Array[]): void {
    if (!this.#socket.destroyed) this.#socket.write(Buffer.concat(parts));
  }

  protected throwIfClosed(): void {
    if (this.#socket.destroyed) throw this.gone();
  }

  protected gone(): DeviceError {
    return new DeviceError("PORT_LOST", `${this.name} is closed`);
  }

  #take(event: TelnetEvent): void {
    if (event.kind === "data") this.#receive(event.bytes);
    else if (event.kind === "option") this.#onOption(event.verb, event.option);
    else this.onSub(event.option, event.bytes);
  }

  #onOption(verb: TelnetVerb, option: number): void {
    const isTheirs = verb === "will" || verb === "wont";
    const isOn = verb === "will" || verb === "do";
    const states = isTheirs ? this.#theirs : this.#ours;
    const state = states.get(option);
    const [yes, no] = isTheirs ? (["do", "dont"] as const) : (["will", "wont"] as const);
    if (state === undefined) {
      if (isOn) this.send(encodeOption(no, option));
      if (isOn && option === terminalType) this.#leaveBinary();
      return;
    }
    if (state !== "asked" && (state === "on") !== isOn) this.send(encodeOption(isOn ? yes : no, option));
    states.set(option, isOn ? "on" : "off");
    this.#answers.wake();
    if (isTheirs && option === binary) this.#parser.binary = isOn;
    if (!isTheirs) this.onAnswer(option, isOn);
  }

  /** The server is a telnetd, with a tty of its own: in binary mode, it would take no CR as the end of a line. */
  #leaveBinary(): void {
    this.#parser.binary = false;
    if (this.#ours.delete(binary)) this.send(encodeOption("wont", binary));
    if (this.#theirs.delete(binary)) this.send(encodeOption("dont", binary));
    this.#answers.wake();
  }

  #refusal(what: string): DeviceError {
    const message = `${this.name} has no ${what} over telnet: enable RFC 2217 on the console server and write rfc2217:// instead of telnet://`;
    return new DeviceError("PORT_REFUSED", message);
  }
}
