/** The bad board: real shells on a real terminal, behind a line that a seed spoils; it tells what really happened. */
import { chmod, mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { Duplex } from "node:stream";
import { setTimeout as wait } from "node:timers/promises";
import type { Broker } from "./broker.ts";
import { Machine, type MachineOptions, type Running } from "./machine.ts";
import { drawFaults, type Faults, type Mishap, MishapPlan, noFaults } from "./mishaps.ts";
import { type Board, startTarget, type Target, type TargetOptions } from "./target.ts";

export { lacksMachine, machineLogin } from "./machine.ts";
export { drawFaults, type Faults, noFaults } from "./mishaps.ts";

export interface BadBoardOptions extends TargetOptions {
  readonly seed: number;
  /** In place of those that the seed draws; what isn't named is good. */
  readonly faults?: Partial<Faults>;
  /** Turns it on; default: a Linux with all that busybox has. */
  readonly start?: (options: MachineOptions) => Promise<Running>;
}

/** What really happened, before anything was spoilt. */
export interface Truth {
  /** What the shells wrote, echo and prompts included. */
  readonly wrote: Buffer;
  /** What the shells were told, which is what was left of what the host sent. */
  readonly typed: Buffer;
  /** How often the machine started. */
  readonly boots: number;
  /** What befell it, as `reboot after 1234 bytes`. */
  readonly mishaps: readonly string[];
  /** Bytes that were dropped, doubled or flipped, to the host and to the board. */
  readonly spoilt: { readonly toHost: number; readonly toTarget: number };
  /**
   * What a command on the board wrote to `/truth/NAME`, whatever became of the line: `make | tee /truth/output` and
   * `echo $? >/truth/code` tell what a build should have told. Undefined: there is no such file.
   */
  file(name: string): Promise<string | undefined>;
  /** The same, byte for byte. */
  bytes(name: string): Promise<Buffer | undefined>;
}

export interface BadBoard extends Target {
  readonly seed: number;
  readonly faults: Faults;
  readonly truth: Truth;
  /** One line for a test's message: what was drawn and what happened. */
  describe(): string;
}

/** Its console asks for a login (see `machineLogin`), unless it is another system. Its `/truth` outlives its reboots. */
export async function startBadBoard(options: BadBoardOptions): Promise<BadBoard> {
  const { seed, start = (machine) => Machine.start(machine) } = options;
  const faults = options.faults ? { ...noFaults, ...options.faults } : drawFaults(seed);
  let board: ShellBoard | undefined;
  const target = await startTarget({ name: "Bad-Board", ...options }, (folder, broker) => {
    broker.setFaults(faults, seed);
    board = new ShellBoard(join(folder, "truth"), broker, faults, seed, start);
    return board;
  });
  if (!board) throw new Error("startTarget made no board");
  const { truth } = board;
  board.onVanish = async (signal) => {
    await target.unplug();
    await wait(faults.vanishTime, undefined, { signal });
    await target.plug();
  };
  const describe = () => {
    const drawn = Object.entries(faults).filter(([name, value]) => value !== noFaults[name as keyof Faults]);
    return `seed ${seed}, ${JSON.stringify(Object.fromEntries(drawn))}, ${truth.mishaps.join(", ") || "no mishap"}`;
  };
  return Object.assign(target, { seed, faults, truth, describe });
}

class ShellBoard implements Board {
  readonly truth: Truth;
  /** The signal ends it half-way, when the board is disposed of. */
  onVanish: (over: AbortSignal) => Promise<void> = async () => {};
  readonly #folder: string;
  readonly #broker: Broker;
  readonly #faults: Faults;
  readonly #plan: MishapPlan;
  readonly #start: (options: MachineOptions) => Promise<Running>;
  readonly #wrote: Buffer[] = [];
  readonly #typed: Buffer[] = [];
  readonly #mishaps: string[] = [];
  #bytes = 0;
  #boots = 0;
  #machine: Running | undefined;
  #line: Duplex | undefined;
  /** What is under way: one thing after the other. */
  #acting: Promise<void> = Promise.resolve();
  readonly #over = new AbortController();

  constructor(
    folder: string,
    broker: Broker,
    faults: Faults,
    seed: number,
    start: (options: MachineOptions) => Promise<Running>,
  ) {
    this.#folder = folder;
    this.#broker = broker;
    this.#faults = faults;
    this.#plan = new MishapPlan(faults, seed);
    this.#start = start;
    const [wrote, typed, mishaps] = [this.#wrote, this.#typed, this.#mishaps];
    const boots = () => this.#boots;
    this.truth = {
      mishaps,
      get wrote() {
        return Buffer.concat(wrote);
      },
      get typed() {
        return Buffer.concat(typed);
      },
      get boots() {
        return boots();
      },
      get spoilt() {
        return { toHost: broker.toHost.spoilt, toTarget: broker.toTarget.spoilt };
      },
      file: (name) => readFile(join(folder, name), "utf8").catch(() => undefined),
      bytes: (name) => readFile(join(folder, name)).catch(() => undefined),
    };
  }

  load(): void {}

  async on(): Promise<void> {
    if (this.#line) return;
    await mkdir(this.#folder, { recursive: true });
    await chmod(this.#folder, 0o777);
    this.#line = new Duplex({
      read: () => void this.#machine?.output.resume(),
      write: (bytes: Buffer, _, done) => {
        this.#typed.push(bytes);
        const { input } = this.#machine ?? {};
        if (input?.writable) input.write(bytes, () => done());
        else done();
      },
      destroy: (_, done) => done(null),
    });
    this.#broker.attachTarget(this.#line);
    await this.#boot();
  }

  async off(): Promise<void> {
    const line = this.#line;
    this.#line = undefined;
    const left = line && this.#broker.targetLeft();
    line?.destroy();
    await left;
    await this.#halt();
  }

  async reset(): Promise<void> {
    this.#act(() => this.#reboot());
    await this.#acting;
  }

  async #boot(): Promise<void> {
    this.#boots++;
    const { prompt, echo } = this.#faults;
    const machine = await this.#start({ truth: this.#folder, prompt, echo });
    this.#line?.push(machine.banner);
    this.#machine = machine;
    machine.output.on("data", (bytes: Buffer) => {
      if (this.#machine === machine) this.#say(bytes);
    });
    // `reboot` ends its first process, and so all of them.
    const onEnd = () => this.#machine === machine && this.#act(() => this.#reboot());
    machine.ended.then(onEnd, onEnd);
  }

  async #halt(): Promise<void> {
    const machine = this.#machine;
    this.#machine = undefined;
    await machine?.[Symbol.asyncDispose]();
  }

  async #reboot(): Promise<void> {
    await this.#halt();
    if (this.#line && !this.#over.signal.aborted) await this.#boot();
  }

  /** The machine's output on its way to the line. */
  #say(bytes: Buffer): void {
    this.#wrote.push(bytes);
    let more = true;
    for (const piece of this.#plan.pass(bytes)) {
      if (!Buffer.isBuffer(piece)) {
        this.#befall(piece);
        // What the machine says after it was told to reboot is never said.
        if (piece.kind === "reboot") return;
        continue;
      }
      this.#bytes += piece.length;
      more = this.#line?.push(piece) ?? true;
    }
    if (!more) this.#machine?.output.pause();
  }

  #befall(mishap: Mishap): void {
    if (mishap.kind === "noise") {
      this.#line?.push(mishap.bytes);
      if (mishap.bytes.length > 10_000) this.#note("flood");
      return;
    }
    this.#note(mishap.kind);
    if (mishap.kind === "reboot") {
      const machine = this.#machine;
      this.#machine = undefined;
      this.#act(async () => {
        await machine?.[Symbol.asyncDispose]();
        await this.#reboot();
      });
    } else if (mishap.kind === "vanish") {
      this.#act(() => this.onVanish(this.#over.signal));
    } else {
      this.#broker.stall(true);
      setTimeout(() => this.#broker.stall(false), this.#faults.stallTime).unref();
    }
  }

  #note(mishap: string): void {
    this.#mishaps.push(`${mishap} after ${this.#bytes} bytes`);
  }

  #act(act: () => Promise<void>): void {
    this.#acting = this.#acting.then(async () => {
      if (this.#over.signal.aborted) return;
      await act().catch((error: Error) => {
        if (!this.#over.signal.aborted) this.#note(`error (${error.message})`);
      });
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.abort();
    await this.#acting;
    await this.off();
  }
}
