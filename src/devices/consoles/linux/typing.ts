/** Types in a closed loop: text counts as typed once its echo is right, and what a device needs for that is remembered. */
import type { Dialogue } from "../dialogue.ts";
import type { LinuxBoard } from "./board.ts";
import { asksLogin } from "./prompts.ts";

/** What a device needs. It is learned while typing, and kept for the next dialogue with the same device. */
export interface TypingProfile {
  /** How much is sent before the echo is checked. */
  chunkLength: number;
  /** Between two chunks, for boards that lose fast input. */
  pauseMs: number;
  /** How long an echo has taken lately, at most. */
  echoMs: number;
  /** Whether the board echoes; undefined until known. */
  echoes: boolean | undefined;
}

/** @internal */
export const maxChunkLength = 256;
const maxPauseMs = 20;
const maxEchoMs = 400;
const maxAttempts = 12;
/** A damaged chunk gets no smaller than this at first. Smaller chunks help against loss, but each costs a wait. */
const minDamagedChunkLength = 16;
const eraseLine = "\x15";

export function newTypingProfile(): TypingProfile {
  return { chunkLength: maxChunkLength, pauseMs: 0, echoMs: maxEchoMs, echoes: undefined };
}

/** How to compare an echo. Line editors wrap long lines with spaces and line ends; the terminal itself echoes exactly. */
export type EchoKind = "edited" | "exact";

/**
 * Types printable ASCII, without a line end. When the echo is wrong or missing, it clears the line and starts again with smaller
 * chunks.
 * @returns false when the echo was never right; the board's line is unknown then
 */
export function* typeText(
  text: string,
  board: LinuxBoard,
  profile: TypingProfile,
  timeoutMs: number,
  kind: EchoKind = "edited",
): Dialogue<boolean> {
  if (profile.echoes === false) {
    yield* typeBlind(text, board, profile);
    return true;
  }
  const end = board.now + timeoutMs;
  const { chunkLength, pauseMs, echoMs } = profile;
  let silences = 0;
  for (let attempt = 0; attempt < maxAttempts && board.now < end; attempt++) {
    const { received } = board;
    const echo = yield* typeOnce(text, board, profile, kind);
    if (echo === "right") {
      profile.echoes = true;
      if (attempt === 0) speedUp(profile);
      return true;
    }
    silences = board.received === received ? silences + 1 : 0;
    // A terminal that echoed before and is silent now has lost its settings. More typing doesn't restore them.
    if (silences >= (profile.echoes ? 2 : 3)) {
      profile.echoes ??= false;
      return false;
    }
    slowDown(profile, text.length, echo, attempt);
    yield* board.send(eraseLine);
    const left = yield* board.drain(Math.max(30, profile.echoMs), 1500);
    if (board.boot.lines.size > 0 || (attempt > 1 && asksLogin(left))) {
      // Without a shell there is no echo, which says nothing about the device.
      Object.assign(profile, { chunkLength, pauseMs, echoMs });
      return false;
    }
  }
  return false;
}

/**
 * Sends text without checking an echo.
 * @param careful whether to keep to the chunks and pauses that the device needs
 * @returns what came meanwhile
 */
export function* typeBlind(
  text: string,
  board: LinuxBoard,
  profile: TypingProfile,
  careful = true,
): Dialogue<string> {
  if (profile.pauseMs === 0 || !careful) {
    yield* board.send(text);
    return "";
  }
  let came = "";
  for (let from = 0; from < text.length; from += profile.chunkLength) {
    yield* board.send(text.slice(from, from + profile.chunkLength));
    const end = board.now + profile.pauseMs;
    while (board.now < end) came += yield* board.next(end - board.now);
  }
  return came;
}

/** `damaged`: as long as the text, but different. `short`: some characters are missing. `missing`: it didn't end in time. */
type Echo = "right" | "damaged" | "short" | "missing";

function* typeOnce(text: string, board: LinuxBoard, profile: TypingProfile, kind: EchoKind): Dialogue<Echo> {
  for (let from = 0; from < text.length; from += profile.chunkLength) {
    const chunk = text.slice(from, from + profile.chunkLength);
    yield* board.send(chunk);
    const start = board.now;
    const echo = yield* readEcho(chunk, board, kind, profile.echoMs);
    if (echo !== "right") return echo;
    profile.echoMs = Math.max(board.now - start, profile.echoMs * 0.6);
    if (profile.pauseMs > 0) yield* board.drain(profile.pauseMs, profile.pauseMs);
  }
  return "right";
}

/** @param echoMs how long an echo usually takes */
function* readEcho(chunk: string, board: LinuxBoard, kind: EchoKind, echoMs: number): Dialogue<Echo> {
  const visible = (text: string) => text.replace(kind === "exact" ? /[^\x20-\x7e]/g : /[^\x21-\x7e]/g, "");
  const expected = visible(chunk);
  const timeoutMs = Math.max(100, 3 * echoMs);
  const end = board.now + 4 * timeoutMs;
  let got = "";
  let echo: Echo = "missing";
  let lastByte = board.now;
  for (;;) {
    // Nothing follows the last characters of an echo, except other programs' output.
    const restMs = echo === "missing" ? Math.max(60, 2 * echoMs) : Math.max(30, echoMs);
    const left = Math.min(end, lastByte + (got === "" ? timeoutMs : restMs)) - board.now;
    if (left <= 0) return echo;
    const before = board.received;
    got = (got + visible(yield* board.next(left))).slice(-2 * maxChunkLength);
    if (got.endsWith(expected)) return "right";
    if (got.length >= expected.length) echo = "damaged";
    else if (got.length > 4 && (got.length > expected.length - 3 || got.endsWith(expected.slice(-4))))
      echo = "short";
    if (board.received !== before) lastByte = board.now;
  }
}

/** Halves the chunks, waits longer after a late echo, and pauses when small chunks lose characters. */
function slowDown(profile: TypingProfile, length: number, echo: Echo, attempt: number): void {
  const least = echo === "damaged" && attempt < 4 ? Math.min(profile.chunkLength, minDamagedChunkLength) : 1;
  profile.chunkLength = Math.max(least, Math.floor(Math.min(profile.chunkLength, length) / 2));
  if (echo === "missing") profile.echoMs = Math.min(maxEchoMs, profile.echoMs * 1.5 + 5);
  if (echo !== "damaged" && profile.chunkLength <= 4)
    profile.pauseMs = Math.min(maxPauseMs, profile.pauseMs * 2 || 2);
}

/** After a line that was right at once: larger chunks first, and shorter pauses once those work. */
function speedUp(profile: TypingProfile): void {
  profile.chunkLength = Math.min(maxChunkLength, Math.ceil(profile.chunkLength * 1.25));
  if (profile.chunkLength > 32) profile.pauseMs = Math.floor(profile.pauseMs / 2);
}
