/** Sends a file or a part of it, at the pace of whoever takes it. */
import type { FileHandle } from "node:fs/promises";
import type { OutgoingHttpHeaders } from "node:http";
import { pipeline } from "node:stream/promises";
import type { Context } from "hono";
import { parseRange } from "./api/range.ts";
import type { Env } from "./app.ts";
import { RequestError } from "./errors.ts";
import { alreadySent } from "./sent.ts";

/**
 * Answers with a file's bytes: whole, or the part that a Range header asks for.
 * @param file is closed at the end
 * @param size how much of it there is to be sent
 * @param etag names this content as long as it can't change; undefined: it still grows
 * @throws RequestError 416
 */
export async function sendFile(
  c: Context<Env>,
  file: FileHandle,
  parts: { readonly size: number; readonly etag?: string | undefined; readonly headers: OutgoingHttpHeaders },
): Promise<Response> {
  await using _ = { [Symbol.asyncDispose]: () => file.close() };
  const { size, etag } = parts;
  const { outgoing, incoming } = c.env;
  if (etag !== undefined) outgoing.setHeader("etag", etag);
  if (etag !== undefined && incoming.headers["if-none-match"] === etag) {
    outgoing.writeHead(304).end();
    return alreadySent();
  }
  const wanted = incoming.headers["if-range"];
  const header = wanted === undefined || wanted === etag ? incoming.headers.range : undefined;
  const range = parseRange(header, size);
  if (range.kind === "none") {
    outgoing.setHeader("content-range", `bytes */${size}`);
    throw new RequestError(416, `there are ${size} bytes, and none where the range begins`);
  }
  const { from, to } = range.kind === "part" ? range : { from: 0, to: size - 1 };
  outgoing.writeHead(range.kind === "part" ? 206 : 200, {
    "accept-ranges": "bytes",
    "content-length": to - from + 1,
    ...(range.kind === "part" && { "content-range": `bytes ${from}-${to}/${size}` }),
    ...parts.headers,
  });
  if (incoming.method === "HEAD" || size === 0) outgoing.end();
  // Whoever goes away in the middle is no failure of ours.
  else
    await pipeline(file.createReadStream({ start: from, end: to, autoClose: false }), outgoing).catch(() => {
      outgoing.destroy();
    });
  return alreadySent();
}
