/** The pages' HTTP server: it listens, and keeps whoever asks too slowly or too much from doing harm. */
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { getRequestListener } from "@hono/node-server";
import { LineIndexes } from "#/builds/console/line-index.ts";
import type { HttpAuth } from "#/config/model.ts";
import type { Log } from "#/lib/log.ts";
import { newApp } from "./app.ts";
import { challenge, mayLook } from "./auth.ts";
import { ListenError } from "./errors.ts";
import { Events } from "./events/events.ts";
import { setHeaders } from "./headers.ts";
import { isExpectedHost, isLoopback } from "./hosts.ts";
import type { Lab } from "./lab.ts";
import { Metrics } from "./metrics.ts";
import { Turns } from "./turns.ts";

export interface WebOptions {
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  /** Where users reach the pages, when that isn't where they listen. */
  readonly url?: string;
  /** Who may look; absent: everybody. */
  readonly auth?: HttpAuth;
  readonly log: Log;
}

export interface WebServer extends AsyncDisposable {
  /** Where it listens: the real port. */
  readonly address: { readonly host: string; readonly port: number };
}

/** Connections at once: a thousand viewers, and room for those who look for a moment. */
const mostConnections = 2500;
const limits = {
  maxHeaderSize: 16 * 1024,
  /** Milliseconds for a request's headers, and for all of it; how often that is looked at. */
  headersTimeout: 10_000,
  requestTimeout: 20_000,
  connectionsCheckingInterval: 2000,
  keepAliveTimeout: 10_000,
} as const;
/** How long a connection may be still, in milliseconds; events have a sign of life more often. */
const idleTime = 120_000;
/** Consoles that are searched at the same time; others wait, so that builds don't. */
const searchesAtOnce = 2;
/** How long viewers have to take the last of it at the end, in milliseconds. */
const farewell = 500;

/**
 * Serves the pages, the API and the metrics of a lab, read only.
 * @throws ListenError when the address can't be listened on
 */
export async function startWeb(lab: Lab, options: WebOptions): Promise<WebServer> {
  const { log, host, auth } = options;
  const fault = (error: Error, path: string) =>
    log.error({ path, err: error }, `a page can't be shown: ${error.message}`);
  const events = new Events(lab, fault);
  const metrics = new Metrics(lab, () => events.viewers);
  const app = newApp({
    ...{ lab, events, metrics, fault },
    indexes: new LineIndexes(),
    searches: new Turns(searchesAtOnce),
  });
  const listener = getRequestListener(app.fetch, { overrideGlobalObjects: false });
  const isKnownHost = isLoopback(host) && !auth ? isExpectedHost(options.url) : () => true;
  const server = createServer(limits, (request, answer) => {
    // Whoever goes away in the middle of an answer is no failure of ours.
    answer.on("error", () => {});
    setHeaders(answer);
    if (request.method !== "GET" && request.method !== "HEAD")
      return refuse(answer, 405, "this is read only");
    if (!isKnownHost(request.headers.host ?? ""))
      return refuse(answer, 421, "this name isn't known here: set http: url in the configuration");
    allow(request, answer, options).then(
      (allowed) => allowed && void listener(request, answer),
      (error: Error) => {
        log.error({}, `nobody can look at the pages: ${error.message}`);
        refuse(answer, 503, "the password or token can't be read; the agent's log tells more");
      },
    );
  });
  server.maxConnections = mostConnections;
  server.timeout = idleTime;
  try {
    await listen(server, options);
  } catch (error) {
    metrics[Symbol.dispose]();
    throw error;
  }
  const { port } = server.address() as AddressInfo;
  if (!auth && !isLoopback(host))
    log.warn({ host, port }, "everybody who reaches this box can look at its pages: http has no auth");
  return {
    address: { host, port },
    async [Symbol.asyncDispose]() {
      events[Symbol.dispose]();
      metrics[Symbol.dispose]();
      const closed = once(server, "close");
      server.close();
      const timer = setTimeout(() => server.closeAllConnections(), farewell);
      await closed;
      clearTimeout(timer);
    },
  };
}

/** True when the request may be answered; else it was told why not. */
async function allow(
  request: IncomingMessage,
  answer: ServerResponse,
  { auth }: WebOptions,
): Promise<boolean> {
  // Whoever watches over the agent needs no secret to see that it lives.
  const isOpen = /^\/(healthz|readyz)(\?|$)/.test(request.url ?? "");
  if (!auth || isOpen || (await mayLook(auth, request.headers.authorization))) return true;
  answer.setHeader("www-authenticate", challenge);
  refuse(answer, 401, "a password or token is needed");
  return false;
}

function refuse(answer: ServerResponse, status: number, text: string): void {
  if (status === 405) answer.setHeader("allow", "GET, HEAD");
  // What else the request brings isn't read.
  answer.writeHead(status, { "content-type": "text/plain; charset=utf-8", connection: "close" });
  answer.end(`${text}\n`);
}

async function listen(server: Server, { host, port }: WebOptions): Promise<void> {
  server.listen({ host, port, backlog: 1024 });
  try {
    await once(server, "listening");
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const why =
      code === "EADDRINUSE" ? "another program listens there; set http: listen to another port" : message;
    throw new ListenError(`the pages can't be served at ${host}:${port}: ${why}`, { cause });
  }
}
