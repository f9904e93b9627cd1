/** Brings what comes live into the lines: of a build, where all is kept and can be asked for, or of a device. */
import { showLine } from "./announce.ts";
import { type FeedHandlers, follow } from "./feed.ts";
import { type Line, type LineStore, pageSize } from "./line-store.ts";

export interface Live {
  /** The address of the events. */
  readonly events: string;
  readonly store: LineStore;
  /** Lines have come. */
  onLines(): void;
  onState(state: unknown): void;
  onEnd(): void;
}

/** Asks for lines by their number. */
export type GetLines = (
  from: number,
  count: number,
) => Promise<{ total: number | null; lines: readonly Line[] }>;

/** After a request that failed, in milliseconds. */
const pause = 3000;

/**
 * Takes the last lines of a build's console.
 * @param isOpen more of the last line may come: it is left out, to come again from its beginning
 * @returns the offset of what was left out
 */
export async function loadEnd(store: LineStore, getLines: GetLines, isOpen: boolean): Promise<number> {
  const { total, lines } = await getLines(-pageSize, pageSize);
  const whole = isOpen ? lines.slice(0, -1) : lines;
  const last = lines.at(-1);
  store.reset((total ?? (last ? last.n + 1 : 0)) - (lines.length - whole.length), whole);
  return last?.offset ?? 0;
}

/**
 * Follows a build from an offset to its end.
 * @param from what `loadEnd` gave
 */
export function followBuild(live: Live, getLines: GetLines, from: number): void {
  const stop = new AbortController();
  // All of it is kept: of a console that is too fast for this page, only the end is taken again.
  const again = async (): Promise<void> => {
    stop.abort();
    try {
      followBuild(live, getLines, await loadEnd(live.store, getLines, true));
      live.onLines();
    } catch {
      showLine(false);
      setTimeout(() => void again(), pause);
    }
  };
  follow(
    live.events,
    from,
    handlersOf(live, () => void again()),
    stop.signal,
  );
}

/** Follows a device for good. */
export function followDevice(live: Live, from: number): void {
  const onGap = (from: number, to: number): void => {
    live.store.append(`\n\u001b[7m ${to - from} bytes are missing here \u001b[27m\n`, to, undefined);
    live.onLines();
  };
  follow(live.events, from, handlersOf(live, onGap), new AbortController().signal);
}

function handlersOf({ store, onLines, onState, onEnd }: Live, onGap: FeedHandlers["onGap"]): FeedHandlers {
  return {
    onPiece: ({ text, offset, at }) => {
      store.append(text, offset, at);
      onLines();
    },
    onGap,
    onState: (state) => {
      onState(state);
      document.dispatchEvent(new CustomEvent("labgear-state", { detail: state ?? {} }));
    },
    onEnd: () => {
      onEnd();
      showLine(true);
      document.dispatchEvent(new CustomEvent("labgear-end"));
    },
    onLine: showLine,
  };
}
