/** A board on a serial link: what a test does to it is what a hand in a lab can do. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { lacks } from "../support/parts.ts";
import { Adapter } from "./adapter.ts";
import { Broker } from "./broker.ts";
import { type Action, type Powered, PowerSwitch } from "./power-switch.ts";

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

/** What a launcher's options have in common. */
export interface TargetOptions {
  /** Part of the adapter's name. */
  readonly name?: string;
  /** The adapter is left out of the box: the first `plug()` is the test's. */
  readonly unplugged?: boolean;
  /** The board is left off: the first `powerOn()` is the test's. */
  readonly off?: boolean;
}

/** A board without its line: it is the broker's target while it's on. */
export type Board = Powered & AsyncDisposable;

/** For a test's `skip` option, as `lacks` has it: besides these, every line needs socat. */
export const lacksTarget = (...names: Parameters<typeof lacks>) => lacks("socat", ...names);

/**
 * Starts a board: adapter in, power on, unless the options say otherwise. Disposing of it removes all of it.
 * @param make the board, off; the folder is for its sockets and files
 */
export async function startTarget(
  options: TargetOptions & { readonly name: string },
  make: (folder: string, broker: Broker) => Board,
): Promise<Target> {
  const folder = await mkdtemp(join(tmpdir(), "labgear-target-"));
  const broker = await Broker.listen(folder);
  const target = new BoardTarget(folder, options.name, broker, make(folder, broker));
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

class BoardTarget implements Target {
  readonly tty: string;
  readonly broker: Broker;
  readonly switch: PowerSwitch;
  readonly #folder: string;
  readonly #adapter: Adapter;
  readonly #board: Board;

  constructor(folder: string, name: string, broker: Broker, board: Board) {
    this.#folder = folder;
    this.broker = broker;
    this.#board = board;
    this.#adapter = new Adapter(folder, name, broker);
    this.tty = this.#adapter.tty;
    this.switch = new PowerSwitch(join(folder, "power"), board);
  }

  get power(): readonly Action[] {
    return this.switch.done;
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

  async [Symbol.asyncDispose](): Promise<void> {
    await this.switch[Symbol.asyncDispose]();
    await this.#adapter[Symbol.asyncDispose]();
    await this.#board[Symbol.asyncDispose]();
    await this.broker[Symbol.asyncDispose]();
    await rm(this.#folder, { recursive: true, force: true });
  }
}
