/**
 * A board's history in `STATE/devices/NAME/history/`: how its builds ended, and when it took none and why. One JSON object a
 * line, one file a month. What a board goes through in a day's work (reset, probe, next build) isn't an event.
 */
import {
  appendFileSync,
  closeSync,
  constants,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readSync,
} from "node:fs";
import { open, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { type BuildEvent, type HistoryEvent, parseHistory, type StateEvent } from "#/lib/board-history.ts";
import type { Outage } from "#/lib/status.ts";
import { type DeviceState, isPlaceholder } from "./state.ts";

export interface HistoryOptions {
  readonly folder: string;
  readonly now: () => number;
  /** Something can't be read or written; the board works all the same. */
  readonly fault: (message: string) => void;
}

/** Of a month. States go on a little longer than builds: there are few of them. */
const maxBuildBytes = 2 * 1024 * 1024;
const maxStateBytes = 3 * 1024 * 1024;
/** Read at the start to find the last state. A month begins with one, and builds are few while a board is out of order. */
const tailBytes = 256 * 1024;
const maxReasonChars = 500;
/** Builds that are remembered for a quarantine. */
const maxLedTo = 10;
/** Failed tries are written one by one up to this; then each power of two, and each so many. */
const maxSingleTries = 4;
const triesStep = 64;

/**
 *     in service ──unplugged, probe failed, quarantined, paused──▶ outage ──ready──▶ in service
 *
 * An outage outlives restarts of the agent: a board that a restart finds out of order has been so since the outage began.
 */
export class BoardHistory implements Disposable {
  readonly #options: HistoryOptions;
  #outage: Outage | undefined;
  /** Builds without a result in a row, for what the board did. */
  #sick: string[] = [];
  #writtenTries = 0;
  /** The month of the last event; its file may end in half a line. */
  #month = "";
  #isWhole = false;

  /** Continues what is on disk. Never throws. */
  constructor(options: HistoryOptions) {
    this.#options = options;
    try {
      this.#restore();
    } catch (error) {
      options.fault(`its history can't be read: ${(error as Error).message}`);
    }
  }

  /** Why the board takes no builds, and since when; undefined: it takes them. */
  get outage(): Outage | undefined {
    return this.#outage;
  }

  /** The device has entered a state. */
  enter(state: DeviceState): void {
    switch (state.kind) {
      case "ready":
        if (!this.#outage) break;
        this.#outage = undefined;
        this.#write({ at: this.#now(), state: "ready" }, maxStateBytes);
        break;
      case "busy":
      case "proving":
        break;
      case "recovering":
        // Without a cause it is being reset after a build, and its probe decides.
        if (state.cause !== undefined) this.#out(state, { cause: state.cause, isTry: true });
        break;
      case "absent":
      case "opening":
        if (!isPlaceholder(state)) this.#out(state, { cause: "unplugged" });
        break;
      case "quarantined":
        this.#out(state, { cause: this.#outage?.cause ?? "quarantined", builds: this.#sick });
        break;
      case "paused":
        this.#out(state, { cause: "paused", ...(state.by !== undefined && { who: state.by }) });
        break;
    }
  }

  #out(
    { kind, reason }: Extract<DeviceState, { readonly reason: string }>,
    found: { cause: string; isTry?: true; who?: string; builds?: readonly string[] },
  ): void {
    const last = this.#outage;
    const at = this.#now();
    const tries = (last?.tries ?? 0) + (found.isTry ? 1 : 0);
    const builds = found.builds?.length ? found.builds : last?.builds;
    const isSame = last?.state === kind && last.cause === found.cause;
    const who = found.who ?? (isSame ? last.who : undefined);
    this.#outage = {
      ...{ since: last?.since ?? at, state: kind, cause: found.cause, tries },
      reason: reason.slice(0, maxReasonChars),
      ...(who !== undefined && { who }),
      ...(builds && { builds: [...builds] }),
    };
    const isMilestone =
      tries <= maxSingleTries || Number.isInteger(Math.log2(tries)) || tries % triesStep === 0;
    // A board may fail in turns, for one cause and another, for weeks.
    const isNews = kind !== last?.state || (last.cause !== found.cause && tries <= triesStep);
    if (isNews || who !== last?.who || (tries !== last?.tries && isMilestone))
      this.#write({ at, ...this.#outage }, maxStateBytes);
  }

  /** A build on the board has ended. @param isSick without a result, for what the board did */
  ended(event: Omit<BuildEvent, "at">, isSick: boolean): void {
    const at = this.#now();
    if (isSick) this.#sick = [...this.#sick, event.build].slice(-maxLedTo);
    else if (event.ending === "passed" || event.ending === "failed") this.#sick = [];
    this.#write({ at, ...event }, maxBuildBytes);
    // The device may have known before the build's record was written.
    if (!isSick || this.#outage?.state !== "quarantined") return;
    this.#outage = { ...this.#outage, builds: this.#sick };
    this.#write({ at, ...this.#outage }, maxStateBytes);
  }

  /** All that is kept from a time on, oldest first. */
  read(sinceMs: number): Promise<HistoryEvent[]> {
    return readHistory(this.#options.folder, sinceMs);
  }

  #now(): string {
    return new Date(this.#options.now()).toISOString();
  }

  #write(event: HistoryEvent, maxBytes: number): void {
    const { folder, fault } = this.#options;
    try {
      mkdirSync(folder, { recursive: true });
      const month = event.at.slice(0, 7);
      const file = join(folder, `${month}.jsonl`);
      const isNew = month !== this.#month && !existsSync(file);
      const standing: StateEvent = { at: event.at, ...(this.#outage ?? { state: "ready" }) };
      const lines = [...(isNew && "build" in event ? [standing] : []), event].map(
        (line) => `${JSON.stringify(line)}\n`,
      );
      const start = month === this.#month && this.#isWhole ? "" : halfLineEnd(file);
      // No link is followed, and no pipe is waited for.
      const flags =
        constants.O_WRONLY |
        constants.O_APPEND |
        constants.O_CREAT |
        constants.O_NOFOLLOW |
        constants.O_NONBLOCK;
      const fd = openSync(file, flags, 0o644);
      try {
        if (fstatSync(fd).size < maxBytes) appendFileSync(fd, start + lines.join(""));
      } finally {
        closeSync(fd);
      }
      this.#month = month;
      this.#writtenTries = this.#outage?.tries ?? 0;
      this.#isWhole = true;
    } catch (error) {
      this.#isWhole = false;
      fault(`its history can't be written: ${(error as Error).message}`);
    }
  }

  /** The agent or the device ends: what it would have written later. */
  [Symbol.dispose](): void {
    const outage = this.#outage;
    if (outage && outage.tries > this.#writtenTries)
      this.#write({ at: this.#now(), ...outage }, maxStateBytes);
  }

  #restore(): void {
    const { folder, now } = this.#options;
    const months = [0, 1].map((back) => monthOf(now(), back));
    const builds: BuildEvent[] = [];
    for (const month of months) {
      const events = parseHistory(readTail(join(folder, `${month}.jsonl`)));
      builds.unshift(...events.filter((event) => "build" in event));
      const last = events.findLast((event): event is StateEvent => "state" in event);
      if (!last) continue;
      const { since, state, cause = state, reason = "", tries = 0, who, builds: ledTo } = last;
      this.#writtenTries = tries;
      if (since !== undefined && state !== "ready")
        this.#outage = {
          ...{ since, state, cause, reason, tries },
          ...(who !== undefined && { who }),
          ...(ledTo && { builds: ledTo }),
        };
      break;
    }
    const lastWell = builds.findLastIndex(({ ending }) => ending === "passed" || ending === "failed");
    const sick = builds.slice(lastWell + 1).filter(({ ending }) => ending === "infrastructure");
    this.#sick = sick.map(({ build }) => build).slice(-maxLedTo);
  }
}

/** @returns such as 2026-11, so many months back */
function monthOf(ms: number, back: number): string {
  const at = new Date(ms);
  return new Date(Date.UTC(at.getUTCFullYear(), at.getUTCMonth() - back)).toISOString().slice(0, 7);
}

/** A power failure may have cut the last line short. */
function halfLineEnd(file: string): string {
  const tail = readTail(file, 1);
  return tail === "" || tail === "\n" ? "" : "\n";
}

/** The end of a file; nothing when there is none. */
function readTail(file: string, maxBytes = tailBytes): string {
  let fd: number;
  try {
    fd = openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
    throw error;
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) return "";
    const buffer = Buffer.alloc(Math.min(stat.size, maxBytes));
    const count = readSync(fd, buffer, 0, buffer.length, stat.size - buffer.length);
    return buffer.toString("utf8", 0, count);
  } finally {
    closeSync(fd);
  }
}

const monthFile = /^(\d{4}-\d{2})\.jsonl$/;

/** @returns the events from a time on, oldest first; nothing where there is no history. Never rejects. */
async function readHistory(folder: string, sinceMs: number): Promise<HistoryEvent[]> {
  const since = new Date(Math.max(0, sinceMs)).toISOString();
  const names = await readdir(folder).catch(() => []);
  const months = names.filter((name) => (monthFile.exec(name)?.[1] ?? "") >= since.slice(0, 7)).sort();
  const events: HistoryEvent[] = [];
  for (const name of months.filter((name) => monthFile.test(name))) {
    const text = await readWhole(join(folder, name)).catch(() => "");
    for (const event of parseHistory(text)) if (event.at >= since) events.push(event);
  }
  return events;
}

async function readWhole(path: string): Promise<string> {
  await using file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  const stat = await file.stat();
  if (!stat.isFile()) return "";
  const { buffer, bytesRead } = await file.read(Buffer.alloc(Math.min(stat.size, maxStateBytes + tailBytes)));
  return buffer.toString("utf8", 0, bytesRead);
}

/** Removes the months that ended before a time, of all boards, also of those that are no longer configured. */
export async function pruneHistories(devicesFolder: string, beforeMs: number): Promise<void> {
  const before = new Date(Math.max(0, beforeMs)).toISOString().slice(0, 7);
  for (const device of await readdir(devicesFolder).catch(() => [])) {
    const folder = join(devicesFolder, device, "history");
    for (const name of await readdir(folder).catch(() => [])) {
      const month = monthFile.exec(name)?.[1];
      if (month !== undefined && month < before) await rm(join(folder, name), { force: true });
    }
  }
}
