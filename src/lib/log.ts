/** The agent's own log: JSON lines when piped, readable lines on a terminal, lines with priorities in systemd's journal. */
import { fstatSync, writeSync } from "node:fs";
import { type Logger, pino } from "pino";

/** The part of pino's logger that the rooms use. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  child(fields: object): Log;
}

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
  if (isJournal(out.fd)) return pino(options, { write: (line) => writeSync(out.fd, journalLine(line)) });
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

/** JOURNAL_STREAM names the socket to the journal by device and inode. Source: systemd.exec(5). */
function isJournal(fd: number): boolean {
  const { dev, ino } = fstatSync(fd);
  return process.env.JOURNAL_STREAM === `${dev}:${ino}`;
}

/** pino's levels as those of syslog. */
const priorities: Readonly<Record<number, number>> = { 20: 7, 30: 6, 40: 4, 50: 3, 60: 2 };

/** The message, then what else there is, on one line; the journal takes priority and time by itself. Source: sd-daemon(3). */
function journalLine(json: string): string {
  const { level, time: _, msg = "", ...fields } = JSON.parse(json);
  const rest = Object.entries(fields).map(([name, value]) => ` ${name}=${JSON.stringify(value)}`);
  return `<${priorities[level] ?? 6}>${`${msg}`.replaceAll("\n", " ")}${rest.join("")}\n`;
}
