/**
 * The gate's listener: HTTPS of its own, or HTTP on loopback behind a proxy. What slow, idle and greedy clients can use up is bounded; when
 * connections run out, the oldest of those that have shown nothing yet makes room.
 */
import { once } from "node:events";
import { readFileSync, unwatchFile, watchFile } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer, type Server as TlsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import type { WebSocket } from "ws";
import { type Address, formatAddress } from "#/lib/address.ts";
import { CodedError, reason } from "#/lib/errors.ts";
import type { Log } from "#/lib/log.ts";
import { addressBytes, type Subnet } from "#/lib/subnet.ts";
import { Refusal } from "./errors.ts";
import { type Exchange, sendJson } from "./exchange.ts";
import { WebSockets } from "./web-sockets.ts";

class ListenError extends CodedError<"LISTEN"> {
  override readonly name = "ListenError";
}

export interface ConnectionLimits {
  /** Without those that are trusted. */
  readonly maxStrangers: number;
  readonly maxConnections: number;
  /** Of a connection on which nothing happens; events have a heartbeat. */
  readonly idleTimeoutMs: number;
}

/** Half of the unit's LimitNOFILE. */
export const connectionLimits: ConnectionLimits = {
  ...{ maxStrangers: 4000, maxConnections: 8000, idleTimeoutMs: 60_000 },
};

const limits = {
  maxHeaderSize: 16 * 1024,
  // All in milliseconds. Bodies have limits of their own: see exchange.ts.
  headersTimeout: 10_000,
  requestTimeout: 0,
  connectionsCheckingInterval: 2000,
  keepAliveTimeout: 15_000,
} as const;
const maxHeaders = 100;
const maxRequestsPerSocket = 10_000;
const handshakeTimeoutMs = 10_000;
const certificateIntervalMs = 2000;
const closeTimeoutMs = 1000;

export interface ServerOptions {
  readonly listen: Address;
  readonly tls?: { readonly cert: string; readonly key: string };
  readonly proxies: () => readonly Subnet[];
  readonly handle: (exchange: Exchange) => Promise<void>;
  readonly limits: ConnectionLimits;
  readonly onRefusal: (exchange: Exchange, refusal: Refusal) => void;
  readonly log: Log;
}

export interface GateServer extends AsyncDisposable {
  /** With the real port. */
  readonly address: Address;
  readonly connections: number;
}

/** @throws ListenError, or the system's error for a certificate that can't be read */
export async function startServer(options: ServerOptions): Promise<GateServer> {
  const { listen, tls, log } = options;
  const { maxStrangers, maxConnections, idleTimeoutMs } = options.limits;
  // By the peer's address: with TLS, a request's socket isn't that of its connection.
  const strangers = new Map<string, Socket>();
  const sockets = new Set<Socket>();
  const webSockets = new WebSockets();
  const onRequest = (
    request: IncomingMessage,
    response: ServerResponse,
    upgrade?: (gone: AbortController) => Promise<WebSocket>,
  ) => void answer(request, response, options, () => strangers.delete(peerOf(request.socket)), upgrade);
  const server: Server | TlsServer = tls
    ? createTlsServer({
        ...{ ...limits, shouldUpgradeCallback: WebSockets.isAsked },
        ...readPair(tls),
        minVersion: "TLSv1.2",
        handshakeTimeout: handshakeTimeoutMs,
      })
    : createServer({ ...limits, shouldUpgradeCallback: WebSockets.isAsked });
  server.maxHeadersCount = maxHeaders;
  server.maxRequestsPerSocket = maxRequestsPerSocket;
  server.timeout = idleTimeoutMs;
  server.maxConnections = maxConnections;
  server.on("request", (request, response) => onRequest(request, response));
  server.on("upgrade", (request, socket, head) => {
    const response = WebSockets.responseTo(request, socket as Socket);
    onRequest(request, response, async (gone) => {
      // From here on the socket's end is the client's leaving.
      response.detachSocket(socket as Socket);
      const webSocket = await webSockets.accept(request, socket, head);
      return webSocket.on("close", () => gone.abort(new Error("the client has gone")));
    });
  });
  // The route that reads the body asks for it: see bodyOf().
  server.on("checkContinue", (request, response) => onRequest(request, response));
  // Anything else that is expected can't be met (RFC 9110, 10.1.1).
  server.on("checkExpectation", (_, response: ServerResponse) => void response.writeHead(417).end());
  server.on("connection", (socket: Socket) => {
    const peer = peerOf(socket);
    sockets.add(socket);
    strangers.set(peer, socket);
    socket
      .on("error", () => {})
      .on("close", () => {
        sockets.delete(socket);
        if (strangers.get(peer) === socket) strangers.delete(peer);
      });
    const [oldest] = strangers.values();
    if (strangers.size > maxStrangers) oldest?.destroy();
  });
  // Such as a client that breaks the handshake off.
  server.on("tlsClientError", (_, socket: Socket) => socket.destroy());
  await listenAt(server, listen);
  server.on("error", (error) => log.error({}, `the gate's listener failed: ${error.message}`));
  const watching = tls && watchPair(server as TlsServer, tls, log);
  return {
    address: { host: listen.host, port: (server.address() as AddressInfo).port },
    get connections() {
      return sockets.size;
    },
    async [Symbol.asyncDispose]() {
      watching?.[Symbol.dispose]();
      const closed = once(server, "close");
      server.close();
      await webSockets[Symbol.asyncDispose]();
      const timer = setTimeout(() => {
        webSockets.terminate();
        server.closeAllConnections();
      }, closeTimeoutMs);
      await closed;
      clearTimeout(timer);
    },
  };
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  options: ServerOptions,
  leaveStrangers: () => void,
  upgrade?: (gone: AbortController) => Promise<WebSocket>,
): Promise<void> {
  const gone = new AbortController();
  response.on("error", () => {});
  request.on("error", () => {});
  response.on("close", () => gone.abort(new Error("the client has gone")));
  for (const [name, value] of Object.entries(defaultHeaders)) response.setHeader(name, value);
  const url = URL.parse(request.url ?? "/", "http://gate");
  const exchange: Exchange = {
    ...{ request, response, gone: gone.signal },
    path: url?.pathname ?? "",
    query: url?.searchParams ?? new URLSearchParams(),
    from: addressOf(request, options.proxies()),
    trusted: leaveStrangers,
    ...(upgrade && { upgrade: () => upgrade(gone) }),
  };
  try {
    await options.handle(exchange);
  } catch (error) {
    if (!(error instanceof Refusal) && !gone.signal.aborted)
      options.log.error({ path: exchange.path }, `a request can't be answered: ${(error as Error).stack}`);
    const refusal =
      error instanceof Refusal
        ? error
        : new Refusal("unavailable", "the gate can't do it now", { why: reason(error) });
    if (!gone.signal.aborted) options.onRefusal(exchange, refusal);
    if (response.headersSent) response.destroy();
    else refuse(exchange, refusal);
  }
}

const defaultHeaders: Readonly<Record<string, string>> = {
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "strict-transport-security": "max-age=31536000",
  "cache-control": "no-store",
};

function refuse(exchange: Exchange, { status, code, message, facts }: Refusal): void {
  const { request, response } = exchange;
  // What is left of the body isn't read, so the connection can't be used again.
  if (!request.complete) response.setHeader("connection", "close");
  if (status === 401) response.setHeader("www-authenticate", 'Bearer realm="labgear"');
  if (status === 429 || status === 503) response.setHeader("retry-after", "5");
  sendJson(exchange, status, { error: code, message, ...facts });
}

/** The client's: of a proxy that is believed, the last one that it says. */
function addressOf({ socket, headers }: IncomingMessage, proxies: readonly Subnet[]): string {
  const peer = plain(socket.remoteAddress ?? "");
  if (!proxies.some((subnet) => contains(subnet, peer))) return peer;
  const last = headers["x-forwarded-for"]?.toString().split(",").at(-1)?.trim() ?? "";
  return /^[0-9a-fA-F.:]{2,45}$/.test(last) ? plain(last) : peer;
}

const peerOf = ({ remoteAddress, remotePort }: Socket): string => `${remoteAddress} ${remotePort}`;

const plain = (address: string): string => address.replace(/^::ffff:(?=\d+\.)/i, "");

function contains({ address, prefix }: Subnet, text: string): boolean {
  if (!/^[0-9a-fA-F.:]+$/.test(text)) return false;
  const bytes = addressBytes(text);
  if (bytes.length !== address.length) return false;
  return address.every((byte, index) => {
    const bits = Math.max(0, Math.min(8, prefix - 8 * index));
    const mask = (0xff << (8 - bits)) & 0xff;
    return (byte & mask) === ((bytes[index] ?? 0) & mask);
  });
}

function readPair({ cert, key }: { readonly cert: string; readonly key: string }) {
  return { cert: readFileSync(cert), key: readFileSync(key) };
}

/** Renewed certificates count at once; a broken pair leaves the old one in force. */
function watchPair(
  server: TlsServer,
  tls: { readonly cert: string; readonly key: string },
  log: Log,
): Disposable {
  const reload = () => {
    try {
      server.setSecureContext({ ...readPair(tls), minVersion: "TLSv1.2" });
      log.info({}, "the gate's certificate was read again");
    } catch (error) {
      log.error({}, `the gate's certificate can't be used, the old one stays: ${(error as Error).message}`);
    }
  };
  const files = [tls.cert, tls.key];
  for (const file of files) watchFile(file, { interval: certificateIntervalMs, persistent: false }, reload);
  return {
    [Symbol.dispose]() {
      for (const file of files) unwatchFile(file, reload);
    },
  };
}

/** @throws ListenError */
export async function listenAt(server: Server | TlsServer, listen: Address): Promise<void> {
  server.listen({ ...listen, backlog: 1024 });
  try {
    await once(server, "listening");
  } catch (cause) {
    throw new ListenError("LISTEN", `can't listen at ${formatAddress(listen)}: ${(cause as Error).message}`, {
      cause,
    });
  }
}
