/** Notifies systemd of the agent's state. Without systemd it does nothing. Source: sd_notify(3). */
import { execFile } from "node:child_process";
import type { SystemCalls } from "./syscalls.ts";

export interface Notifier {
  /** The start goes on, and takes longer than the unit allows. @param timeoutMs until the next of these, or ready() */
  starting(timeoutMs: number): void;
  /** The start or a reload is finished. */
  ready(): void;
  /** What the agent does, in a line for `systemctl status`. */
  status(line: string): void;
  reloading(): void;
  /** @param timeoutMs how long the stop may take, if longer than the unit allows */
  stopping(timeoutMs?: number): void;
  /** A sign of life: call it at least twice in each watchdogIntervalMs. */
  watchdog(): void;
  /** How often systemd expects a sign of life; undefined: it doesn't. */
  readonly watchdogIntervalMs: number | undefined;
}

/**
 * @param env with NOTIFY_SOCKET and WATCHDOG_USEC
 * @param calls they send from this process, as NotifyAccess=main requires; without them systemd-notify(1) is started, which
 *   needs NotifyAccess=all
 */
export function createNotifier(env: Readonly<NodeJS.ProcessEnv>, calls: SystemCalls | undefined): Notifier {
  const address = env.NOTIFY_SOCKET ?? "";
  const known = address.startsWith("/") || address.startsWith("@");
  const send = (...lines: string[]) => {
    if (!known || calls?.sendDatagram(address, lines.join("\n"))) return;
    // A failure changes nothing.
    execFile("systemd-notify", ["--no-block", ...lines], { env: { ...env }, timeout: 5000 }, () => undefined);
  };
  return {
    starting: (timeoutMs) => send(extension(timeoutMs)),
    ready: () => send("READY=1"),
    status: (line) => send(`STATUS=${line.replace(/[\p{Cc}\u2028\u2029]+/gu, " ")}`),
    // With Type=notify-reload, systemd compares this CLOCK_MONOTONIC time with that of its own request.
    reloading: () => send("RELOADING=1", `MONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`),
    stopping: (timeoutMs) => send("STOPPING=1", ...(timeoutMs === undefined ? [] : [extension(timeoutMs)])),
    watchdog: () => send("WATCHDOG=1"),
    watchdogIntervalMs: known ? watchdogIntervalMs(env) : undefined,
  };
}

const extension = (timeoutMs: number): string => `EXTEND_TIMEOUT_USEC=${Math.ceil(timeoutMs * 1000)}`;

/** WATCHDOG_PID says which process is meant, since children inherit the variables. */
function watchdogIntervalMs(env: Readonly<NodeJS.ProcessEnv>): number | undefined {
  const microseconds = Number(env.WATCHDOG_USEC);
  const pid = env.WATCHDOG_PID;
  if (!(microseconds > 0) || (pid !== undefined && Number(pid) !== process.pid)) return undefined;
  return microseconds / 1000;
}
