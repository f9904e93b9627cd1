/**
 * The control socket: HTTP on a Unix socket, so that `curl --unix-socket` can speak to it too. Who may write to the socket's
 * file may control the agent; nothing else is asked.
 */
import { once } from "node:events";
import { existsSync, mkdirSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { connect } from "node:net";
import { dirname } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { ControlError } from "./errors.ts";

/** What a request asked for. */
export interface ControlRequest {
  readonly path: string;
  readonly query: URLSearchParams;
  /** The JSON object that came with it; empty for none. */
  readonly body: Readonly<Record<string, unknown>>;
  /** Aborted when the asker has gone. */
  readonly signal: AbortSignal;
}

/** What a handler gives back: a value to be sent as JSON, or bytes to be sent as they come. */
export type ControlAnswer = { readonly json: unknown } | { readonly bytes: AsyncIterable<Uint8Array> };

/** @throws ControlError REFUSED with a line for the asker */
export type ControlHandler = (request: ControlRequest) => Promise<ControlAnswer>;

/** One for each `METHOD /path`. */
export type ControlRoutes = Readonly<Record<string, ControlHandler>>;

const maxBody = 64 * 1024;

export class ControlServer implements AsyncDisposable {
  readonly file: string;
  readonly #server: Server;
  readonly #ending = new AbortController();

  private constructor(file: string, routes: ControlRoutes) {
    this.file = file;
    this.#server = createServer((request, response) => {
      void this.#serve(routes, request, response);
    });
  }

  /**
   * Listens on a socket that its owner and group may use.
   * @throws ControlError LISTEN
   */
  static async listen(file: string, routes: ControlRoutes): Promise<ControlServer> {
    const control = new ControlServer(file, routes);
    try {
      mkdirSync(dirname(file), { recursive: true });
      if (existsSync(file) && !(await answers(file))) rmSync(file);
      // The mode has to be right from the first moment on, not after a chmod.
      const umask = process.umask(0o117);
      try {
        control.#server.listen(file);
      } finally {
        process.umask(umask);
      }
      await once(control.#server, "listening");
    } catch (cause) {
      const taken = (cause as NodeJS.ErrnoException).code === "EADDRINUSE";
      const hint = taken ? "another agent listens there" : (cause as Error).message;
      throw new ControlError("LISTEN", `the control socket ${file} can't be made: ${hint}; choose one with --control`, {
        cause,
      });
    }
    return control;
  }

  async #serve(routes: ControlRoutes, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const gone = new AbortController();
    response.once("close", () => gone.abort());
    try {
      const url = new URL(request.url ?? "/", "http://labgear");
      const handler = routes[`${request.method} ${url.pathname}`];
      if (!handler) throw new ControlError("REFUSED", `the agent knows no ${request.method} ${url.pathname}`);
      const signal = AbortSignal.any([gone.signal, this.#ending.signal]);
      const body = await readBody(request);
      const answer = await handler({ path: url.pathname, query: url.searchParams, body, signal });
      if ("json" in answer) {
        response.setHeader("content-type", "application/json");
        response.end(`${JSON.stringify(answer.json)}\n`);
      } else {
        response.setHeader("content-type", "application/octet-stream");
        await pipeline(Readable.from(answer.bytes, { objectMode: false }), response);
      }
    } catch (error) {
      if (response.headersSent) response.destroy();
      else {
        response.statusCode = 400;
        response.end(`${JSON.stringify({ error: (error as Error).message })}\n`);
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending.abort();
    const closed = once(this.#server, "close");
    this.#server.close();
    this.#server.closeIdleConnections();
    await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, 500).unref())]);
    this.#server.closeAllConnections();
    rmSync(this.file, { force: true });
  }
}

/** Whether someone listens on a socket's file; a killed agent leaves the file behind. */
async function answers(file: string): Promise<boolean> {
  const socket = connect(file);
  try {
    await once(socket, "connect");
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ECONNREFUSED";
  } finally {
    socket.destroy();
  }
}

async function readBody(request: IncomingMessage): Promise<Record<string, unknown>> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxBody) throw new ControlError("REFUSED", "the request is too large");
    chunks.push(chunk);
  }
  if (size === 0) return {};
  const value: unknown = JSON.parse(Buffer.concat(chunks).toString());
  if (typeof value !== "object" || value === null) throw new ControlError("REFUSED", "the request is no JSON object");
  return value as Record<string, unknown>;
}
