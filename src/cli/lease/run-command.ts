/** Runs a command on this machine with a leased board as its port. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { constants } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import type { Address } from "#/lib/address.ts";
import { CommandError } from "../exit.ts";
import { serveRfc2217 } from "./serve.ts";
import type { HeldBoard, Used } from "./session.ts";

/** Between SIGTERM and SIGKILL for a command whose board is gone. */
const graceMs = 5000;

/** @throws CommandError failure when it can't be run */
export async function runCommand(
  [file = "", ...args]: readonly string[],
  board: HeldBoard,
  where: Address,
  ended: AbortSignal,
): Promise<Used> {
  await using served = await serveRfc2217(board, where);
  const env = {
    ...process.env,
    LABGEAR_DEVICE: board.device,
    LABGEAR_BAUD: String(board.baud),
    LABGEAR_PORT: `rfc2217://${served.address}`,
  };
  const child = spawn(file, args, { stdio: "inherit", env });
  const exited = once(child, "exit").catch((cause: Error) => {
    throw new CommandError("failure", `${file} can't be run: ${cause.message}`, { cause });
  });
  const done = new AbortController();
  const end = async () => {
    child.kill("SIGTERM");
    await delay(graceMs, undefined, { signal: done.signal }).catch(() => {});
    if (!done.signal.aborted) child.kill("SIGKILL");
  };
  const onEnded = () => void end();
  if (ended.aborted) onEnded();
  ended.addEventListener("abort", onEnded, { once: true });
  try {
    const [code, signal] = (await exited) as [number | null, NodeJS.Signals | null];
    const exitCode = code ?? 128 + (signal ? signalNumber(signal) : 0);
    return { reason: `its command ended with exit code ${exitCode}`, exitCode };
  } finally {
    done.abort();
    ended.removeEventListener("abort", onEnded);
  }
}

function signalNumber(signal: NodeJS.Signals): number {
  return constants.signals[signal] ?? 0;
}
