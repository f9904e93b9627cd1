/** One file that arrives in pieces, in order, and is kept when it has the digest that was announced. */
import { createHash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";

/** Where the bytes go. */
export interface TransferTarget {
  readonly file: FileHandle;
  /** The file is complete, and closed. */
  keep(): Promise<void>;
  drop(): Promise<void>;
}

export interface TransferOptions {
  readonly digest: string;
  /** Undefined: known at its end. */
  readonly size: number | undefined;
  /** Asked for at the first piece; undefined: the content is there already, and only the digest is to be proved. */
  readonly target: () => Promise<TransferTarget | undefined>;
}

/**
 *     receiving ──the last byte──▶ sound, or wrong
 *         ├────────disk error────▶ failed
 *         └──the last build left──▶ dropped
 */
export type TransferState = "receiving" | "sound" | "wrong" | "failed" | "dropped";

/** What a piece came to. */
export type Appended =
  | { readonly kind: "received"; readonly received: number }
  /** It begins behind the end of what is here. */
  | { readonly kind: "gap"; readonly received: number }
  | { readonly kind: "over" };

export class Transfer {
  readonly #options: TransferOptions;
  readonly #hash = createHash("sha256");
  readonly #over = Promise.withResolvers<boolean>();
  /** The builds that wait for it. */
  readonly #users = new Set<string>();
  /** The builds whose clients have sent some of it. */
  readonly #senders = new Set<string>();
  #target: TransferTarget | undefined;
  #isOpen = false;
  #received = 0;
  #state: TransferState = "receiving";
  #error: unknown;
  /** One piece after the other. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: TransferOptions) {
    this.#options = options;
  }

  get received(): number {
    return this.#received;
  }

  get state(): TransferState {
    return this.#state;
  }

  /** The disk's error, when it failed. */
  get error(): unknown {
    return this.#error;
  }

  get senders(): ReadonlySet<string> {
    return this.#senders;
  }

  /** Resolves at its end: whether the content is kept now, and is what was announced. */
  get over(): Promise<boolean> {
    return this.#over.promise;
  }

  join(user: string): void {
    this.#users.add(user);
  }

  /** The last one who leaves drops what has come so far. Never rejects. */
  async leave(user: string): Promise<void> {
    this.#users.delete(user);
    if (this.#users.size > 0) return;
    await this.#next(async () => {
      if (this.#state === "receiving" && this.#users.size === 0) await this.#end("dropped");
    });
  }

  /**
   * Takes a piece that begins where the file goes on, and nothing of any other.
   * @throws the file system's error, with which the transfer has failed
   */
  append(sender: string, offset: number, bytes: Uint8Array): Promise<Appended> {
    return this.#next(async () => {
      if (this.#state === "failed") throw this.#error;
      if (this.#state !== "receiving") return { kind: "received", received: this.#received };
      if (offset + bytes.length > (this.#options.size ?? Number.POSITIVE_INFINITY)) return { kind: "over" };
      if (offset > this.#received) return { kind: "gap", received: this.#received };
      if (offset < this.#received) return { kind: "received", received: this.#received };
      await this.#take(sender, bytes);
      return { kind: "received", received: this.#received };
    });
  }

  /** Nothing follows: a file of which nobody knew the size, or an empty one, is complete. */
  async finish(sender: string): Promise<void> {
    await this.#next(async () => {
      if (this.#state === "receiving") await this.#take(sender, Buffer.alloc(0), true);
    });
  }

  async #take(sender: string, bytes: Uint8Array, isLast = false): Promise<void> {
    try {
      if (!this.#isOpen) this.#target = await this.#options.target();
      this.#isOpen = true;
      this.#hash.update(bytes);
      // It goes on where a write was cut short, so that what doesn't fit is an error.
      await this.#target?.file.writeFile(bytes);
      this.#senders.add(sender);
      this.#received += bytes.length;
      if (!isLast && this.#received !== this.#options.size) return;
      await this.#end(this.#hash.digest("hex") === this.#options.digest ? "sound" : "wrong");
    } catch (error) {
      this.#error = error;
      await this.#end("failed");
      throw error;
    }
  }

  async #end(state: TransferState): Promise<void> {
    const target = this.#target;
    this.#target = undefined;
    try {
      await target?.file.close();
      if (state === "sound") await target?.keep();
      this.#state = state;
    } catch (error) {
      this.#error = error;
      this.#state = "failed";
    }
    if (this.#state !== "sound") await target?.drop().catch(() => {});
    this.#over.resolve(this.#state === "sound");
  }

  #next<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => {});
    return done;
  }
}
