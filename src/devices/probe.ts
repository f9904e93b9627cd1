/** Probes a board: logs in, and checks that it is what the configuration says. */
import type { DeviceConfig } from "#/config/model.ts";
import { shown } from "#/lib/text.ts";
import type { Console } from "./consoles/console.ts";
import { runDialogue } from "./consoles/dialogue.ts";
import { compilePattern } from "./consoles/matcher.ts";
import { BoardFailure } from "./errors.ts";
import type { Port } from "./port/port.ts";
import { PortLine } from "./port/port-line.ts";

/** Of the probe's command. */
const commandTimeoutMs = 30_000;
/** How far back the console reads output from before the probe. */
const maxRecentBytes = 16 * 1024;
const maxRecentMs = 5000;
/** Of the command's output. */
const maxOutputBytes = 64 * 1024;

export interface ProbeOptions {
  readonly config: DeviceConfig;
  readonly port: Port;
  readonly console: Console;
  /** The offset in the port's stream at which the board was restarted: output from before says nothing about it. */
  readonly bootedFrom: number;
  /** Whether nothing has waited for that boot yet. */
  readonly isBooting: boolean;
  readonly signal: AbortSignal;
}

/**
 * Resolves if the board answers as the configuration expects.
 * @throws BoardFailure; DeviceError PORT_BUSY if a person writes to the port; the signal's reason
 */
export async function probeBoard({
  config,
  port,
  console,
  bootedFrom,
  isBooting,
  signal,
}: ProbeOptions): Promise<void> {
  using writer = port.acquire("the agent, which probes the board");
  const line = new PortLine(port, writer, recently(port, bootedFrom, isBooting));
  const { probe, expect } = config.health;
  await runDialogue(console.enter(config.bootTimeoutMs, isBooting), line, { signal });
  if (probe === undefined) return;
  const kept: Uint8Array[] = [];
  let size = 0;
  const onOutput = (bytes: Uint8Array) => {
    if (size < maxOutputBytes) kept.push(Uint8Array.from(bytes));
    size += bytes.length;
  };
  const { code } = await runDialogue(console.run(probe, { timeoutMs: commandTimeoutMs }), line, {
    signal,
    onOutput,
  });
  const output = Buffer.concat(kept).toString("utf8");
  if (code !== 0) throw mismatch(`${shown(probe, 200)} ended with exit code ${code}`, output);
  if (expect === undefined || compilePattern(expect).test(output)) return;
  throw mismatch(`${shown(probe, 200)} didn't print ${shown(expect, 200)}`, output);
}

/**
 * Where the latest seconds start, or the last line, if it has no end: output from before shows whether the board is booting, and what
 * prompt it stands at.
 */
export function recently({ ring }: Pick<Port, "ring">, bootedFrom: number, isBooting: boolean): number {
  const start = Math.max(bootedFrom, ring.start, ring.end - maxRecentBytes);
  if (isBooting) return start;
  let lineStart = ring.end;
  for (let at = start; at < ring.end; ) {
    const chunk = ring.read(at);
    if (!chunk || chunk.at >= Date.now() - maxRecentMs) return Math.min(at, lineStart);
    const end = Buffer.from(chunk.bytes).lastIndexOf("\n") + 1;
    if (end > 0 || lineStart === ring.end) lineStart = chunk.offset + end;
    at = chunk.offset + chunk.bytes.length;
  }
  return lineStart;
}

function mismatch(what: string, output: string): BoardFailure {
  const first = output.trim().split("\n", 1)[0]?.trim() ?? "";
  return new BoardFailure("mismatch", `${what}; it printed ${shown(first, 100)}`);
}
