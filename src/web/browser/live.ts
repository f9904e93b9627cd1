/** Follows a console and appends its live output to the lines: of a build, whose console is stored, or of a device. */
import { listen, showConnection } from "./events.ts";
import { type GetLines, type LineStore, pageSize } from "./line-store.ts";

export interface LiveConsole {
  /** The URL of the events. */
  readonly events: string;
  readonly store: LineStore;
  /** Called with live output. */
  onText?(text: string): void;
  /** Called after lines have been added. */
  onLines(): void;
  /** Called with the state of the build or device. */
  onState(state: unknown): void;
  onEnd(): void;
}

const retryDelayMs = 3000;

/**
 * Loads the last lines of a build's console.
 * @param isOpen the last line may still grow: it is left out and comes again as live output
 * @returns the offset to follow the build from
 */
export async function loadEnd(store: LineStore, getLines: GetLines, isOpen: boolean): Promise<number> {
  const { total, lines } = await getLines(-pageSize, pageSize);
  const whole = isOpen ? lines.slice(0, -1) : lines;
  const last = lines.at(-1);
  store.reset((total ?? (last ? last.n + 1 : 0)) - (lines.length - whole.length), whole);
  return last?.offset ?? 0;
}

/**
 * Follows a build to its end.
 * @param from the result of `loadEnd`
 */
export function followBuild(live: LiveConsole, getLines: GetLines, from: number): void {
  const stop = new AbortController();
  // Everything is stored, so after a gap the page starts again from the end of the console.
  const restart = async (): Promise<void> => {
    stop.abort();
    try {
      followBuild(live, getLines, await loadEnd(live.store, getLines, true));
      live.onLines();
    } catch {
      showConnection("lost");
      setTimeout(() => void restart(), retryDelayMs);
    }
  };
  follow(live, from, () => void restart(), stop.signal);
}

/** Follows a device for as long as the page is open. */
export function followDevice(live: LiveConsole, from: number): void {
  const onGap = (from: number, to: number): void => {
    live.store.append(`\n\u001b[7m ${to - from} bytes are missing here \u001b[27m\n`, to, undefined);
    live.onLines();
  };
  follow(live, from, onGap, new AbortController().signal);
}

/**
 * @param from the offset of the first byte wanted
 * @param onGap called for bytes that the page was too slow for, or that are gone
 */
function follow(
  live: LiveConsole,
  from: number,
  onGap: (from: number, to: number) => void,
  signal: AbortSignal,
): void {
  const { events, store, onLines, onState, onEnd } = live;
  const ended = new AbortController();
  const decode = newDecoder();
  let next = from;
  const handlers = {
    output: ({ data, lastEventId }: MessageEvent<string>) => {
      const { offset, at, ...rest } = JSON.parse(data);
      next = Number(lastEventId);
      const text = decode(rest);
      store.append(text, offset, at);
      live.onText?.(text);
      onLines();
    },
    gap: ({ data }: MessageEvent<string>) => {
      const gap = JSON.parse(data);
      next = gap.to;
      onGap(gap.from, gap.to);
    },
    state: ({ data }: MessageEvent<string>) => {
      const state = JSON.parse(data);
      onState(state);
      document.dispatchEvent(new CustomEvent("labgear-state", { detail: state ?? {} }));
    },
    end: () => {
      ended.abort();
      onEnd();
      showConnection("over");
      document.dispatchEvent(new CustomEvent("labgear-end"));
    },
  };
  const url = (): string => `${events}?from=${next}`;
  listen({ url, handlers, onConnection: showConnection }, AbortSignal.any([signal, ended.signal]));
}

/** @returns a function that decodes an event's text; bytes that are not UTF-8 may become so together with the next ones */
function newDecoder(): (data: { text?: string; base64?: string }) => string {
  const decoder = new TextDecoder();
  const encoder = new TextEncoder();
  /** The decoder may hold bytes of an incomplete character. */
  let isPending = false;
  return ({ text, base64 }) => {
    if (text !== undefined && !isPending) return text;
    isPending = base64 !== undefined;
    const bytes = base64 === undefined ? encoder.encode(text) : bytesOf(base64);
    return decoder.decode(bytes, { stream: isPending });
  };
}

function bytesOf(base64: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
}
