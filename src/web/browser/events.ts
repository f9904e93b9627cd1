/**
 * Server-sent events that come back after whatever cuts them off. A page that nobody has looked at for a while lets go of them,
 * since browsers keep only six connections to one place.
 */

export interface Listening {
  /** Asked for each connection: where it begins may have moved on. */
  url(): string;
  /** By the events' names. */
  readonly takes: Readonly<Record<string, (event: MessageEvent<string>) => void>>;
  /** Whether the line stands. */
  onLine(stands: boolean): void;
}

/** What a browser doesn't try again by itself, such as the answer of a proxy, is tried again after this, in milliseconds. */
const pause = 3000;
const patience = 60_000;

/** Listens until the signal. */
export function listen({ url, takes, onLine }: Listening, signal: AbortSignal): void {
  let source: EventSource | undefined;
  let timer = 0;
  const close = (): void => {
    clearTimeout(timer);
    source?.close();
    source = undefined;
  };
  const open = (): void => {
    clearTimeout(timer);
    if (source || signal.aborted) return;
    const made = new EventSource(url());
    source = made;
    for (const [name, take] of Object.entries(takes)) made.addEventListener(name, take);
    made.addEventListener("open", () => onLine(true));
    made.addEventListener("error", () => {
      onLine(false);
      if (made.readyState !== EventSource.CLOSED || source !== made) return;
      close();
      timer = setTimeout(open, pause);
    });
  };
  const onVisible = (): void => {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(close, patience);
    else open();
  };
  document.addEventListener("visibilitychange", onVisible, { signal });
  signal.addEventListener("abort", close);
  open();
}
