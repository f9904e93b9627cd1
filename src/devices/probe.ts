/** Asks a board what it is, and compares. */
import type { DeviceConfig } from "#/config/model.ts";
import type { Console } from "./consoles/console.ts";
import { runDialogue } from "./consoles/dialogue.ts";
import { compilePattern } from "./consoles/matcher.ts";
import { BoardFailure } from "./errors.ts";
import type { Port } from "./port/port.ts";
import { PortLine } from "./reservation.ts";

/** How long the probe's command may take, in milliseconds. */
const probeTime = 30_000;
/** How far back a console hears what the board has said, in bytes, and in milliseconds. */
const heardBefore = 16 * 1024;
const recentTime = 5000;
/** How much of a probe's output is looked at, in bytes. */
const mostOutput = 64 * 1024;

/**
 * Resolves when the board answers, and is what the configuration says.
 * @throws BoardFailure; DeviceError PORT_BUSY when somebody writes to it by hand; the signal's reason
 */
export async function prove(
  config: DeviceConfig,
  port: Port,
  console: Console,
  signal: AbortSignal,
): Promise<void> {
  using writer = port.acquire("the agent, which proves the board");
  const line = new PortLine(port, writer, recently(port));
  const { probe, expect } = config.health;
  await runDialogue(console.enter(config.bootTimeoutMs), line, { signal });
  if (probe === undefined) return;
  const kept: Uint8Array[] = [];
  let size = 0;
  const onOutput = (bytes: Uint8Array) => {
    if (size < mostOutput) kept.push(Uint8Array.from(bytes));
    size += bytes.length;
  };
  const { code } = await runDialogue(console.run(probe, { timeout: probeTime }), line, { signal, onOutput });
  const output = Buffer.concat(kept).toString("utf8");
  if (code !== 0) throw mismatch(`${quoted(probe)} ended with exit code ${code}`, output);
  if (expect === undefined || compilePattern(expect).test(output)) return;
  throw mismatch(`${quoted(expect)} was expected of ${quoted(probe)}`, output);
}

/** Where the last seconds began: a board that is booting is told by what it has said already. */
function recently({ ring }: Port): number {
  for (let at = Math.max(ring.start, ring.end - heardBefore); at < ring.end; ) {
    const chunk = ring.read(at);
    if (!chunk || chunk.at >= Date.now() - recentTime) return at;
    at = chunk.offset + chunk.bytes.length;
  }
  return ring.end;
}

function mismatch(what: string, output: string): BoardFailure {
  const first = output.trim().split("\n", 1)[0]?.trim() ?? "";
  return new BoardFailure("mismatch", `${what}, and the board said ${quoted(first.slice(0, 100))}`);
}

function quoted(text: string): string {
  return JSON.stringify(text.slice(0, 200));
}
