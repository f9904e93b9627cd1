/** Typing in a closed loop: what is typed counts when its echo has come back, and the device's ways are remembered. */
import type { Dialogue } from "./dialogue.ts";
import type { Hearing } from "./hearing.ts";

/** What a device needs; it is learned while typing, and kept for the next conversation with the same device. */
export interface TypingProfile {
  /** Characters that are sent before their echo is waited for. */
  chunk: number;
  /** Milliseconds between two chunks, for boards that lose what comes too fast. */
  pause: number;
  /** Milliseconds that an echo takes, at most of late. */
  delay: number;
  /** Whether the board echoes; undefined: not known yet. */
  echo: boolean | undefined;
}

/** @internal */
export const largestChunk = 256;
const slowestPause = 20;
const slowestEcho = 400;
const maxAttempts = 12;
/** A chunk that came back spoilt gets no smaller than this at first: smaller ones help against loss, and cost a wait each. */
const minSpoiltChunk = 16;
const eraseLine = "\x15";

export function newTypingProfile(): TypingProfile {
  return { chunk: largestChunk, pause: 0, delay: slowestEcho, echo: undefined };
}

/**
 * How an echo is compared. Line editors wrap with spaces and line ends of their own, so spaces don't count; where the terminal
 * itself echoes, they do.
 */
export type EchoKind = "edited" | "exact";

/**
 * Types printable ASCII, without the line's end. A wrong or missing echo clears the line and starts again, in smaller chunks.
 * @param limit milliseconds in all
 * @returns false when the echo never was right; what is on the board's line then is unknown
 */
export function* typeText(
  text: string,
  hearing: Hearing,
  profile: TypingProfile,
  limit: number,
  kind: EchoKind = "edited",
): Dialogue<boolean> {
  if (profile.echo === false) {
    yield* typeBlind(text, hearing, profile);
    return true;
  }
  const until = hearing.now + limit;
  const before = { chunk: profile.chunk, pause: profile.pause, delay: profile.delay };
  let silent = 0;
  for (let attempt = 0; attempt < maxAttempts && hearing.now < until; attempt++) {
    const heard = hearing.heard;
    const echo = yield* typeOnce(text, hearing, profile, kind);
    if (echo === "right") {
      profile.echo = true;
      if (attempt === 0) faster(profile);
      return true;
    }
    silent = hearing.heard === heard ? silent + 1 : 0;
    // A terminal that echoed before and is silent now has lost its settings: typing on doesn't bring them back.
    if (silent >= (profile.echo ? 2 : 3)) {
      profile.echo ??= false;
      return false;
    }
    slower(profile, text.length, echo, attempt);
    yield* hearing.write(eraseLine);
    const left = yield* hearing.drain(Math.max(30, profile.delay), 1500);
    if (hearing.boot.size > 0 || (attempt > 1 && /login: *$/.test(left))) {
      // Nobody is there who could echo, which says nothing about the device.
      Object.assign(profile, before);
      return false;
    }
  }
  return false;
}

/**
 * Sends text that nothing echoes.
 * @param careful in chunks with pauses, when the device seemed to need them
 * @returns what came meanwhile
 */
export function* typeBlind(
  text: string,
  hearing: Hearing,
  profile: TypingProfile,
  careful = true,
): Dialogue<string> {
  if (profile.pause === 0 || !careful) {
    yield* hearing.write(text);
    return "";
  }
  let heard = "";
  for (let from = 0; from < text.length; from += profile.chunk) {
    yield* hearing.write(text.slice(from, from + profile.chunk));
    const until = hearing.now + profile.pause;
    while (hearing.now < until) heard += yield* hearing.read(until - hearing.now);
  }
  return heard;
}

/** Spoilt: as long as the echo, but something else. Short: characters are lacking. Missing: it didn't come to its end in time. */
type Echo = "right" | "spoilt" | "short" | "missing";

function* typeOnce(text: string, hearing: Hearing, profile: TypingProfile, kind: EchoKind): Dialogue<Echo> {
  for (let from = 0; from < text.length; from += profile.chunk) {
    const chunk = text.slice(from, from + profile.chunk);
    yield* hearing.write(chunk);
    const asked = hearing.now;
    const echo = yield* echoed(chunk, hearing, kind, profile.delay);
    if (echo !== "right") return echo;
    profile.delay = Math.max(hearing.now - asked, profile.delay * 0.6);
    if (profile.pause > 0) yield* hearing.drain(profile.pause, profile.pause);
  }
  return "right";
}

/** Whether the chunk comes back; `delay` is what an echo usually takes. */
function* echoed(chunk: string, hearing: Hearing, kind: EchoKind, delay: number): Dialogue<Echo> {
  const visible = (text: string) => text.replace(kind === "exact" ? /[^\x20-\x7e]/g : /[^\x21-\x7e]/g, "");
  const expected = visible(chunk);
  const patience = Math.max(100, 3 * delay);
  let got = "";
  let outcome: Echo = "missing";
  const until = hearing.now + 4 * patience;
  let lastByte = hearing.now;
  for (;;) {
    // Nothing more is due after the echo's last characters, unless they are somebody else's.
    const begun = outcome === "missing" ? Math.max(60, 2 * delay) : Math.max(30, delay);
    const silence = got === "" ? patience : begun;
    const left = Math.min(until, lastByte + silence) - hearing.now;
    if (left <= 0) return outcome;
    const before = hearing.lastByte;
    got = (got + visible(yield* hearing.read(left))).slice(-2 * largestChunk);
    if (got.endsWith(expected)) return "right";
    if (got.length >= expected.length) outcome = "spoilt";
    else if (got.length > 4 && (got.length > expected.length - 3 || got.endsWith(expected.slice(-4)))) {
      outcome = "short";
    }
    if (hearing.lastByte !== before) lastByte = hearing.lastByte;
  }
}

/** Half the chunk; more patience when the echo was late; a pause when a small chunk loses characters. */
function slower(profile: TypingProfile, length: number, echo: Echo, attempt: number): void {
  const least = echo === "spoilt" && attempt < 4 ? Math.min(profile.chunk, minSpoiltChunk) : 1;
  profile.chunk = Math.max(least, Math.floor(Math.min(profile.chunk, length) / 2));
  if (echo === "missing") profile.delay = Math.min(slowestEcho, profile.delay * 1.5 + 5);
  if (echo !== "spoilt" && profile.chunk <= 4) profile.pause = Math.min(slowestPause, profile.pause * 2 || 2);
}

/** A line that went well at once lets the next one try a little more; the pause goes last. */
function faster(profile: TypingProfile): void {
  profile.chunk = Math.min(largestChunk, Math.ceil(profile.chunk * 1.25));
  if (profile.chunk > 32) profile.pause = Math.floor(profile.pause / 2);
}
