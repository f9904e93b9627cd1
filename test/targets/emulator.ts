/** A board in QEMU. */
import { join } from "node:path";
import { type lacks, part } from "../support/parts.ts";
import type { Broker } from "./broker.ts";
import { Child } from "./child.ts";
import { qmp } from "./qmp.ts";
import { type Board, lacksTarget, startTarget, type Target, type TargetOptions } from "./target.ts";

export interface EmulatorOptions extends TargetOptions {
  readonly name: string;
  readonly emulator: "qemuArm" | "qemuArm64";
  /** QEMU's arguments, beyond those that all boards have. */
  readonly args: readonly string[];
  /** The arguments of its serial line, whose other end is the character device c0; default: the machine's first one. */
  readonly serial?: readonly string[];
  /** What is on the board at first, where something can be flashed, and the arguments that bring it there. */
  readonly image?: string;
  readonly imageArgs?: (image: string) => readonly string[];
}

/** For a test's `skip` option, as `lacks` has it: besides these, every emulated board needs QEMU's data. */
export const lacksEmulator = (...names: Parameters<typeof lacks>) => lacksTarget("qemuData", ...names);

export function startEmulator(options: EmulatorOptions): Promise<Target> {
  return startTarget(options, (folder, broker) => new Emulator(folder, broker, options));
}

class Emulator implements Board {
  readonly #qmp: string;
  readonly #broker: Broker;
  readonly #options: EmulatorOptions;
  #qemu: Child | undefined;
  #image: string | undefined;

  constructor(folder: string, broker: Broker, options: EmulatorOptions) {
    this.#qmp = join(folder, "qmp");
    this.#broker = broker;
    this.#options = options;
    this.#image = options.image;
  }

  load(image: string): void {
    this.#image = image;
  }

  async on(): Promise<void> {
    if (this.#qemu?.isRunning) return;
    const { emulator, args, serial = ["-serial", "chardev:c0"], imageArgs } = this.#options;
    const qemu = new Child(part(emulator), [
      ...["-L", part("qemuData"), "-nodefaults", "-nographic"],
      ...["-chardev", `socket,id=q0,path=${this.#qmp},server=on,wait=off`, "-mon", "chardev=q0,mode=control"],
      // QEMU calls us: its connection is there before its processor runs.
      ...["-chardev", `socket,id=c0,path=${this.#broker.back}`, ...serial],
      ...args,
      ...(this.#image === undefined ? [] : (imageArgs?.(this.#image) ?? [])),
    ]);
    this.#qemu = qemu;
    await qemu.until(this.#broker.target());
  }

  async off(): Promise<void> {
    const left = this.#qemu?.isRunning ? this.#broker.targetLeft() : undefined;
    await this.#qemu?.[Symbol.asyncDispose]();
    await left;
  }

  /** A board that has switched itself off stays off. */
  async reset(): Promise<void> {
    if (this.#qemu?.isRunning) await qmp(this.#qmp, "system_reset");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#qemu?.[Symbol.asyncDispose]();
  }
}
