/** Reads a console, finished or growing. */
import { type FileHandle, open } from "node:fs/promises";
import { openStored } from "../workspace/files.ts";
import { type ConsoleLog, consoleFile } from "./log.ts";

const pieceSize = 64 * 1024;

/** @returns undefined: there is no console (yet), or it is not a regular file */
export function openConsole(folder: string): Promise<FileHandle | undefined> {
  return openStored(folder, "console.log");
}

/** @returns undefined: nobody recorded when the console's bytes came */
export function openTimes(folder: string): Promise<FileHandle | undefined> {
  return openStored(folder, "console.times");
}

/** A console's bytes; of a running build's only those that are written for sure. */
export async function consoleSize(file: FileHandle, live: ConsoleLog | undefined): Promise<number> {
  return live?.size ?? (await file.stat()).size;
}

/**
 * The bytes of a console from an offset on, in pieces of 64 KiB at most.
 * @param folder the build's
 * @param options.live the running build's console, to follow it to its end
 * @throws the file system's error
 */
export async function* readConsole(
  folder: string,
  options: { from?: number; live?: ConsoleLog | undefined; signal?: AbortSignal } = {},
): AsyncGenerator<Buffer> {
  const { live, signal } = options;
  await using file = await open(consoleFile(folder), "r");
  const buffer = Buffer.alloc(pieceSize);
  let at = options.from ?? 0;
  while (!signal?.aborted) {
    // Asked before the read: what was written before the close is read for sure.
    const last = !live || live.closed;
    const { bytesRead } = await file.read(buffer, 0, pieceSize, at);
    at += bytesRead;
    // A copy: a slow reader may keep many pieces, and they may be single bytes.
    if (bytesRead > 0) yield Buffer.from(buffer.subarray(0, bytesRead));
    else if (last) return;
    // The signal ends the loop.
    else await live.changed.until(() => live.size > at || live.closed, signal).catch(() => {});
  }
}
