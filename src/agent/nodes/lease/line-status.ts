/** The modem's lines and the port's errors, as WORK_DATA of a lease whenever they change. */
import { setTimeout as delay } from "node:timers/promises";
import type { LineErrors } from "#/devices/port/line.ts";
import type { Port } from "#/devices/port/port.ts";
import type { LineStatus } from "#/exchange/lease.ts";

/** Drivers notify nobody but a blocked thread (TIOCMIWAIT, tty_ioctl(4)). */
const lookIntervalMs = 50;

/** Until the signal aborts. Never rejects. */
export async function reportLines(
  port: Pick<Port, "modem" | "counters">,
  report: { announceLines(lines: LineStatus): void },
  signal: AbortSignal,
): Promise<void> {
  const before = port.counters.all;
  let reported = "{}";
  while (!signal.aborted) {
    const lines = { ...port.modem, ...counted(before, port.counters.all) };
    const now = JSON.stringify(lines);
    if (now !== reported) report.announceLines(lines);
    reported = now;
    await delay(lookIntervalMs, undefined, { signal }).catch(() => {});
  }
}

/** What was counted since then; nothing where nothing was. */
function counted(before: LineErrors, now: LineErrors): Partial<LineErrors> {
  const names = Object.keys(now) as (keyof LineErrors)[];
  const changed = names.filter((name) => now[name] !== before[name]);
  return Object.fromEntries(changed.map((name) => [name, now[name] - before[name]]));
}
