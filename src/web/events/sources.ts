/** The consoles of builds and devices as sources of events. */
import type { FileHandle } from "node:fs/promises";
import type { Build } from "#/builds/build.ts";
import { consoleSize, openConsole, openTimes, readMarks } from "#/builds/console/follow.ts";
import type { FoundBuild } from "#/builds/store.ts";
import { openTail } from "#/lib/text.ts";
import type { AgentView } from "../agent-view.ts";
import { deviceView, viewOfRecord } from "../api/views.ts";
import type { Piece } from "./frames.ts";
import type { Source } from "./stream.ts";

const maxHistoryPieceBytes = 64 * 1024;
const maxLivePieceBytes = 512 * 1024;
/** How far the stream may lag behind the build before all viewers miss something. */
const maxLagBytes = 32 * 1024 * 1024;
/** Bytes that arrive within this time become one piece, because boards send byte by byte. */
const gatherMs = 20;
const maxGatheredBytes = 64 * 1024;

/** The console of a running build. */
export class ConsoleSource implements Source {
  readonly name = "state";
  readonly pollIntervalMs = 250;
  readonly #agent: AgentView;
  readonly #found: FoundBuild;
  readonly #build: Build;

  constructor(agent: AgentView, found: FoundBuild, build: Build) {
    this.#agent = agent;
    this.#found = found;
    this.#build = build;
  }

  /** Without the parameters, which never change and may be large. */
  state(): unknown {
    const { parameters: _, ...view } = viewOfRecord(this.#agent, this.#build.record, this.#build);
    return view;
  }

  /** Without the console's size, because `output` events report its growth. */
  significant(): unknown {
    const { console: _, ...view } = viewOfRecord(this.#agent, this.#build.record, this.#build);
    return view;
  }

  async begin(signal: AbortSignal): Promise<number> {
    const gone = new Promise<undefined>((resolve) =>
      signal.addEventListener("abort", () => resolve(undefined), { once: true }),
    );
    if (!(await Promise.race([this.#build.opened, gone]))) return 0;
    const file = await openConsole(this.#found.folder);
    if (!file) return 0;
    await using _ = file;
    const size = await consoleSize(file, this.#build.console);
    const last = Buffer.alloc(3);
    const { bytesRead } = await file.read(last, 0, 3, Math.max(0, size - 3));
    return size - openTail(last.subarray(0, bytesRead));
  }

  history(from: number, to: number, signal: AbortSignal): AsyncGenerator<Piece> {
    return consoleHistory(this.#found, from, to, signal);
  }

  async *live(from: number, signal: AbortSignal): AsyncGenerator<Piece> {
    const build = this.#build;
    const live = build.console;
    const file = live && (await openConsole(this.#found.folder));
    if (live && file) {
      await using _ = file;
      const buffer = Buffer.allocUnsafe(maxLivePieceBytes);
      for (let at = from; !signal.aborted; ) {
        // Checked before the read, so that nothing written before the close is missed.
        const last = live.closed;
        if (live.size - at > maxLagBytes) at = await nextCharacter(file, live.size - maxLivePieceBytes);
        const bytes = await readAt(file, buffer, at);
        const whole = last ? bytes : bytes.subarray(0, bytes.length - openTail(bytes));
        if (whole.length > 0) yield { offset: at, at: Date.now(), bytes: whole };
        else if (last) break;
        else {
          const size = at + bytes.length;
          // The signal ends the loop.
          await live.changed.until(() => live.size > size || live.closed, signal).catch(() => {});
        }
        at += whole.length;
      }
    }
    await this.#ended(signal);
  }

  /** Resolves when the record is written, which happens after the console is closed. */
  #ended(signal: AbortSignal): Promise<void> {
    const { job, number } = this.#found;
    const isOver = this.#agent.builds.findRunning({ job, number }) !== this.#build;
    if (signal.aborted || isOver) return Promise.resolve();
    return new Promise((resolve) => {
      this.#build.once("ended", () => resolve());
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
  }
}

/** The console between two offsets, in pieces with the times they arrived at. */
export async function* consoleHistory(
  found: FoundBuild,
  from: number,
  to: number,
  signal: AbortSignal,
): AsyncGenerator<Piece> {
  await using opened = new AsyncDisposableStack();
  const file = await openConsole(found.folder);
  if (!file) return;
  opened.defer(() => file.close());
  const times = await openTimes(found.folder);
  if (times) opened.defer(() => times.close());
  const buffer = Buffer.allocUnsafe(maxHistoryPieceBytes);
  for (let at = from; at < to && !signal.aborted; ) {
    const bytes = await readAt(file, buffer.subarray(0, Math.min(buffer.length, to - at)), at);
    if (bytes.length === 0) return;
    const end = at + bytes.length - (at + bytes.length < to ? openTail(bytes) : 0);
    const marks = times ? await readMarks(times, at, end) : [];
    for (const [index, { at: time, offset }] of [{ offset: at, at: 0 }, ...marks].entries()) {
      const begin = Math.max(at, offset);
      const next = Math.max(at, marks[index]?.offset ?? end);
      if (next > begin) yield { offset: begin, at: time, bytes: bytes.subarray(begin - at, next - at) };
    }
    at = end;
  }
}

/** The first offset, from this one on, that is not in the middle of a character. */
async function nextCharacter(file: FileHandle, offset: number): Promise<number> {
  const bytes = await readAt(file, Buffer.alloc(4), offset);
  const first = bytes.findIndex((byte) => (byte & 0xc0) !== 0x80);
  return offset + Math.max(0, first);
}

async function readAt(file: FileHandle, buffer: Buffer, at: number): Promise<Buffer> {
  const { bytesRead } = await file.read(buffer, 0, buffer.length, at);
  return buffer.subarray(0, bytesRead);
}

/** The console of a device. */
export class DeviceSource implements Source {
  readonly name = "state";
  readonly pollIntervalMs = 1000;
  readonly #agent: AgentView;
  readonly #device: string;

  constructor(agent: AgentView, device: string) {
    this.#agent = agent;
    this.#device = device;
  }

  state(): unknown {
    // A reload may have removed the device.
    return this.#agent.feed(this.#device) ? deviceView(this.#agent, this.#device) : null;
  }

  async begin(): Promise<number> {
    return this.#agent.feed(this.#device)?.end ?? 0;
  }

  async *history(from: number, to: number, signal: AbortSignal): AsyncGenerator<Piece> {
    const feed = this.#agent.feed(this.#device);
    if (!feed || feed.start >= to) return;
    const done = new AbortController();
    const chunks = feed.follow(from, AbortSignal.any([signal, done.signal]));
    for await (const { offset, at, bytes } of chunks) {
      if (offset < to) yield { offset, at, bytes: bytes.subarray(0, to - offset) };
      if (offset + bytes.length >= to) break;
    }
    done.abort();
  }

  async *live(from: number, signal: AbortSignal): AsyncGenerator<Piece> {
    const feed = this.#agent.feed(this.#device);
    if (!feed) return;
    let waiting: { offset: number; at: number; parts: Uint8Array[]; size: number } | undefined;
    const taken = (): Piece | undefined => {
      if (!waiting) return undefined;
      const { offset, at, parts } = waiting;
      waiting = undefined;
      return { offset, at, bytes: Buffer.concat(parts) };
    };
    for await (const { offset, at, bytes } of feed.follow(from, signal)) {
      const fits =
        waiting &&
        waiting.offset + waiting.size === offset &&
        at - waiting.at < gatherMs &&
        waiting.size < maxGatheredBytes;
      if (!fits) {
        const piece = taken();
        if (piece) yield piece;
      }
      waiting ??= { offset, at, parts: [], size: 0 };
      waiting.parts.push(bytes);
      waiting.size += bytes.length;
      // More bytes are already there: take them first.
      if (offset + bytes.length < (this.#agent.feed(this.#device)?.end ?? 0)) continue;
      const piece = taken();
      if (piece) yield piece;
    }
  }
}
