/** Files between this machine and a leased board: over the job server to the box and back, and over the board's line, verified on both. */
import { createHash } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import type { Calls } from "#/client/calls.ts";
import type { Signer } from "#/client/signer.ts";
import { fetchedFile, fileInput, maxFileBytes } from "#/exchange/lease.ts";
import { formatSize } from "#/lib/units.ts";
import { CommandError } from "../exit.ts";
import type { FileNames } from "../options.ts";
import { digestFile, sendInputs } from "../transfer/inputs.ts";
import { askAgent, BuildResults } from "../transfer/results.ts";
import type { Holder, LeaseAddress } from "./holder.ts";

interface FilesOptions {
  readonly calls: Calls;
  readonly signer: Signer;
  /** The lease's. */
  readonly uuid: () => string;
  readonly holder: Holder;
  /** @throws CommandError failure when no board is held */
  readonly lease: () => LeaseAddress;
  readonly ended: AbortSignal;
  readonly say: (text: string) => void;
}

export class BoardFiles implements AsyncDisposable {
  readonly #options: FilesOptions;
  readonly #calls: Calls;
  /** Of the transfer that is under way. */
  #name = "";

  constructor(options: FilesOptions) {
    this.#options = options;
    this.#calls = options.calls;
  }

  /** @throws CommandError failure */
  async put({ from, to }: FileNames): Promise<void> {
    const { signer, uuid, holder, lease, ended, say } = this.#options;
    const { size, sha256 } = await digestFile(from).catch((cause: Error) => {
      throw new CommandError("failure", `${from} can't be read: ${cause.message}`, { cause });
    });
    if (size > maxFileBytes)
      throw new CommandError("failure", `${from} has more than ${formatSize(maxFileBytes)}`);
    const { manager, device } = lease();
    await this.#transfer(from, async () => {
      const name = fileInput(sha256);
      const files = [{ name, path: from, size }];
      const wants = [{ name, offset: 0 }];
      const calls = this.#calls;
      await sendInputs({ calls, signer, uuid: uuid(), manager, files, wants, signal: ended, report: say });
      await holder.perform({ op: "put", to, size, sha256 });
    });
    say(`${from} is on ${device} as ${to}: ${formatSize(size)}, verified`);
  }

  /** @throws CommandError failure */
  async get({ from, to }: FileNames): Promise<void> {
    const { holder, lease, say } = this.#options;
    const { device } = lease();
    const size = await this.#transfer(from, async () => {
      await holder.perform({ op: "get", from });
      return await this.#fetch(to);
    });
    say(`${from} of ${device} is here as ${to}: ${formatSize(size)}, verified`);
  }

  /** How far the board's line is. */
  progress(done: number, total: number): void {
    if (this.#name === "" || !process.stderr.isTTY) return;
    const text = total > 0 ? `${formatSize(done)} of ${formatSize(total)}` : formatSize(done);
    process.stderr.write(`\r[labgear] ${this.#name}: ${text}\x1b[K`);
  }

  async #transfer<T>(name: string, work: () => Promise<T>): Promise<T> {
    this.#name = name;
    try {
      return await work();
    } catch (cause) {
      const { message } = cause as Error;
      throw new CommandError("failure", `${name} wasn't transferred: ${message}`, { cause });
    } finally {
      if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
      this.#name = "";
    }
  }

  /** What the box has got from the board. The old file stays until the new one is there as a whole. */
  async #fetch(to: string): Promise<number> {
    const { signer, uuid, lease } = this.#options;
    const { manager } = lease();
    const results = new BuildResults(
      askAgent({ calls: this.#calls, manager, build: { uuid: uuid() }, signer }),
    );
    const part = `${to}.part`;
    try {
      await using file = await open(part, "w");
      const hash = createHash("sha256");
      for (let offset = 0; ; ) {
        const { bytes, end, sha256 } = await results.piece(fetchedFile, offset);
        await file.writeFile(bytes);
        hash.update(bytes);
        offset += bytes.length;
        if (!end && bytes.length > 0) continue;
        if (hash.digest("hex") !== sha256) throw new Error("it isn't what its digest says");
        await rename(part, to);
        return offset;
      }
    } catch (error) {
      await rm(part, { force: true });
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#calls[Symbol.asyncDispose]();
  }
}
