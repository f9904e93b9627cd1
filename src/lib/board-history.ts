/** The events of a board's history, see devices/history.ts: their lines, and outages folded from them. */
import type { Outage } from "./status.ts";

/** The board's state changed, or another try to bring it back failed. */
export interface StateEvent {
  /** ISO 8601. */
  readonly at: string;
  /** `ready`: it takes builds again. */
  readonly state: Outage["state"];
  /** The rest is of an outage: since when, what was wrong last, failed tries so far, who paused it, builds that led to it. */
  readonly since?: string;
  readonly cause?: string;
  readonly reason?: string;
  readonly tries?: number;
  readonly who?: string;
  readonly builds?: readonly string[];
}

/** A build on the board ended. */
export interface BuildEvent {
  readonly at: string;
  /** JOB#NUMBER. */
  readonly build: string;
  /** The kind of its ending, and its cause in a word. */
  readonly ending: string;
  readonly cause: string;
  /** Characters received with errors while it ran. */
  readonly lineErrors?: number;
  /** How long the board took to start, in milliseconds; absent: it wasn't started, or didn't come up. */
  readonly bootMs?: number;
  /** It says nothing about the board: `needs: power`, which has to bring up boards that don't answer. */
  readonly uncounted?: true;
}

export type HistoryEvent = StateEvent | BuildEvent;

const maxLineChars = 4096;

/** Lines that are no events are skipped: half of one after a power failure, or of a later version. */
export function parseHistory(text: string): HistoryEvent[] {
  return text.split("\n").flatMap((line) => {
    if (line === "" || line.length > maxLineChars) return [];
    try {
      const event: unknown = JSON.parse(line);
      return isEvent(event) ? [event] : [];
    } catch {
      return [];
    }
  });
}

const isoTime = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/;
const states: ReadonlySet<unknown> = new Set<Outage["state"]>([
  ...(["absent", "opening", "proving", "ready", "busy", "recovering", "quarantined", "paused"] as const),
]);

function isEvent(value: unknown): value is HistoryEvent {
  if (typeof value !== "object" || value === null) return false;
  const event = value as Record<string, unknown>;
  const isText = (key: string) => typeof event[key] === "string";
  const isTextOrAbsent = (key: string) => event[key] === undefined || isText(key);
  const isCountOrAbsent = (key: string) =>
    event[key] === undefined || (Number.isSafeInteger(event[key]) && (event[key] as number) >= 0);
  if (!isText("at") || !isoTime.test(event.at as string)) return false;
  if (isText("build"))
    return isText("ending") && isText("cause") && ["lineErrors", "bootMs"].every(isCountOrAbsent);
  const { builds, since } = event;
  return (
    states.has(event.state) &&
    ["cause", "reason", "who", "since"].every(isTextOrAbsent) &&
    (since === undefined || isoTime.test(since as string)) &&
    isCountOrAbsent("tries") &&
    (builds === undefined || (Array.isArray(builds) && builds.every((name) => typeof name === "string")))
  );
}

/** A time in which the board took no builds, folded from its events. */
export interface PastOutage extends Outage {
  /** Absent: it lasts. */
  readonly until?: string;
  /** All causes, in the order of their first time. */
  readonly causes: readonly string[];
}

/** @returns the oldest first */
export function foldOutages(events: readonly HistoryEvent[]): PastOutage[] {
  const outages: PastOutage[] = [];
  for (const event of events) {
    if ("build" in event) continue;
    const { at, state, since, cause = state, reason = "", tries = 0, who, builds } = event;
    const last = outages.at(-1);
    if (since === undefined || state === "ready") {
      if (last && last.until === undefined) outages[outages.length - 1] = { ...last, until: at };
      continue;
    }
    const isSame = last?.since === since;
    const causes = [...new Set([...(isSame ? last.causes : []), cause])];
    const outage = {
      ...{ since, state, cause, reason, tries, causes },
      ...(who !== undefined && { who }),
      ...(builds && { builds }),
    };
    if (isSame) outages[outages.length - 1] = outage;
    else outages.push(outage);
  }
  return outages;
}

/** @returns such as "out of order since Sat 28 Nov, 14:02, 212 tries, last: login-refused, after smoke#3" */
export function describeOutage({ since, state, cause, tries, who, builds }: Outage): string {
  const begun = startOf(since);
  if (state === "paused")
    return `takes no builds since ${begun}${who === undefined ? "" : `, paused by ${who}`}`;
  return [
    `out of order since ${begun}`,
    ...(tries > 0 ? [tries === 1 ? "1 try" : `${tries} tries`] : []),
    `last: ${cause}`,
    ...(builds?.length ? [`after ${builds.join(" ")}`] : []),
  ].join(", ");
}

/** What brings a board back that takes no builds, as a sentence. */
export function whatEnds(name: string, { state, cause }: Outage): string {
  switch (state) {
    case "paused":
      return `\`labgear resume ${name}\` ends the pause`;
    case "quarantined":
      return `repair it, then \`labgear resume ${name}\`, or a passed build of its health job, ends the quarantine`;
    case "absent":
      return "connect it: the agent finds it by itself";
    case "opening":
      return "the agent goes on trying to open its port: see the reason";
    default:
      return `the agent tries again by itself until it passes its probe (${cause}); see \`labgear console ${name}\``;
  }
}

const format = new Intl.DateTimeFormat("en-GB", {
  ...{ weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" },
});

/** In this machine's time zone: "Sat, 28 Nov, 14:02". */
function startOf(iso: string): string {
  const at = Date.parse(iso);
  return Number.isNaN(at) ? "an unknown time" : format.format(at);
}
