/** The HTTP server of the pages: listens, checks who asks, limits what slow or greedy clients can use up, and routes requests. */
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { getRequestListener } from "@hono/node-server";
import { Hono } from "hono";
import { compress } from "hono/compress";
import { LineIndexes } from "#/builds/console/line-index.ts";
import type { HttpAuth } from "#/config/model.ts";
import { isLoopback } from "#/lib/address.ts";
import { CodedError } from "#/lib/errors.ts";
import type { Log } from "#/lib/log.ts";
import { challenge, isAuthorized, newHostCheck } from "./access.ts";
import { type AgentView, isConnected } from "./agent-view.ts";
import { apiRoutes } from "./api/routes.ts";
import { Events } from "./events/events.ts";
import { fileRoutes } from "./files.ts";
import { Metrics } from "./metrics.ts";
import { pageRoutes, showError } from "./pages/routes.ts";
import { type Env, RequestError } from "./request.ts";
import { alreadySent } from "./send-file.ts";

export interface WebOptions {
  readonly host: string;
  /** 0 for any free port. */
  readonly port: number;
  /** Where users reach the pages, if that isn't where the server listens. */
  readonly url?: string;
  /** Absent if the pages are open to everyone. */
  readonly auth?: HttpAuth;
  /** Whether a connection is refused before anything of it is read; absent: none is. */
  readonly refuses?: (socket: Socket) => boolean;
  readonly log: Log;
}

export interface WebServer extends AsyncDisposable {
  /** Where it listens, with the real port. */
  readonly address: { readonly host: string; readonly port: number };
}

/** The server can't listen on its address. */
class ListenError extends CodedError<"LISTEN"> {
  override readonly name = "ListenError";
}

/** A thousand viewers, and room for ordinary requests. */
const maxConnections = 2500;
const limits = {
  maxHeaderSize: 16 * 1024,
  // All in milliseconds.
  headersTimeout: 10_000,
  requestTimeout: 20_000,
  connectionsCheckingInterval: 2000,
  keepAliveTimeout: 10_000,
} as const;
/** Longer than the heartbeat of events. */
const idleTimeoutMs = 120_000;
/** How long viewers have to read the rest when the server closes. */
const closeTimeoutMs = 500;
const refusal =
  "HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-type: text/plain\r\n\r\nbuilds may not use these pages\n";

/** The defaults of every answer: pages load nothing from other sites and nothing inline, and other sites can't embed them. */
const defaultHeaders: Readonly<Record<string, string>> = {
  "content-security-policy": [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
  ].join("; "),
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
  "referrer-policy": "same-origin",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  // Answers change all the time; assets, which don't, set their own.
  "cache-control": "no-cache",
};

/**
 * Serves the pages, the API and the metrics of an agent, read only.
 * @throws ListenError
 */
export async function startWeb(agent: AgentView, options: WebOptions): Promise<WebServer> {
  const { log, host, auth } = options;
  const onFault = (error: Error, path: string) =>
    log.error({ path, err: error }, `can't show ${path}: ${error.message}`);
  const events = new Events(agent, onFault);
  const metrics = new Metrics(agent, () => events.viewers);
  const app = newApp(agent, events, metrics, onFault);
  const listener = getRequestListener(app.fetch, { overrideGlobalObjects: false });
  const isKnownHost = isLoopback(host) && !auth ? newHostCheck(options.url) : () => true;
  const server = createServer(limits, (request, response) => {
    // A client that disconnects halfway is not an error.
    response.on("error", () => {});
    for (const [name, value] of Object.entries(defaultHeaders)) response.setHeader(name, value);
    if (request.method !== "GET" && request.method !== "HEAD")
      return refuse(response, 405, "these pages are read only");
    if (!isKnownHost(request.headers.host ?? ""))
      return refuse(response, 421, "unknown host name; set http: url in the configuration");
    allow(request, response, options).then(
      (allowed) => allowed && void listener(request, response),
      (error: Error) => {
        log.error({}, `can't read the password or token of the pages: ${error.message}`);
        refuse(response, 503, "the agent can't read its password or token; see its log");
      },
    );
  });
  server.on("connection", (socket: Socket) => {
    if (!options.refuses?.(socket)) return;
    // Not when it asks: a client that asks nothing would hold the connection until then.
    socket.write(refusal);
    socket.destroySoon();
  });
  server.maxConnections = maxConnections;
  server.timeout = idleTimeoutMs;
  try {
    await listen(server, options);
  } catch (error) {
    metrics[Symbol.dispose]();
    throw error;
  }
  // Such as accept(2) out of memory. Without a listener it would end the agent and all its builds.
  server.on("error", (error) => log.error({ host, err: error }, `the web server failed: ${error.message}`));
  const { port } = server.address() as AddressInfo;
  if (!auth && !isLoopback(host))
    log.warn({ host, port }, "anyone who can reach this box can see its pages: http has no auth");
  return {
    address: { host, port },
    async [Symbol.asyncDispose]() {
      events[Symbol.dispose]();
      metrics[Symbol.dispose]();
      const closed = once(server, "close");
      server.close();
      const timer = setTimeout(() => server.closeAllConnections(), closeTimeoutMs);
      await closed;
      clearTimeout(timer);
    },
  };
}

function newApp(
  agent: AgentView,
  events: Events,
  metrics: Metrics,
  onFault: (error: Error, path: string) => void,
): Hono<Env> {
  const app = new Hono<Env>();
  // Files and events are written straight to the socket, and go as they are.
  app.use(compress());
  app.get("/healthz", (c) => c.text("ok\n"));
  app.get("/readyz", (c) => {
    const ready = agent.status().servers.some(isConnected);
    return ready ? c.text("ok\n") : c.text("no job server has registered all connections\n", 503);
  });
  app.get("/metrics", async (c) => c.body(await metrics.text(), 200, { "content-type": metrics.type }));
  app.route("/", fileRoutes(agent));
  app.route("/", events.routes);
  const indexes = new LineIndexes();
  app.route("/api", apiRoutes(agent, indexes, onFault));
  app.route("/", pageRoutes(agent, indexes));
  app.notFound((c) => {
    // Without a host, since a proxy may serve these pages by another name; two slashes would be one.
    const { pathname, search } = new URL(c.req.url);
    const trimmed = pathname.replace(/^\/+/, "/").replace(/(?<=.)\/+$/, "");
    if (pathname.length > 1 && pathname.endsWith("/")) return c.redirect(`${trimmed}${search}`, 301);
    return showError(c, agent, 404, "there is nothing at this address");
  });
  app.onError((error, c) => {
    if (c.env.outgoing.headersSent) {
      onFault(error, c.req.path);
      c.env.outgoing.destroy();
      return alreadySent();
    }
    if (error instanceof RequestError) return showError(c, agent, error.status, error.message);
    onFault(error, c.req.path);
    return showError(c, agent, 500, "internal error; see the agent's log");
  });
  return app;
}

/** @returns true if the request may be answered; otherwise it has been refused */
async function allow(
  request: IncomingMessage,
  response: ServerResponse,
  { auth }: WebOptions,
): Promise<boolean> {
  // Health checks need no secret.
  const isOpen = /^\/(healthz|readyz)(\?|$)/.test(request.url ?? "");
  if (!auth || isOpen || (await isAuthorized(auth, request.headers.authorization))) return true;
  response.setHeader("www-authenticate", challenge);
  refuse(response, 401, "password or token required");
  return false;
}

function refuse(response: ServerResponse, status: number, text: string): void {
  if (status === 405) response.setHeader("allow", "GET, HEAD");
  // The body of the request is not read, so the connection can't be reused.
  response.writeHead(status, { "content-type": "text/plain; charset=utf-8", connection: "close" });
  response.end(`${text}\n`);
}

async function listen(server: Server, { host, port }: WebOptions): Promise<void> {
  server.listen({ host, port, backlog: 1024 });
  try {
    await once(server, "listening");
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const why =
      code === "EADDRINUSE"
        ? "another program is listening there; set http: listen to another port"
        : message;
    throw new ListenError("LISTEN", `can't serve the pages at ${host}:${port}: ${why}`, { cause });
  }
}
