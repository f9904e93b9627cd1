/** What befalls the bad board, and when: drawn from a seed, counted in bytes of its output. */
import { seeded } from "../support/random.ts";

export interface Faults {
  /** Mishaps of single bytes, from 0 to 1, in both directions. */
  readonly drop: number;
  readonly double: number;
  readonly flip: number;
  /** Bytes of output between two kernel lines, on average; 0: none. They break in anywhere. */
  readonly kernelLines: number;
  /** Some kernel lines look like prompts. */
  readonly falsePrompts: boolean;
  /** How often the line stands still, and for how long, in milliseconds. */
  readonly stalls: number;
  readonly stallTime: number;
  /** How often the board starts again. */
  readonly reboots: number;
  /** How often the adapter is pulled out, and for how long, in milliseconds. */
  readonly vanishes: number;
  readonly vanishTime: number;
  /** Bytes of noise, all at once. */
  readonly flood: number;
  readonly echo: boolean;
  /** The shell's PS1. */
  readonly prompt: string;
  /** Within so many bytes of output, from the first on, all of this happens, but for lines and single bytes. */
  readonly span: number;
}

/** A good board. */
export const noFaults: Faults = {
  drop: 0,
  double: 0,
  flip: 0,
  kernelLines: 0,
  falsePrompts: false,
  stalls: 0,
  stallTime: 0,
  reboots: 0,
  vanishes: 0,
  vanishTime: 0,
  flood: 0,
  echo: true,
  prompt: "# ",
  span: 10_000,
};

const prompts = [
  "$ ",
  "> ",
  "",
  "=> ",
  "board:\\w\\$ ",
  "\\[\\e[1;32m\\]root@board\\[\\e[0m\\]:\\w# ",
  "[board] login: ",
  "Password: ",
  "ok\\n# ",
  "100% # ",
];

/** One to four kinds of trouble, or none. */
export function drawFaults(seed: number): Faults {
  const random = chance(seed);
  const between = (low: number, high: number) => low + random(high - low + 1);
  /** Spread evenly over the powers of ten. */
  const rate = () => 10 ** -(2.3 + random(2000) / 1000);
  const kinds: readonly (() => Partial<Faults>)[] = [
    () => ({ drop: rate() }),
    () => ({ double: rate() }),
    () => ({ flip: rate() }),
    () => ({ kernelLines: between(60, 3000), falsePrompts: random(2) === 0 }),
    () => ({ kernelLines: between(60, 600), falsePrompts: true }),
    () => ({ stalls: between(1, 3), stallTime: between(50, 1500) }),
    () => ({ reboots: between(1, 2) }),
    () => ({ vanishes: 1, vanishTime: between(20, 800) }),
    () => ({ flood: 10_000_000 }),
    () => ({ echo: false }),
    () => ({ prompt: prompts[random(prompts.length)] ?? "" }),
  ];
  let faults: Faults = { ...noFaults, span: between(500, 15_000) };
  for (let count = random(10) === 0 ? 0 : between(1, 4); count > 0; count--) {
    faults = { ...faults, ...kinds[random(kinds.length)]?.() };
  }
  return faults;
}

export type Mishap =
  | { readonly kind: "stall" | "reboot" | "vanish" }
  | { readonly kind: "noise"; readonly bytes: Buffer };

/** Cuts the board's output where something happens. */
export class MishapPlan {
  /** What is to come, the next one last. */
  readonly #events: { at: number; mishap: Mishap }[];
  readonly #faults: Faults;
  readonly #random: (bound: number) => number;
  #passed = 0;
  #nextLine: number;
  #seconds = 1;

  constructor(faults: Faults, seed: number) {
    this.#faults = faults;
    this.#random = chance(seed + 0x10000);
    const times = (count: number, make: () => Mishap) =>
      Array.from({ length: count }, () => ({ at: this.#random(faults.span), mishap: make() }));
    this.#events = [
      ...times(faults.stalls, () => ({ kind: "stall" })),
      ...times(faults.reboots, () => ({ kind: "reboot" })),
      ...times(faults.vanishes, () => ({ kind: "vanish" })),
      ...times(faults.flood > 0 ? 1 : 0, () => ({ kind: "noise", bytes: this.#flood(faults.flood) })),
    ].sort((one, other) => other.at - one.at);
    this.#nextLine = this.#gap();
  }

  /** The output's bytes in order, and between them what happens there. */
  *pass(bytes: Buffer): Generator<Buffer | Mishap> {
    let rest = bytes;
    while (rest.length > 0) {
      const event = this.#events.at(-1);
      const next = Math.min(event?.at ?? Number.POSITIVE_INFINITY, this.#nextLine);
      const piece = rest.subarray(0, Math.max(0, next - this.#passed));
      if (piece.length > 0) yield piece;
      this.#passed += piece.length;
      rest = rest.subarray(piece.length);
      if (this.#passed < next) continue;
      if (next === event?.at) {
        this.#events.pop();
        yield event.mishap;
      } else {
        this.#nextLine = this.#passed + this.#gap();
        yield { kind: "noise", bytes: Buffer.from(this.#line()) };
      }
    }
  }

  #gap(): number {
    const mean = this.#faults.kernelLines;
    return mean === 0 ? Number.POSITIVE_INFINITY : 1 + this.#random(2 * mean);
  }

  #line(): string {
    if (this.#faults.falsePrompts && this.#random(2) === 0) {
      const shown = ["# ", "$ ", "=> ", "bad-board login: ", "Password: ", "/ # ", ">>> "];
      return `\r\n${shown[this.#random(shown.length)]}`;
    }
    this.#seconds += this.#random(1000) / 500;
    const stamp = this.#seconds.toFixed(6).padStart(12);
    const said = [
      "usb 1-1: new high-speed USB device number 7 using xhci_hcd",
      "EXT4-fs (mmcblk0p2): mounted filesystem with ordered data mode. Quota mode: none.",
      "brcmfmac: brcmf_cfg80211_set_power_mgmt: power save enabled",
      "random: crng init done",
      "cfg80211: loaded regulatory.db is malformed or signature is missing/invalid",
    ];
    return `[${stamp}] ${said[this.#random(said.length)]}\r\n`;
  }

  #flood(bytes: number): Buffer {
    const lines = Array.from({ length: 200 }, () => this.#line()).join("");
    return Buffer.alloc(bytes, lines, "latin1");
  }
}

/** Seeds that follow each other would draw alike at first. */
function chance(seed: number): (bound: number) => number {
  const random = seeded(Math.imul(seed + 1, 2_654_435_761));
  for (let skip = 0; skip < 5; skip++) random(2);
  return random;
}
