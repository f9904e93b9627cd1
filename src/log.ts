/** The agent's own log: JSON lines when piped, readable lines on a terminal. */
import { type Logger, pino } from "pino";

export const logLevels = ["debug", "info", "warn", "error"] as const;
export type LogLevel = (typeof logLevels)[number];

/**
 * @param out where to: standard error, so that a command's own output stays clean
 * @param level the least serious level that is written
 */
export async function createLog(out: NodeJS.WriteStream & { fd: number }, level: LogLevel): Promise<Logger> {
  const options = {
    level,
    base: null,
    // A key that slips into a log line's fields is never written out.
    redact: { paths: ["*.password", "*.key", "*.token", "*.argument", "parameters"], censor: "[masked]" },
  };
  if (!out.isTTY) return pino(options, pino.destination({ fd: out.fd, sync: true }));
  const { default: pretty } = await import("pino-pretty");
  const stream = pretty({
    destination: out.fd,
    sync: true,
    colorize: true,
    translateTime: "SYS:HH:MM:ss",
    singleLine: true,
  });
  return pino(options, stream);
}
