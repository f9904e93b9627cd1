/** The live bytes of a console as text. */
import { listen } from "./events.ts";

/** A piece of text; lines may begin and end anywhere in it. */
export interface Piece {
  /** Of its first byte. */
  readonly offset: number;
  /** Unix milliseconds. */
  readonly at: number;
  readonly text: string;
}

export interface FeedHandlers {
  onPiece(piece: Piece): void;
  /** Bytes that didn't come, since this page was too slow or they are gone. */
  onGap(from: number, to: number): void;
  /** The build or device has changed. */
  onState(state: unknown): void;
  onEnd(): void;
  /** Whether the line stands. */
  onLine(stands: boolean): void;
}

/**
 * Follows a console until its end or the signal.
 * @param from the offset of the first byte wanted
 */
export function follow(events: string, from: number, handlers: FeedHandlers, signal: AbortSignal): void {
  const ended = new AbortController();
  const decode = newDecoder();
  let next = from;
  const takes = {
    output: ({ data, lastEventId }: MessageEvent<string>) => {
      const { offset, at, ...rest } = JSON.parse(data);
      next = Number(lastEventId);
      handlers.onPiece({ offset, at, text: decode(rest) });
    },
    gap: ({ data }: MessageEvent<string>) => {
      const gap = JSON.parse(data);
      next = gap.to;
      handlers.onGap(gap.from, gap.to);
    },
    state: ({ data }: MessageEvent<string>) => handlers.onState(JSON.parse(data)),
    end: () => {
      ended.abort();
      handlers.onEnd();
    },
  };
  const url = (): string => `${events}?from=${next}`;
  listen({ url, takes, onLine: handlers.onLine }, AbortSignal.any([signal, ended.signal]));
}

/** @returns a function that gives a piece's text; bytes that aren't UTF-8 by themselves may be so with those of the next */
function newDecoder(): (data: { text?: string; base64?: string }) => string {
  const decoder = new TextDecoder();
  const encoder = new TextEncoder();
  /** Bytes of an unfinished character may wait in the decoder. */
  let waiting = false;
  return ({ text, base64 }) => {
    if (text !== undefined && !waiting) return text;
    waiting = base64 !== undefined;
    const bytes = base64 === undefined ? encoder.encode(text) : bytesOf(base64);
    return decoder.decode(bytes, { stream: waiting });
  };
}

function bytesOf(base64: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
}
