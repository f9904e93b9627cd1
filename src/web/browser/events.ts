/**
 * Server-sent events that reconnect after every failure. A page in the background closes its connection after a while, because a browser
 * opens only six connections to a server.
 */

export interface Subscription {
  /** Called for each connection, because the offset to start from may have moved on. */
  url(): string;
  /** By event name. */
  readonly handlers: Readonly<Record<string, (event: MessageEvent<string>) => void>>;
  onConnection(connection: Connection): void;
}

/**
 * What a page knows of its agent. `silent`: nothing has come for a while, even if the connection looks open, as with an agent that
 * hangs or a network that is gone. `over`: what the page shows has ended, and is all there will be.
 */
export type Connection = "live" | "lost" | "silent" | "over";

/** Two heartbeats. */
const silenceMs = 20_000;

/** A browser doesn't retry by itself after some errors, such as an error response of a proxy. */
const retryDelayMs = 3000;
const hiddenTimeoutMs = 60_000;

/** Listens until the signal aborts. */
export function listen({ url, handlers, onConnection }: Subscription, signal: AbortSignal): void {
  let source: EventSource | undefined;
  let timer = 0;
  let silence = 0;
  const onSign = (): void => {
    clearTimeout(silence);
    silence = setTimeout(() => onConnection("silent"), silenceMs);
    onConnection("live");
  };
  const close = (): void => {
    clearTimeout(timer);
    clearTimeout(silence);
    source?.close();
    source = undefined;
  };
  const open = (): void => {
    clearTimeout(timer);
    if (source || signal.aborted) return;
    const opened = new EventSource(url());
    source = opened;
    opened.addEventListener("open", onSign);
    opened.addEventListener("alive", onSign);
    for (const [name, handle] of Object.entries(handlers)) {
      opened.addEventListener(name, (event) => {
        onSign();
        handle(event);
      });
    }
    opened.addEventListener("error", () => {
      onConnection("lost");
      if (opened.readyState !== EventSource.CLOSED || source !== opened) return;
      opened.close();
      source = undefined;
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

const words: Readonly<Record<Connection, string>> = {
  live: "live",
  lost: "connection lost, retrying",
  silent: `no sign of life for ${silenceMs / 1000} s`,
  over: "",
};

let shown: Connection | undefined;

/** In the header of the page. What may no longer be true is greyed out. */
export function showConnection(connection: Connection): void {
  const place = document.getElementById("live");
  // A lost connection is silent, too, and stays so until there is a sign of life.
  if (!place || connection === shown || (shown === "silent" && connection === "lost")) return;
  shown = connection;
  place.textContent = words[connection];
  place.classList.toggle("lost", connection === "lost" || connection === "silent");
  document.documentElement.classList.toggle("stale", connection === "silent");
}
