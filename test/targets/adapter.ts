/** A serial adapter: a pty of the kernel's joined to a broker by socat, found by a link as udev makes them. */
import { mkdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { part } from "../support/parts.ts";
import type { Broker } from "./broker.ts";
import { Child } from "./child.ts";

export class Adapter implements AsyncDisposable {
  /** The link; it leads to another pty after each `plug()`. */
  readonly tty: string;
  readonly #folder: string;
  readonly #broker: Broker;
  #socat: Child | undefined;
  #plugged = 0;
  /** One hand at a time. */
  #last: Promise<void> = Promise.resolve();

  /** @param name as in `usb-NAME-if00-port0` */
  constructor(folder: string, name: string, broker: Broker) {
    this.#folder = folder;
    this.#broker = broker;
    this.tty = join(folder, "by-id", `usb-${name}-if00-port0`);
  }

  /** Plugs it in: the link appears, or leads to the new pty, in one step. */
  plug(): Promise<void> {
    return this.#next(() => this.#plug());
  }

  async #plug(): Promise<void> {
    await this.#stop();
    await mkdir(join(this.#folder, "by-id"), { recursive: true });
    const link = join(this.#folder, `pty-${++this.#plugged}`);
    this.#socat = new Child(part("socat"), [
      `PTY,link=${link},rawer,unlink-close=0`,
      // A little buffer, so that who writes to the tty feels the line's speed.
      `UNIX-CONNECT:${this.#broker.front},sndbuf=4096`,
    ]);
    // socat makes the pty before it connects.
    await this.#socat.until(this.#broker.adapter());
    await rename(link, this.tty);
  }

  /** Pulls it out: whoever has the tty open is hung up on, and the link goes, as with udev. */
  unplug(): Promise<void> {
    return this.#next(async () => {
      await this.#stop();
      await rm(this.tty, { force: true });
    });
  }

  #next(act: () => Promise<void>): Promise<void> {
    const turn = this.#last.then(act);
    this.#last = turn.catch(() => {});
    return turn;
  }

  async #stop(): Promise<void> {
    await this.#socat?.[Symbol.asyncDispose]();
    this.#socat = undefined;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.unplug();
  }
}
