/** The live bytes of a console as text: server-sent events, resumed by the browser after a cut. */

/** A piece of text; lines may begin and end anywhere in it. */
export interface Piece {
  /** Of its first byte. */
  readonly offset: number;
  /** Unix milliseconds; absent: not known. */
  readonly at?: number;
  readonly text: string;
}

export interface FeedHandlers {
  onPiece(piece: Piece): void;
  /** Bytes that didn't come, since this page was too slow. */
  onGap(from: number, to: number): void;
  /** The build or device has changed. */
  onState(state: unknown): void;
  onEnd(): void;
  /** Whether the line stands. */
  onLine(stands: boolean): void;
}

/** Follows until the signal. */
export function follow(url: string, handlers: FeedHandlers, signal: AbortSignal): void {
  const source = new EventSource(url);
  const decoder = new TextDecoder();
  const encoder = new TextEncoder();
  /** Bytes of an unfinished character may wait in the decoder. */
  let waiting = false;
  const decode = (data: { text?: string; base64?: string }): string => {
    if (data.text !== undefined && !waiting) return data.text;
    waiting = data.base64 !== undefined;
    const bytes = waiting ? bytesOf(data.base64 ?? "") : encoder.encode(data.text);
    return decoder.decode(bytes, { stream: waiting });
  };
  source.addEventListener("output", ({ data }) => {
    const { offset, at, ...rest } = JSON.parse(data);
    handlers.onPiece({ offset, at, text: decode(rest) });
  });
  source.addEventListener("gap", ({ data }) => {
    const { from, to } = JSON.parse(data);
    waiting = false;
    decoder.decode();
    handlers.onGap(from, to);
  });
  source.addEventListener("state", ({ data }) => handlers.onState(JSON.parse(data)));
  source.addEventListener("end", () => {
    source.close();
    handlers.onEnd();
  });
  source.addEventListener("open", () => handlers.onLine(true));
  source.addEventListener("error", () => handlers.onLine(false));
  signal.addEventListener("abort", () => source.close());
}

function bytesOf(base64: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
}
