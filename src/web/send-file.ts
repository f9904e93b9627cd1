/** Answers written straight to the socket: files, whole or in part, at the client's pace. */
import type { FileHandle } from "node:fs/promises";
import type { OutgoingHttpHeaders } from "node:http";
import { pipeline } from "node:stream/promises";
import { RESPONSE_ALREADY_SENT } from "@hono/node-server/utils/response";
import type { Context } from "hono";
import { type Env, RequestError } from "./request.ts";

/** What a route returns if it has written the answer itself. */
export function alreadySent(): Response {
  return RESPONSE_ALREADY_SENT;
}

/**
 * Answers with a file: whole, or the part that a Range header asks for. @hono/node-server's serveStatic opens files by path
 * and follows links; hono's etag middleware would hash every answer.
 * @param file closed at the end
 * @param options.size how many bytes of it count
 * @param options.etag identifies content that can't change any more; undefined while the file grows
 * @throws RequestError 416
 */
export async function sendFile(
  c: Context<Env>,
  file: FileHandle,
  options: {
    readonly size: number;
    readonly etag?: string | undefined;
    readonly headers: OutgoingHttpHeaders;
  },
): Promise<Response> {
  await using _ = { [Symbol.asyncDispose]: () => file.close() };
  const { size, etag, headers } = options;
  const { outgoing, incoming } = c.env;
  if (etag !== undefined) outgoing.setHeader("etag", etag);
  if (etag !== undefined && incoming.headers["if-none-match"] === etag) {
    outgoing.writeHead(304).end();
    return alreadySent();
  }
  const ifRange = incoming.headers["if-range"];
  const header = ifRange === undefined || ifRange === etag ? incoming.headers.range : undefined;
  const range = parseRange(header, size);
  if (range.kind === "unsatisfiable") {
    outgoing.setHeader("content-range", `bytes */${size}`);
    throw new RequestError(416, `the range starts beyond the end: there are ${size} bytes`);
  }
  const { from, to } = range.kind === "part" ? range : { from: 0, to: size - 1 };
  outgoing.writeHead(range.kind === "part" ? 206 : 200, {
    "accept-ranges": "bytes",
    "content-length": to - from + 1,
    ...(range.kind === "part" && { "content-range": `bytes ${from}-${to}/${size}` }),
    ...headers,
  });
  if (incoming.method === "HEAD" || size === 0) outgoing.end();
  // A client that disconnects halfway is not an error.
  else
    await pipeline(file.createReadStream({ start: from, end: to, autoClose: false }), outgoing).catch(() => {
      outgoing.destroy();
    });
  return alreadySent();
}

type ByteRange =
  /** From the first byte to the last, both included. */
  | { readonly kind: "part"; readonly from: number; readonly to: number }
  | { readonly kind: "all" }
  | { readonly kind: "unsatisfiable" };

/**
 * Parses a Range header (RFC 9110, section 14). An invalid one, another unit or more than one range means all: a server may
 * ignore the header.
 */
function parseRange(header: string | undefined, size: number): ByteRange {
  const match = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header?.trim() ?? "");
  if (!match) return { kind: "all" };
  const [, first = "", last = ""] = match;
  if (first === "" && last === "") return { kind: "all" };
  if (first === "") {
    const length = Math.min(size, Number(last));
    return length === 0 ? { kind: "unsatisfiable" } : { kind: "part", from: size - length, to: size - 1 };
  }
  const from = Number(first);
  const to = last === "" ? size - 1 : Math.min(size - 1, Number(last));
  if (last !== "" && Number(last) < from) return { kind: "all" };
  return from >= size ? { kind: "unsatisfiable" } : { kind: "part", from, to };
}
