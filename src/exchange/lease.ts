/**
 * A lease: a board for a person, a test program or an agent. It is a Gearman job like a build, waits in the same queue, and is
 * held until it is released, its time is over, or its client gives no sign of life for 10 s.
 *
 *     lease:CLASS, lease:NAME     {"for": SECONDS, "reason": TEXT, "who": TEXT, "LABGEAR_KEY": KEY}
 *
 * Its data begins as that of a build does. What is special to a lease comes as further objects:
 *
 *     {"lease": {"session": HEX, "device": NAME, "baud": N, "left": MS, "draining": MS}}      when it begins, and whenever that changes
 *     {"serial": BASE64, "offset": N}         the board's output
 *     {"lines": {"cts": true, …}}             the modem's lines and what the port counted (LineStatus), when they change
 *     {"done": SEQUENCE}                      what was typed is done; with "error" if it failed
 *     {"transferred": N, "of": N}             bytes of the file that is on its way to or from the board
 *
 * `left` is absent while the board is made ready. Another `session` means another lease, perhaps on another board: the job
 * server has handed the job out again, and nothing that was typed before counts there.
 *
 * What its holder types goes by type:MANAGER (typing.ts).
 */
import { parsePublicKey } from "./key.ts";
import { isCount, isLine, isObject, type JsonObject, malformed } from "./message.ts";

/** The job's name in records and on pages. */
export const leaseJob = "lease";

/** Without a sign of life for so long, a lease ends. */
export const leaseClientTimeoutMs = 10_000;

/** @param target a class, or a device's name */
export function leaseFunction(target: string): string {
  return `lease:${target}`;
}

/** @returns the class or name; undefined: it is another function */
export function parseLeaseFunction(name: string): string | undefined {
  const [kind, target, ...rest] = name.split(":");
  return kind === "lease" && target && rest.length === 0 ? target : undefined;
}

/** Of a file that the holder sends to the board or gets from it. */
export const maxFileBytes = 256 * 1024 * 1024;

/** The path of the file that came from the board last, for `fetch:`. */
export const fetchedFile = "file";

/** The name under which a file for the board comes by `send:`. */
export function fileInput(sha256: string): string {
  return `file_${sha256.slice(0, 32)}`;
}

/** What a client asks for. */
export interface LeaseTerms {
  /** Absent: as long as the device allows. */
  readonly forMs?: number;
  /** For people who want the board, too. */
  readonly reason: string;
  /** USER@HOST. */
  readonly who: string;
}

const maxTextLength = 200;
const defaultText = "not said";

export function formatLeaseRequest(terms: LeaseTerms, publicKey: string): string {
  const { forMs, reason, who } = terms;
  const seconds = forMs === undefined ? {} : { for: forMs / 1000 };
  return JSON.stringify({ ...seconds, reason, who, LABGEAR_KEY: publicKey });
}

/** @throws ExchangeError malformed */
export function parseLeaseTerms(parameters: ReadonlyMap<string, string>): LeaseTerms {
  const seconds = parameters.get("for");
  const [reason, who] = ["reason", "who"].map((name) => parameters.get(name) ?? defaultText);
  if (!isLine(reason, maxTextLength) || !isLine(who, maxTextLength))
    throw malformed(`has a "reason" or "who" that is no line of at most ${maxTextLength} characters`);
  // Without one nobody could hold it.
  parsePublicKey(parameters.get("LABGEAR_KEY") ?? "");
  if (seconds === undefined) return { reason, who };
  if (!/^[1-9][0-9]{0,6}$/.test(seconds)) throw malformed('has no whole number of seconds as "for"');
  return { forMs: Number(seconds) * 1000, reason, who };
}

/** How a lease stands, as its data says. */
export interface LeaseNews {
  /** Names this lease among all that its key is for. */
  readonly session: string;
  readonly device: string;
  readonly baud: number;
  /** Milliseconds to its end; absent: it hasn't begun. */
  readonly left?: number;
  /** Milliseconds to its end since the agent drains. */
  readonly draining?: number;
}

const modemLines = ["cts", "dsr", "ri", "cd"] as const;
const lineCounts = ["framing", "parity", "overrun", "breaks"] as const;

/** The lines of a modem, as far as the port knows them, and what it counted since the lease began. */
export type LineStatus = { readonly [Name in (typeof modemLines)[number]]?: boolean } & {
  readonly [Name in (typeof lineCounts)[number]]?: number;
};

/** What a lease's data says besides what every build's does. */
export type LeaseEvent =
  | { readonly kind: "lease"; readonly news: LeaseNews }
  | { readonly kind: "serial"; readonly bytes: Buffer; readonly offset: number }
  | { readonly kind: "lines"; readonly lines: LineStatus }
  | { readonly kind: "transferred"; readonly done: number; readonly total: number }
  | { readonly kind: "done"; readonly sequence: number; readonly error?: string };

/** @returns undefined: it says nothing of that; malformed objects of other workers count as that, too */
export function parseLeaseEvent(data: JsonObject): LeaseEvent | undefined {
  const { lease, serial, offset, lines, transferred, of, done, error } = data;
  if (isObject(lease) && isNews(lease)) return { kind: "lease", news: lease as unknown as LeaseNews };
  if (typeof serial === "string" && isCount(offset))
    return { kind: "serial", bytes: Buffer.from(serial, "base64"), offset };
  if (isObject(lines)) return { kind: "lines", lines: lineStatus(lines) };
  if (isCount(transferred) && isCount(of)) return { kind: "transferred", done: transferred, total: of };
  if (!isCount(done)) return undefined;
  return { kind: "done", sequence: done, ...(typeof error === "string" && { error: error.slice(0, 1000) }) };
}

function isNews({ session, device, baud, left, draining }: JsonObject): boolean {
  const isTime = (value: unknown) => value === undefined || isCount(value);
  return isSession(session) && isLine(device, 255) && isCount(baud) && isTime(left) && isTime(draining);
}

export function isSession(value: unknown): value is string {
  return typeof value === "string" && /^[0-9a-f]{32}$/.test(value);
}

function lineStatus(lines: JsonObject): LineStatus {
  const known = [
    ...modemLines.filter((name) => typeof lines[name] === "boolean"),
    ...lineCounts.filter((name) => isCount(lines[name])),
  ];
  return Object.fromEntries(known.map((name) => [name, lines[name]]));
}
