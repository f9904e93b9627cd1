/**
 * The control socket: HTTP on a Unix socket, so that `curl --unix-socket` works too. Anyone who may write to the socket's file
 * controls the agent; there is no other check.
 */
import { once } from "node:events";
import { lstatSync, mkdirSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { connect } from "node:net";
import { dirname } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { Log } from "#/lib/log.ts";
import { ControlError, type ControlErrorCode } from "./errors.ts";

export interface ControlRequest {
  readonly query: URLSearchParams;
  /** The JSON object of the body; empty without one. */
  readonly body: Readonly<Record<string, unknown>>;
  /** The body as a stream, when it is application/octet-stream. */
  readonly bytes?: AsyncIterable<Buffer>;
  /** Aborts when the client has gone, or the server ends. */
  readonly signal: AbortSignal;
}

/** A value to be sent as JSON, or bytes to be sent as they come. */
export type ControlAnswer = { readonly json: unknown } | { readonly bytes: AsyncIterable<Uint8Array> };

/** @throws ControlError with one line for the client */
export type ControlHandler = (request: ControlRequest) => Promise<ControlAnswer>;

/** By `METHOD /path`. */
export type ControlRoutes = Readonly<Record<string, ControlHandler>>;

const octets = "application/octet-stream";
const maxBody = 64 * 1024;
const headersTimeoutMs = 60_000;
/** Answers under way may take this long when the server ends. */
const closeTimeoutMs = 500;
/** sockaddr_un has 108 bytes, the last one for the NUL (unix(7)). */
const maxPath = 107;

const statusByCode: Partial<Record<ControlErrorCode, number>> = {
  REFUSED: 400,
  NOT_FOUND: 404,
  TOO_LARGE: 413,
  CONFIGURATION: 422,
};

export class ControlServer implements AsyncDisposable {
  readonly #server: Server;
  readonly #ending = new AbortController();

  private constructor(routes: ControlRoutes) {
    const serve = (request: IncomingMessage, response: ServerResponse) =>
      void this.#serve(routes, request, response);
    // By default Node cuts off a request that takes over 5 minutes; a console is written to for hours.
    const options = { requestTimeout: 0, headersTimeout: headersTimeoutMs };
    this.#server = createServer(options, serve).on("checkContinue", serve);
  }

  /**
   * Listens on a socket that its owner and group may use.
   * @throws ControlError LISTEN
   */
  static async listen(file: string, routes: ControlRoutes, log: Pick<Log, "warn">): Promise<ControlServer> {
    const control = new ControlServer(routes);
    await listenOn(control.#server, file);
    control.#server.on("error", (error) => {
      log.warn({ err: error }, `the control socket can't accept a connection: ${error.message}`);
    });
    return control;
  }

  async #serve(routes: ControlRoutes, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const gone = new AbortController();
    response.once("close", () => gone.abort());
    try {
      const url = URL.parse(request.url ?? "/", "http://labgear");
      const route = `${request.method} ${url?.pathname}`;
      const handler = Object.hasOwn(routes, route) ? routes[route] : undefined;
      if (!url || !handler) throw new ControlError("NOT_FOUND", `the agent knows no ${route}`);
      const signal = AbortSignal.any([gone.signal, this.#ending.signal]);
      const content =
        request.headers["content-type"] === octets
          ? { body: {}, bytes: bytesOf(request, response) }
          : { body: await readBody(request) };
      const answer = await handler({ query: url.searchParams, ...content, signal });
      if ("json" in answer) {
        sendJson(response, 200, answer.json);
        return;
      }
      response.setHeader("content-type", octets);
      // A client that writes to a console waits for the header, and the first byte may be a long time coming.
      response.flushHeaders();
      await pipeline(Readable.from(answer.bytes, { objectMode: false }), response);
    } catch (thrown) {
      if (response.headersSent) {
        response.destroy();
        return;
      }
      const { message: error } = thrown as Error;
      const code = thrown instanceof ControlError ? thrown.code : "REFUSED";
      // The rest of the request stays unread, so the connection can't take another one.
      response.setHeader("connection", "close");
      sendJson(response, thrown instanceof ControlError ? (statusByCode[code] ?? 400) : 500, { error, code });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending.abort();
    const closed = once(this.#server, "close");
    this.#server.close();
    const timer = setTimeout(() => this.#server.closeAllConnections(), closeTimeoutMs);
    await closed;
    clearTimeout(timer);
  }
}

/**
 * Creates the socket's file with the right mode. It replaces the file of a dead agent, and nothing else; the file goes when the
 * server is closed.
 */
async function listenOn(server: Server, file: string): Promise<void> {
  const refuse = (reason: string, cause?: unknown) => {
    const text = `the control socket ${file} can't be created: ${reason}; choose another with --control`;
    return new ControlError("LISTEN", text, { cause });
  };
  if (Buffer.byteLength(file) > maxPath) throw refuse(`its path is longer than ${maxPath} bytes`);
  try {
    mkdirSync(dirname(file), { recursive: true });
    const found = lstatSync(file, { throwIfNoEntry: false });
    if (found && !found.isSocket()) throw refuse("another file is in its place");
    if (found && (await isDead(file))) rmSync(file);
    // A chmod afterwards would leave a moment in which others may connect.
    const umask = process.umask(0o117);
    try {
      server.listen(file);
    } finally {
      process.umask(umask);
    }
    await once(server, "listening");
  } catch (error) {
    if (error instanceof ControlError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    throw refuse(code === "EADDRINUSE" ? "another agent listens there" : message, error);
  }
}

/** True when no process listens on the socket; a killed agent leaves its file behind. */
async function isDead(file: string): Promise<boolean> {
  const socket = connect(file);
  try {
    await once(socket, "connect");
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ECONNREFUSED";
  } finally {
    socket.destroy();
  }
}

/**
 * Asks for the bytes only when a handler reads them (RFC 9110, 10.1.1): a client that sent them unasked would find the connection
 * closed behind a refusal, and never read it.
 */
async function* bytesOf(request: IncomingMessage, response: ServerResponse): AsyncGenerator<Buffer> {
  if (request.headers.expect) response.writeContinue();
  yield* request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
}

function sendJson(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(`${JSON.stringify(value)}\n`);
}

async function readBody(request: IncomingMessage): Promise<Record<string, unknown>> {
  const chunks: Buffer[] = [];
  let size = 0;
  // By default, leaving the iterator early would end the connection before the answer is sent.
  for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxBody) throw new ControlError("TOO_LARGE", `a request has ${maxBody} bytes at most`);
    chunks.push(chunk);
  }
  return size === 0 ? {} : parseObject(Buffer.concat(chunks).toString());
}

function parseObject(text: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // Refused below, like anything else that is no object.
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value))
    return value as Record<string, unknown>;
  throw new ControlError("REFUSED", "the request's body is no JSON object");
}
