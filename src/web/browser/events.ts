/**
 * Server-sent events that reconnect after every failure. A page in the background closes its connection after a while, because a browser
 * opens only six connections to a server.
 */

export interface Subscription {
  /** Called for each connection, because the offset to start from may have moved on. */
  url(): string;
  /** By event name. */
  readonly handlers: Readonly<Record<string, (event: MessageEvent<string>) => void>>;
  onConnection(isConnected: boolean): void;
}

/** A browser doesn't retry by itself after some errors, such as an error response of a proxy. */
const retryDelayMs = 3000;
const hiddenTimeoutMs = 60_000;

/** Listens until the signal aborts. */
export function listen({ url, handlers, onConnection }: Subscription, signal: AbortSignal): void {
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
    const opened = new EventSource(url());
    source = opened;
    for (const [name, handle] of Object.entries(handlers)) opened.addEventListener(name, handle);
    opened.addEventListener("open", () => onConnection(true));
    opened.addEventListener("error", () => {
      onConnection(false);
      if (opened.readyState !== EventSource.CLOSED || source !== opened) return;
      close();
      timer = setTimeout(open, retryDelayMs);
    });
  };
  const onVisibilityChange = (): void => {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(close, hiddenTimeoutMs);
    else open();
  };
  document.addEventListener("visibilitychange", onVisibilityChange, { signal });
  signal.addEventListener("abort", close);
  open();
}

/** In the header of the page. */
export function showConnection(isConnected: boolean): void {
  const place = document.getElementById("live");
  const text = isConnected ? "live" : "connection lost, retrying";
  if (!place || place.textContent === text) return;
  place.textContent = text;
  place.classList.toggle("lost", !isConnected);
}
