/**
 * The server's side of RFC 2217, for one client of a board that is somewhere else. Pure: bytes in, events out. It acknowledges at
 * once, since tools wait for each answer, and what they do is done in order and in time where the board is.
 */
import {
  encodeData,
  encodeOption,
  encodeSub,
  type TelnetEvent,
  TelnetParser,
  type TelnetVerb,
  telnetOption,
} from "./telnet.ts";

export const serialParities = ["none", "odd", "even", "mark", "space"] as const;
export const serialFlows = ["none", "xonxoff", "rtscts"] as const;

export type SerialEvent =
  /** For the client. */
  | { readonly kind: "reply"; readonly bytes: Uint8Array }
  /** For the board. */
  | { readonly kind: "data"; readonly bytes: Uint8Array }
  | { readonly kind: "baud"; readonly baud: number }
  | {
      readonly kind: "format";
      readonly bits: 5 | 6 | 7 | 8;
      readonly parity: (typeof serialParities)[number];
      readonly stop: 1 | 2;
    }
  | { readonly kind: "flow"; readonly flow: (typeof serialFlows)[number] }
  | { readonly kind: "dtr" | "rts" | "break"; readonly on: boolean }
  /** What has come and isn't read yet, or what was written and isn't sent. */
  | { readonly kind: "purge"; readonly received: boolean; readonly sent: boolean }
  /** The client takes no data for now. */
  | { readonly kind: "suspend" | "resume" };

/** RFC 2217, section 3: the client's commands. The server answers with the same number plus 100. */
const command = {
  signature: 0,
  setBaudRate: 1,
  setDataSize: 2,
  setParity: 3,
  setStopSize: 4,
  setControl: 5,
  notifyLineState: 6,
  notifyModemState: 7,
  suspend: 8,
  resume: 9,
  setLineStateMask: 10,
  setModemStateMask: 11,
  purge: 12,
} as const;

/** Bits of NOTIFY-MODEMSTATE. */
const modemBits = { cd: 0x80, ri: 0x40, dsr: 0x20, cts: 0x10 } as const;

/** Bits of NOTIFY-LINESTATE. */
const lineBits = { overrun: 0x02, parity: 0x04, framing: 0x08, breaks: 0x10 } as const;

const { binary, echo, suppressGoAhead, comPort } = telnetOption;
const maxBaud = 20_000_000;
const signature = "labgear";

/** What the other side sets, and counts of errors. What nobody knows is absent. */
export type LineStatus = Readonly<
  Partial<Record<keyof typeof modemBits, boolean> & Record<keyof typeof lineBits, number>>
>;

/** RFC 1143: only a change is answered, so that no two peers answer each other for ever. */
type OptionState = "off" | "asked" | "on";

export class Rfc2217Server {
  readonly #parser = new TelnetParser();
  /** What this side may do: send binary data, echo as a terminal expects of a board, speak RFC 2217. */
  readonly #ours = new Map<number, OptionState>([
    [binary, "asked"],
    [suppressGoAhead, "asked"],
    [echo, "asked"],
    [comPort, "off"],
  ]);
  readonly #theirs = new Map<number, OptionState>([
    [binary, "asked"],
    [suppressGoAhead, "asked"],
    [comPort, "asked"],
  ]);
  #baud: number;
  #format: { bits: 5 | 6 | 7 | 8; parity: number; stop: 1 | 2 } = { bits: 8, parity: 1, stop: 1 };
  #flow = 1;
  readonly #on = { dtr: true, rts: true, break: false };
  #modem: number;
  #modemMask = 0xff;
  #lines: LineStatus;
  /** RFC 2217, section 3: nothing is sent of the line unless a client asks for it. */
  #lineMask = 0;

  constructor(baud: number, lines: LineStatus = {}) {
    this.#baud = baud;
    this.#lines = lines;
    this.#modem = bitsOf(lines);
  }

  /** What a client gets first. */
  greeting(): Uint8Array {
    const ask = (verb: TelnetVerb, states: ReadonlyMap<number, OptionState>) =>
      [...states].filter(([, state]) => state === "asked").map(([option]) => encodeOption(verb, option));
    return Buffer.concat([...ask("will", this.#ours), ...ask("do", this.#theirs)]);
  }

  /** The board's output as the client gets it. */
  encode(bytes: Uint8Array): Uint8Array {
    return encodeData(bytes, this.#ours.get(binary) === "on" || this.#speaksSerial);
  }

  /** The modem's lines or the counts have changed. @returns what the client gets */
  setLines(lines: LineStatus): Uint8Array {
    const before = { lines: this.#lines, modem: this.#modem };
    this.#lines = lines;
    this.#modem = bitsOf(lines);
    const hasModemChanged = before.modem !== this.#modem;
    const errors = Object.entries(lineBits).reduce((bits, [name, bit]) => {
      const count = (of: LineStatus) => of[name as keyof typeof lineBits] ?? 0;
      return bits | (count(lines) > count(before.lines) ? bit : 0);
    }, 0);
    return Buffer.concat([
      this.#lineState(errors),
      hasModemChanged ? this.#modemState(changeBits(before.modem, this.#modem)) : new Uint8Array(),
    ]);
  }

  *push(bytes: Uint8Array): Generator<SerialEvent> {
    for (const event of this.#parser.push(bytes)) yield* this.#take(event);
  }

  get #speaksSerial(): boolean {
    return this.#theirs.get(comPort) === "on";
  }

  *#take(event: TelnetEvent): Generator<SerialEvent> {
    if (event.kind === "data") yield event;
    else if (event.kind === "option") yield* this.#negotiate(event.verb, event.option);
    else if (event.option === comPort) yield* this.#onCommand([...event.bytes]);
  }

  *#negotiate(verb: TelnetVerb, option: number): Generator<SerialEvent> {
    const isTheirs = verb === "will" || verb === "wont";
    const states = isTheirs ? this.#theirs : this.#ours;
    const state = states.get(option);
    const isYes = verb === "will" || verb === "do";
    const reply = (answer: TelnetVerb): SerialEvent => ({
      kind: "reply",
      bytes: encodeOption(answer, option),
    });
    if (state === undefined) {
      if (isYes) yield reply(isTheirs ? "dont" : "wont");
      return;
    }
    const after = isYes ? "on" : "off";
    states.set(option, after);
    if (state !== "asked" && state !== after) {
      if (isYes) yield reply(isTheirs ? "do" : "will");
      else yield reply(isTheirs ? "dont" : "wont");
    }
    this.#parser.binary = this.#theirs.get(binary) === "on" || this.#speaksSerial;
    // Some clients wait for the modem's state, and some never ask for it.
    if (isTheirs && option === comPort && isYes && state !== "on")
      yield { kind: "reply", bytes: this.#modemState(0) };
  }

  *#onCommand([code = -1, ...value]: readonly number[]): Generator<SerialEvent> {
    const [first = 0] = value;
    switch (code) {
      case command.signature:
        if (value.length === 0) yield answer(code, [...Buffer.from(signature)]);
        return;
      case command.setBaudRate:
        return yield* this.#setBaud(value);
      case command.setDataSize:
      case command.setParity:
      case command.setStopSize:
        return yield* this.#setFormat(code, first);
      case command.setControl:
        return yield* this.#control(first);
      case command.suspend:
      case command.resume:
        return yield { kind: code === command.suspend ? "suspend" : "resume" };
      case command.setLineStateMask:
        this.#lineMask = first;
        return yield answer(code, [first]);
      case command.setModemStateMask:
        this.#modemMask = first;
        return yield answer(code, [first]);
      case command.purge:
        if (first >= 1 && first <= 3)
          yield { kind: "purge", received: (first & 1) !== 0, sent: (first & 2) !== 0 };
        return yield answer(code, [first]);
    }
  }

  *#setBaud(value: readonly number[]): Generator<SerialEvent> {
    if (value.length !== 4) return;
    const baud = Buffer.from(value).readUInt32BE();
    if (baud > 0 && baud <= maxBaud && baud !== this.#baud) {
      this.#baud = baud;
      yield { kind: "baud", baud };
    }
    const now = Buffer.alloc(4);
    now.writeUInt32BE(this.#baud);
    yield answer(command.setBaudRate, [...now]);
  }

  *#setFormat(code: number, value: number): Generator<SerialEvent> {
    const before = { ...this.#format };
    if (code === command.setDataSize && value >= 5 && value <= 8) this.#format.bits = value as 5 | 6 | 7 | 8;
    if (code === command.setParity && value >= 1 && value <= serialParities.length)
      this.#format.parity = value;
    // 3 is one and a half, which only 5 bits have.
    if (code === command.setStopSize && (value === 1 || value === 2)) this.#format.stop = value;
    const { bits, parity, stop } = this.#format;
    if (bits !== before.bits || parity !== before.parity || stop !== before.stop)
      yield { kind: "format", bits, parity: serialParities[parity - 1] ?? "none", stop };
    const now = code === command.setDataSize ? bits : code === command.setParity ? parity : stop;
    yield answer(code, [now]);
  }

  /** SET-CONTROL: 0 to 3 flow, 4 to 6 break, 7 to 9 DTR, 10 to 12 RTS; the first of each asks. 13 to 19 are of the flow inwards. */
  *#control(value: number): Generator<SerialEvent> {
    if (value <= 3) {
      if (value !== 0 && value !== this.#flow) {
        this.#flow = value;
        yield { kind: "flow", flow: serialFlows[value - 1] ?? "none" };
      }
      return yield answer(command.setControl, [this.#flow]);
    }
    if (value >= 13) {
      if (value <= 19) yield answer(command.setControl, [value === 13 ? 14 : value]);
      return;
    }
    const kinds = ["break", "dtr", "rts"] as const;
    const kind = kinds[Math.floor((value - 4) / 3)];
    if (!kind) return;
    const asked = (value - 4) % 3;
    const base = value - asked;
    if (asked !== 0) {
      this.#on[kind] = asked === 1;
      yield { kind, on: asked === 1 };
    }
    yield answer(command.setControl, [base + (this.#on[kind] ? 1 : 2)]);
  }

  #lineState(errors: number): Uint8Array {
    const bits = errors & this.#lineMask;
    if (!this.#speaksSerial || bits === 0) return new Uint8Array();
    return encodeSub(comPort, [command.notifyLineState + 100, bits]);
  }

  /** @param changed the lower bits: what has changed */
  #modemState(changed: number): Uint8Array {
    const bits = (this.#modem | changed) & this.#modemMask;
    if (!this.#speaksSerial || this.#modemMask === 0) return new Uint8Array();
    return encodeSub(comPort, [command.notifyModemState + 100, bits]);
  }
}

function answer(code: number, value: readonly number[]): SerialEvent {
  return { kind: "reply", bytes: encodeSub(comPort, [code + 100, ...value]) };
}

/** The lower bits of NOTIFY-MODEMSTATE: of RI only the end of a ring counts, as in the 16550's register. */
function changeBits(before: number, now: number): number {
  const isRingOver = (before & modemBits.ri) !== 0 && (now & modemBits.ri) === 0;
  return (((before ^ now) & ~modemBits.ri) >> 4) | (isRingOver ? modemBits.ri >> 4 : 0);
}

/** Lines that nobody knows count as on, which is what programs wait for; no one rings. */
function bitsOf({ cd = true, ri = false, dsr = true, cts = true }: LineStatus): number {
  const lines = { cd, ri, dsr, cts };
  return Object.entries(modemBits).reduce(
    (bits, [name, bit]) => bits | (lines[name as keyof typeof lines] ? bit : 0),
    0,
  );
}
