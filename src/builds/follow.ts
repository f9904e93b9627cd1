/** Reading a console, finished or still growing. */
import { once } from "node:events";
import { open } from "node:fs/promises";
import { type ConsoleLog, consoleFile } from "./console.ts";

const piece = 64 * 1024;

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
  let at = options.from ?? 0;
  for (;;) {
    // Asked before the read: what was written before the close is then sure to be read.
    const last = !live || live.closed;
    const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(piece), 0, piece, at);
    if (bytesRead > 0) {
      at += bytesRead;
      yield buffer.subarray(0, bytesRead);
    } else if (last) return;
    else await consoleChange(live, at, signal);
    if (signal?.aborted) return;
  }
}

/** Resolves when a console has grown past a size, was closed, or the signal is aborted. */
export async function consoleChange(live: ConsoleLog, size: number, signal?: AbortSignal): Promise<void> {
  if (live.size > size || live.closed) return;
  const waiting = new AbortController();
  const either = signal ? AbortSignal.any([signal, waiting.signal]) : waiting.signal;
  await Promise.race([
    once(live, "grown", { signal: either }).catch(() => {}),
    once(live, "closed", { signal: either }).catch(() => {}),
  ]);
  waiting.abort();
}
