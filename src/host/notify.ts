/** Tells systemd how the agent is. Without systemd nothing happens. Source: sd_notify(3). */
import { execFile } from "node:child_process";
import type { SystemCalls } from "./syscalls.ts";

export interface Notifier {
  /** Start-up is over, or a reload is. */
  ready(): void;
  /** What the agent does, one line for `systemctl status`. */
  status(line: string): void;
  reloading(): void;
  /** @param patience milliseconds that the way down may take, more than the unit allows by itself */
  stopping(patience?: number): void;
  /** Still alive: to be called at least once in half of watchdogInterval. */
  watchdog(): void;
  /** Milliseconds within which systemd wants a sign of life; undefined: it doesn't. */
  readonly watchdogInterval: number | undefined;
}

/**
 * @param env where NOTIFY_SOCKET and WATCHDOG_USEC are
 * @param calls sends from this very process, which NotifyAccess=main asks for; without them systemd-notify(1) is
 *   started, which needs NotifyAccess=all
 */
export function createNotifier(env: Readonly<NodeJS.ProcessEnv>, calls: SystemCalls | undefined): Notifier {
  const address = env.NOTIFY_SOCKET ?? "";
  const known = address.startsWith("/") || address.startsWith("@");
  const send = (...lines: string[]) => {
    if (!known || calls?.sendDatagram(address, lines.join("\n"))) return;
    // Nobody waits for it, and its failure changes nothing.
    execFile("systemd-notify", ["--no-block", ...lines], { env: { ...env }, timeout: 5000 }, () => undefined);
  };
  return {
    ready: () => send("READY=1"),
    status: (line) => send(`STATUS=${line.replace(/[\p{Cc}\u2028\u2029]+/gu, " ")}`),
    // With Type=notify-reload systemd compares the time with that of its own request: CLOCK_MONOTONIC.
    reloading: () => send("RELOADING=1", `MONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`),
    stopping: (patience) =>
      send(
        "STOPPING=1",
        ...(patience === undefined ? [] : [`EXTEND_TIMEOUT_USEC=${Math.ceil(patience * 1000)}`]),
      ),
    watchdog: () => send("WATCHDOG=1"),
    watchdogInterval: known ? watchdogInterval(env) : undefined,
  };
}

/** WATCHDOG_PID says whom it is meant for, since children inherit the variables. */
function watchdogInterval(env: Readonly<NodeJS.ProcessEnv>): number | undefined {
  const microseconds = Number(env.WATCHDOG_USEC);
  const pid = env.WATCHDOG_PID;
  if (!(microseconds > 0) || (pid !== undefined && Number(pid) !== process.pid)) return undefined;
  return microseconds / 1000;
}
