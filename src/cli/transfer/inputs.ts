/** The files that a build gets: their digests, and sending what the agent lacks of them, piece by piece. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, open, stat } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { setTimeout as delay } from "node:timers/promises";
import type { Calls } from "#/client/calls.ts";
import type { Signer } from "#/client/signer.ts";
import { ExchangeError } from "#/exchange/errors.ts";
import { sendFunction } from "#/exchange/functions.ts";
import type { AnnouncedInput, WantedInput } from "#/exchange/inputs.ts";
import { maxPieceBytes } from "#/exchange/message.ts";
import { formatPiece, parseReceived } from "#/exchange/send.ts";
import { GearmanError } from "#/gearman/wire/errors.ts";
import { CommandError } from "../exit.ts";

/** A file of this machine that a build gets as one of its inputs. */
export interface InputFile {
  readonly name: string;
  readonly path: string;
}

/** @throws CommandError usage when a file can't be read */
export async function announce(files: readonly InputFile[]): Promise<(AnnouncedInput & { size: number })[]> {
  const announced = [];
  for (const { name, path } of files) {
    try {
      announced.push({ name, ...(await digestFile(path)) });
    } catch (cause) {
      const text = `--file ${name}: ${path} can't be read: ${(cause as Error).message}`;
      throw new CommandError("usage", text, { cause });
    }
  }
  return announced;
}

/** @throws Error it can't be read */
export async function digestFile(path: string): Promise<{ size: number; sha256: string }> {
  if (!(await stat(path)).isFile()) throw new Error("it is no file");
  const hash = createHash("sha256");
  let size = 0;
  await pipeline(createReadStream(path), async (chunks) => {
    for await (const chunk of chunks) {
      size += chunk.length;
      hash.update(chunk);
    }
  });
  return { size, sha256: hash.digest("hex") };
}

/** A file as its build's parameters announce it. */
export interface AnnouncedFile extends InputFile {
  readonly size: number;
}

const retryIntervalMs = 1000;

/**
 * Sends what an agent wants, and goes on after a lost line until the signal. The agent decides how long it waits, and its build
 * says how that ended. A file that is no longer as long as it was announced isn't sent: the agent learns where it ends.
 * @param report called with what keeps it from sending, and each time it goes on anew
 */
export async function sendInputs(options: {
  readonly calls: Calls;
  readonly signer: Signer;
  readonly uuid: string;
  readonly manager: string;
  readonly files: readonly AnnouncedFile[];
  readonly wants: readonly WantedInput[];
  readonly signal: AbortSignal;
  readonly report: (text: string) => void;
}): Promise<void> {
  const { files, wants, signal } = options;
  for (const { name, offset } of wants) {
    const file = files.find((one) => one.name === name);
    if (file) await sendInput({ ...options, file, offset });
    if (signal.aborted) return;
  }
}

async function sendInput(
  options: Omit<Parameters<typeof sendInputs>[0], "files" | "wants"> & {
    readonly file: AnnouncedFile;
    readonly offset: number;
  },
): Promise<void> {
  const { calls, signer, uuid, manager, file, signal, report } = options;
  await using source = await Source.open(file, report);
  for (let offset = options.offset; offset < file.size && !signal.aborted; ) {
    const { at, bytes } = await source.piece(offset);
    try {
      const received = await signer.signed(async (time) => {
        const piece = formatPiece(signer.key, { uuid, name: file.name, offset: at, bytes }, time);
        return parseReceived(await calls.call(sendFunction(manager), piece));
      });
      if (bytes.length === 0) return;
      offset = received;
    } catch (error) {
      if (signal.aborted) return;
      const goesOn = error instanceof ExchangeError ? error.facts.offset : undefined;
      if (goesOn !== undefined && goesOn !== offset) offset = goesOn;
      // Another client has sent it meanwhile, or the build has ended.
      else if (error instanceof ExchangeError && error.code === "not-wanted") return;
      else if (error instanceof ExchangeError && error.code !== "unavailable") throw error;
      else if (error instanceof GearmanError || error instanceof ExchangeError) {
        report(`${file.name} is not sent yet: ${error.message}`);
        await delay(retryIntervalMs, undefined, { signal }).catch(() => {});
      } else throw error;
    }
  }
}

/** A file while it is sent. */
class Source implements AsyncDisposable {
  readonly #file: AnnouncedFile;
  readonly #report: (text: string) => void;
  readonly #buffer = Buffer.allocUnsafe(maxPieceBytes);
  #handle: FileHandle | undefined;
  /** Where it ends for us; undefined: as announced, as far as it is known. */
  #end: number | undefined;

  private constructor(file: AnnouncedFile, report: (text: string) => void) {
    this.#file = file;
    this.#report = report;
  }

  /** @param report called with why it can't be read */
  static async open(file: AnnouncedFile, report: (text: string) => void): Promise<Source> {
    const source = new Source(file, report);
    try {
      source.#handle = await open(file.path);
      const { size } = await source.#handle.stat();
      if (size !== file.size) source.#end = size;
    } catch (error) {
      source.#fail(0, error as Error);
    }
    return source;
  }

  /** @returns what follows `offset`, valid until the next call; or nothing, and where the file ends */
  async piece(offset: number): Promise<{ readonly at: number; readonly bytes: Buffer }> {
    const length = this.#end === undefined ? Math.min(maxPieceBytes, this.#file.size - offset) : 0;
    try {
      const bytesRead = (await this.#handle?.read(this.#buffer, 0, length, offset))?.bytesRead ?? 0;
      if (bytesRead > 0) return { at: offset, bytes: this.#buffer.subarray(0, bytesRead) };
    } catch (error) {
      this.#fail(offset, error as Error);
    }
    this.#end ??= offset;
    return { at: this.#end, bytes: Buffer.alloc(0) };
  }

  #fail(end: number, { message }: Error): void {
    this.#end = end;
    this.#report(`a file can't be sent: ${message}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle?.close();
  }
}
