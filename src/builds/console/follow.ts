/** Reading a console, finished or still growing. */
import { type FileHandle, open } from "node:fs/promises";
import { openStored } from "../workspace/files.ts";
import { type ConsoleLog, consoleFile } from "./log.ts";

const piece = 64 * 1024;

/** @returns undefined: there is no console (yet), or what is there is no file */
export function openConsole(folder: string): Promise<FileHandle | undefined> {
  return openStored(folder, "console.log");
}

/** @returns undefined: when the console's bytes came isn't known */
export function openTimes(folder: string): Promise<FileHandle | undefined> {
  return openStored(folder, "console.times");
}

/** How many bytes a console has: of a running build those that are surely written. */
export async function consoleSize(file: FileHandle, live: ConsoleLog | undefined): Promise<number> {
  return live?.size ?? (await file.stat()).size;
}

/**
 * The bytes of a console from an offset on, and as they come while the build runs.
 * Memory holds one piece of 64 KiB at a time however large the console is.
 * @param folder the build's
 * @param options.live the console when the build still runs and is to be followed to its end
 * @throws the file system's error
 */
export async function* readConsole(
  folder: string,
  options: { from?: number; live?: ConsoleLog | undefined; signal?: AbortSignal } = {},
): AsyncGenerator<Buffer> {
  const { live, signal } = options;
  await using file = await open(consoleFile(folder), "r");
  const buffer = Buffer.alloc(piece);
  let at = options.from ?? 0;
  while (!signal?.aborted) {
    // Asked before the read: what was written before the close is then sure to be read.
    const last = !live || live.closed;
    const { bytesRead } = await file.read(buffer, 0, piece, at);
    at += bytesRead;
    // A copy of its own size: a slow reader may keep many, and they may be single bytes.
    if (bytesRead > 0) yield Buffer.from(buffer.subarray(0, bytesRead));
    else if (last) return;
    // The signal ends the loop.
    else await live.changed.until(() => live.size > at || live.closed, signal).catch(() => {});
  }
}
