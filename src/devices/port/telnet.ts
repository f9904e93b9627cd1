/** Telnet's bytes (RFC 854), eight bits clean (RFC 856) and with the Com Port Control option (RFC 2217). Pure: bytes in, events out. */

export const telnetOption = {
  binary: 0,
  echo: 1,
  suppressGoAhead: 3,
  terminalType: 24,
  comPort: 44,
} as const;

const telnetCommand = {
  se: 240,
  sb: 250,
  will: 251,
  wont: 252,
  do: 253,
  dont: 254,
  iac: 255,
} as const;

export type TelnetVerb = "will" | "wont" | "do" | "dont";

export type TelnetEvent =
  | { readonly kind: "data"; readonly bytes: Uint8Array }
  /** WILL, WONT, DO or DONT with an option. */
  | { readonly kind: "option"; readonly verb: TelnetVerb; readonly option: number }
  /** A subnegotiation: the option, and what it says. */
  | { readonly kind: "sub"; readonly option: number; readonly bytes: Uint8Array };

/** Of a subnegotiation. RFC 2217's longest is a signature, which is free text. */
const maxSubBytes = 1024;

const verbs = new Map<number, TelnetVerb>([
  [telnetCommand.will, "will"],
  [telnetCommand.wont, "wont"],
  [telnetCommand.do, "do"],
  [telnetCommand.dont, "dont"],
]);

/**
 *             IAC                 SB              IAC
 *   data ───────────▶ command ──────────▶ sub ───────────▶ subCommand
 *    ▲ ▲    IAC IAC,   │    │               ▲  IAC IAC        │   │ SE
 *    │ └───────────────┘    │ WILL…DONT     └─────────────────┘   │
 *    │        others        ▼                                     │
 *    ├────────────────── option                                   │
 *    └────────────────────────────────────────────────────────────┘
 */
type State = "data" | "command" | "option" | "sub" | "subCommand";

export class TelnetParser {
  /** The peer sends binary data (RFC 856): CR stands for itself. Otherwise NUL follows a CR that does. */
  binary = false;
  #state: State = "data";
  #verb: TelnetVerb = "wont";
  #sub: number[] = [];
  #afterCr = false;

  /** A subnegotiation that is too long is truncated. */
  *push(bytes: Uint8Array): Generator<TelnetEvent> {
    if (this.#state === "data" && this.binary && !bytes.includes(telnetCommand.iac)) {
      if (bytes.length > 0) yield { kind: "data", bytes };
      return;
    }
    let data: number[] = [];
    for (const byte of bytes) {
      if (this.#state === "data" && byte !== telnetCommand.iac) {
        const isPadding = this.#afterCr && byte === 0 && !this.binary;
        if (!isPadding) data.push(byte);
        this.#afterCr = byte === 0x0d;
        continue;
      }
      const event = this.#step(byte);
      if (event === "data") data.push(byte);
      else if (event) {
        if (data.length > 0) yield { kind: "data", bytes: Uint8Array.from(data) };
        data = [];
        yield event;
      }
    }
    if (data.length > 0) yield { kind: "data", bytes: Uint8Array.from(data) };
  }

  #step(byte: number): TelnetEvent | "data" | undefined {
    switch (this.#state) {
      case "data":
        this.#state = "command";
        return undefined;
      case "command":
        return this.#onCommand(byte);
      case "option":
        this.#state = "data";
        return { kind: "option", verb: this.#verb, option: byte };
      case "sub":
        if (byte === telnetCommand.iac) this.#state = "subCommand";
        else if (this.#sub.length < maxSubBytes) this.#sub.push(byte);
        return undefined;
      case "subCommand":
        if (byte === telnetCommand.iac) {
          if (this.#sub.length < maxSubBytes) this.#sub.push(byte);
          this.#state = "sub";
          return undefined;
        }
        return this.#endSub();
    }
  }

  #onCommand(byte: number): "data" | undefined {
    const verb = verbs.get(byte);
    this.#state = "data";
    if (byte === telnetCommand.iac) {
      this.#afterCr = false;
      return "data";
    }
    if (verb) {
      this.#verb = verb;
      this.#state = "option";
    } else if (byte === telnetCommand.sb) {
      this.#sub = [];
      this.#state = "sub";
    }
    return undefined;
  }

  #endSub(): TelnetEvent | undefined {
    const [option, ...bytes] = this.#sub;
    this.#sub = [];
    this.#state = "data";
    return option === undefined ? undefined : { kind: "sub", option, bytes: Uint8Array.from(bytes) };
  }
}

/** Data as it goes on the wire. @param binary the peer accepts binary data */
export function encodeData(bytes: Uint8Array, binary: boolean): Uint8Array {
  if (!bytes.some((byte) => byte === telnetCommand.iac || (byte === 0x0d && !binary))) return bytes;
  const encoded: number[] = [];
  for (const byte of bytes) {
    encoded.push(byte);
    if (byte === telnetCommand.iac) encoded.push(byte);
    else if (byte === 0x0d && !binary) encoded.push(0);
  }
  return Uint8Array.from(encoded);
}

export function encodeOption(verb: TelnetVerb, option: number): Uint8Array {
  return Uint8Array.of(telnetCommand.iac, telnetCommand[verb], option);
}

export function encodeSub(option: number, bytes: readonly number[]): Uint8Array {
  const doubled = bytes.flatMap((byte) => (byte === telnetCommand.iac ? [byte, byte] : [byte]));
  const { iac, sb, se } = telnetCommand;
  return Uint8Array.of(iac, sb, option, ...doubled, iac, se);
}
