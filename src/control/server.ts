/**
 * The control socket: HTTP on a Unix socket, so that `curl --unix-socket` can speak to it too. Who may write to the socket's
 * file may control the agent; nothing else is asked.
 */
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { ControlError, type ControlErrorCode } from "./errors.ts";
import { listenOn } from "./socket.ts";

/** What a request asked for. */
export interface ControlRequest {
  readonly query: URLSearchParams;
  /** The JSON object that came with it; empty for none. */
  readonly body: Readonly<Record<string, unknown>>;
  /** What came in place of a JSON object: bytes (application/octet-stream), as they come. */
  readonly bytes?: AsyncIterable<Buffer>;
  /** Aborted when the asker has gone. */
  readonly signal: AbortSignal;
}

/** What a handler gives back: a value to be sent as JSON, or bytes to be sent as they come. */
export type ControlAnswer = { readonly json: unknown } | { readonly bytes: AsyncIterable<Uint8Array> };

/** @throws ControlError with a line for the asker */
export type ControlHandler = (request: ControlRequest) => Promise<ControlAnswer>;

/** One for each `METHOD /path`. */
export type ControlRoutes = Readonly<Record<string, ControlHandler>>;

const octets = "application/octet-stream";
const maxBody = 64 * 1024;
/** How long answers under way may take once the server is to end, in milliseconds. */
const lingering = 500;

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
    this.#server = createServer(serve).on("checkContinue", serve);
  }

  /**
   * Listens on a socket that its owner and group may use.
   * @throws ControlError LISTEN
   */
  static async listen(file: string, routes: ControlRoutes): Promise<ControlServer> {
    const control = new ControlServer(routes);
    await listenOn(control.#server, file);
    return control;
  }

  async #serve(routes: ControlRoutes, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const gone = new AbortController();
    response.once("close", () => gone.abort());
    try {
      const url = URL.parse(request.url ?? "/", "http://labgear");
      const asked = `${request.method} ${url?.pathname}`;
      const handler = Object.hasOwn(routes, asked) ? routes[asked] : undefined;
      if (!url || !handler) throw new ControlError("NOT_FOUND", `the agent knows no ${asked}`);
      const signal = AbortSignal.any([gone.signal, this.#ending.signal]);
      const given = isBytes(request)
        ? { body: {}, bytes: bytesOf(request, response) }
        : { body: await readBody(request) };
      const answer = await handler({ query: url.searchParams, ...given, signal });
      if ("json" in answer) {
        sendJson(response, 200, answer.json);
        return;
      }
      response.setHeader("content-type", octets);
      // Whoever writes to a console waits for the answer's beginning, and it may be long until the first byte.
      response.flushHeaders();
      await pipeline(Readable.from(answer.bytes, { objectMode: false }), response);
    } catch (thrown) {
      if (response.headersSent) {
        response.destroy();
        return;
      }
      const { message: error } = thrown as Error;
      const code = thrown instanceof ControlError ? thrown.code : "REFUSED";
      // What is left of the request isn't read, so the connection can't serve another one.
      response.setHeader("connection", "close");
      sendJson(response, thrown instanceof ControlError ? (statusByCode[code] ?? 400) : 500, { error, code });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending.abort();
    const closed = once(this.#server, "close");
    this.#server.close();
    const timer = setTimeout(() => this.#server.closeAllConnections(), lingering);
    await closed;
    clearTimeout(timer);
  }
}

function isBytes({ headers }: IncomingMessage): boolean {
  return headers["content-type"] === octets;
}

/**
 * Asks for the bytes only when somebody wants them (RFC 9110, 10.1.1): whoever sent them unasked would find the connection closed
 * behind a refusal, and never read it.
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
  // Left early, the iterator would end the connection, and the answer with it.
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
    // Said below, with everything else that is no object.
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value))
    return value as Record<string, unknown>;
  throw new ControlError("REFUSED", "what came with the request is no JSON object");
}
