/** One request and its answer: what routes read of the one, and how they write the other. */
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from "node:http";
import type { WebSocket } from "ws";
import { Refusal } from "./errors.ts";

export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly path: string;
  readonly query: URLSearchParams;
  /** The client's address. */
  readonly from: string;
  /** Aborted when the client has gone. */
  readonly gone: AbortSignal;
  /** The request is one of somebody who may: its connection doesn't make room for others any more. */
  readonly trusted: () => void;
  /** Makes a WebSocket of it; absent: the request isn't for one. */
  readonly upgrade?: () => Promise<WebSocket>;
}

const maxJsonBytes = 256 * 1024;
const jsonTimeoutMs = 10_000;
/** Between two pieces of a body, or of an answer. */
const idleTimeoutMs = 30_000;

/** RFC 6750. */
export function bearer({ request }: Exchange): string | undefined {
  return /^bearer +([\x21-\x7e]+) *$/i.exec(request.headers.authorization ?? "")?.[1];
}

export function sendJson(
  { response }: Exchange,
  status: number,
  body: object,
  headers: OutgoingHttpHeaders = {},
): void {
  const text = `${JSON.stringify(body)}\n`;
  response.writeHead(status, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(text),
    ...headers,
  });
  response.end(text);
}

/** The body of a small request. @throws Refusal */
export async function readText(exchange: Exchange): Promise<string> {
  const { request } = exchange;
  if (!/^application\/json\b/i.test(request.headers["content-type"] ?? ""))
    throw new Refusal("malformed", "the body has to be application/json");
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of bodyOf(exchange, jsonTimeoutMs)) {
    size += chunk.length;
    if (size > maxJsonBytes) throw new Refusal("too-large", `the body has more than ${maxJsonBytes} bytes`);
    chunks.push(chunk);
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(chunks));
  } catch {
    throw new Refusal("malformed", "the body is not UTF-8");
  }
}

export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new Refusal("malformed", "the body is not JSON");
  }
}

/**
 * The body, at the reader's pace.
 * @param totalTimeoutMs for all of it; absent: as long as something comes every idleTimeoutMs
 * @throws Refusal when the client stops sending
 */
export async function* bodyOf(
  { request, response, gone }: Exchange,
  totalTimeoutMs?: number,
): AsyncGenerator<Buffer, void, undefined> {
  // Only now: a client that waits for it sends nothing that is refused.
  if (/^100-continue$/i.test(request.headers.expect ?? "")) response.writeContinue();
  const slow = () => request.destroy(new Refusal("malformed", "the body came too slowly"));
  const whole = totalTimeoutMs === undefined ? undefined : setTimeout(slow, totalTimeoutMs);
  let idle = setTimeout(slow, idleTimeoutMs);
  try {
    for await (const chunk of request) {
      clearTimeout(idle);
      yield chunk;
      idle = setTimeout(slow, idleTimeoutMs);
    }
  } catch (error) {
    if (error instanceof Refusal) throw error;
    gone.throwIfAborted();
    throw new Refusal("malformed", "the body was cut off");
  } finally {
    clearTimeout(whole);
    clearTimeout(idle);
  }
}

/** Writes a part of an answer at the client's pace; one that doesn't read is dropped. Rejects when it has gone. */
export async function write({ response, gone }: Exchange, bytes: string | Buffer): Promise<void> {
  gone.throwIfAborted();
  if (response.write(bytes)) return;
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => response.destroy(), idleTimeoutMs);
    const settle = () => {
      clearTimeout(timer);
      response.off("drain", settle);
      gone.removeEventListener("abort", settle);
      if (gone.aborted) reject(gone.reason);
      else resolve();
    };
    response.once("drain", settle);
    gone.addEventListener("abort", settle);
  });
}
