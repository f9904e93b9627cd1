/** A board on a serial link, emulated: what a test does to it is what a hand in a lab can do. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { lacks, part } from "../support/parts.ts";
import { Adapter } from "./adapter.ts";
import { Broker } from "./broker.ts";
import { Child } from "./child.ts";
import { type Action, PowerSwitch } from "./power-switch.ts";
import { qmp } from "./qmp.ts";

export interface Target extends AsyncDisposable {
  /** The device node as a configuration names it: a link in a folder like `/dev/serial/by-id`. */
  readonly tty: string;
  /** The line between the board and its adapter. */
  readonly broker: Broker;
  /** What was done to the board's power, by the methods below or by its commands, in order. */
  readonly power: readonly Action[];
  /** A command for the shell that does it, for `power:` or a flash command; it returns when it's done. */
  powerCommand(action: Action): string;
  /** Pulls the adapter out; the board runs on. */
  unplug(): Promise<void>;
  /** Plugs it in again: the same link, another pty. */
  plug(): Promise<void>;
  powerOff(): Promise<void>;
  /** Resolves when the board runs; its boot log is whole. */
  powerOn(): Promise<void>;
  /** A press on the reset button. */
  reset(): Promise<void>;
}

export interface EmulatorOptions {
  /** Part of the adapter's name. */
  readonly name: string;
  readonly emulator: "qemuArm" | "qemuArm64";
  /** QEMU's arguments, beyond those that all boards have. */
  readonly args: readonly string[];
  /** What is on the board at first, where something can be flashed, and the arguments that bring it there. */
  readonly image?: string;
  readonly imageArgs?: (image: string) => readonly string[];
  /** The adapter is left out of the box: the first `plug()` is the test's. */
  readonly unplugged?: boolean;
  /** The board is left off: the first `powerOn()` is the test's. */
  readonly off?: boolean;
}

/** What a launcher's options have in common. */
export type TargetOptions = Pick<EmulatorOptions, "unplugged" | "off"> & { readonly name?: string };

/** The parts that every emulated board needs, besides QEMU. */
export const lineParts = ["socat", "qemuData"] as const;

/** For a test's `skip` option, as `lacks` has it. */
export const lacksTarget = (...names: Parameters<typeof lacks>) => lacks(...lineParts, ...names);

/** Starts a board: adapter in, power on, unless the options say otherwise. Disposing of it removes all of it. */
export async function startTarget(options: EmulatorOptions): Promise<Target> {
  const folder = await mkdtemp(join(tmpdir(), "labgear-target-"));
  const target = new EmulatedTarget(folder, options, await Broker.listen(folder));
  try {
    await target.switch.listen();
    if (!options.unplugged) await target.plug();
    if (!options.off) await target.powerOn();
    return target;
  } catch (error) {
    await target[Symbol.asyncDispose]();
    throw error;
  }
}

class EmulatedTarget implements Target {
  readonly tty: string;
  readonly broker: Broker;
  readonly switch: PowerSwitch;
  readonly #folder: string;
  readonly #options: EmulatorOptions;
  readonly #adapter: Adapter;
  #qemu: Child | undefined;
  #image: string | undefined;

  constructor(folder: string, options: EmulatorOptions, broker: Broker) {
    this.#folder = folder;
    this.#options = options;
    this.#image = options.image;
    this.broker = broker;
    this.#adapter = new Adapter(folder, options.name, broker);
    this.tty = this.#adapter.tty;
    this.switch = new PowerSwitch(join(folder, "power"), {
      on: () => this.#start(),
      off: () => this.#stop(),
      load: (image) => {
        this.#image = image;
      },
      reset: () => qmp(this.#qmp, "system_reset"),
    });
  }

  get power(): readonly Action[] {
    return this.switch.done;
  }

  get #qmp(): string {
    return join(this.#folder, "qmp");
  }

  powerCommand(action: Action): string {
    return this.switch.command(action);
  }

  plug(): Promise<void> {
    return this.#adapter.plug();
  }

  unplug(): Promise<void> {
    return this.#adapter.unplug();
  }

  powerOn(): Promise<void> {
    return this.switch.act("on");
  }

  powerOff(): Promise<void> {
    return this.switch.act("off");
  }

  reset(): Promise<void> {
    return this.switch.act("reset");
  }

  async #start(): Promise<void> {
    if (this.#qemu?.isRunning) return;
    const qemu = new Child(part(this.#options.emulator), [
      ...["-L", part("qemuData"), "-nodefaults", "-nographic"],
      ...["-chardev", `socket,id=q0,path=${this.#qmp},server=on,wait=off`, "-mon", "chardev=q0,mode=control"],
      // QEMU calls us: its connection is there before its processor runs.
      ...["-chardev", `socket,id=c0,path=${this.broker.back}`, "-serial", "chardev:c0"],
      ...this.#options.args,
      ...(this.#image === undefined ? [] : (this.#options.imageArgs?.(this.#image) ?? [])),
    ]);
    this.#qemu = qemu;
    await qemu.until(this.broker.target());
  }

  async #stop(): Promise<void> {
    const left = this.#qemu?.isRunning ? this.broker.targetLeft() : undefined;
    await this.#qemu?.[Symbol.asyncDispose]();
    await left;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.switch[Symbol.asyncDispose]();
    await this.#adapter[Symbol.asyncDispose]();
    await this.#qemu?.[Symbol.asyncDispose]();
    await this.broker[Symbol.asyncDispose]();
    await rm(this.#folder, { recursive: true, force: true });
  }
}
