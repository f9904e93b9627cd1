/** The files that a build gets: their digests, and sending what the agent lacks of them, piece by piece. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { open, stat } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { setTimeout as delay } from "node:timers/promises";
import type { ManagerCalls } from "#/client/calls.ts";
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
      if (!(await stat(path)).isFile()) throw new Error("it is no file");
      const hash = createHash("sha256");
      let size = 0;
      await pipeline(createReadStream(path), async (chunks) => {
        for await (const chunk of chunks) {
          size += chunk.length;
          hash.update(chunk);
        }
      });
      announced.push({ name, size, sha256: hash.digest("hex") });
    } catch (cause) {
      const text = `--file ${name}: ${path} can't be read: ${(cause as Error).message}`;
      throw new CommandError("usage", text, { cause });
    }
  }
  return announced;
}

const retryIntervalMs = 1000;

/**
 * Sends what an agent wants, and goes on after a lost line until the signal. The agent decides how long it waits, and its build
 * says how that ended.
 * @param report called with what keeps it from sending, and each time it goes on anew
 * @throws CommandError failure when a file is no longer what was announced
 */
export async function sendInputs(options: {
  readonly calls: ManagerCalls;
  readonly signer: Signer;
  readonly uuid: string;
  readonly manager: string;
  readonly files: readonly InputFile[];
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
    readonly file: InputFile;
    readonly offset: number;
  },
): Promise<void> {
  const { calls, signer, uuid, manager, file, signal, report } = options;
  await using handle = await open(file.path);
  const { size } = await handle.stat();
  const buffer = Buffer.allocUnsafe(maxPieceBytes);
  for (let offset = options.offset; offset < size && !signal.aborted; ) {
    const { bytesRead } = await handle.read(buffer, 0, maxPieceBytes, offset);
    if (bytesRead === 0)
      throw new CommandError("failure", `${file.path} has become shorter while it was sent`);
    const bytes = buffer.subarray(0, bytesRead);
    try {
      offset = await signer.signed(async (time) => {
        const piece = formatPiece(signer.key, { uuid, name: file.name, offset, bytes }, time);
        return parseReceived(await calls.call(sendFunction(manager), piece));
      });
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
