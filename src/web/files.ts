/** The files of a build: its console as plain text; its artifacts, and what went over the serial line, as downloads. */
import { once } from "node:events";
import type { FileHandle } from "node:fs/promises";
import { Readable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { type Context, Hono } from "hono";
import type { Build } from "#/builds/build.ts";
import { consoleSize, openConsole, readConsole } from "#/builds/console/follow.ts";
import type { FoundBuild } from "#/builds/store.ts";
import { openStored } from "#/builds/workspace/files.ts";
import { captureFile } from "#/lib/capture.ts";
import { artifactType } from "#/lib/media-type.ts";
import type { AgentView } from "./agent-view.ts";
import { visibleText } from "./browser/terminal.ts";
import { byteOffset, type Env, findBuild, RequestError } from "./request.ts";
import { alreadySent, sendFile } from "./send-file.ts";
import { attachment, untrustedHeaders } from "./untrusted.ts";

const consoleHeaders = {
  ...untrustedHeaders,
  "content-type": "text/plain; charset=utf-8",
  "content-disposition": "inline",
} as const;

export const noCapture = "this build has no serial capture: only builds on a device have one";

const maxLineCharacters = 16 * 1024;

/** How long a client that follows a console may go without reading anything. */
const stallTimeoutMs = 60_000;

export function fileRoutes(agent: AgentView): Hono<Env> {
  const routes = new Hono<Env>();
  routes.get("/builds/:job/:number/console", async (c) => {
    const { job, number } = c.req.param();
    const found = findBuild(agent, job, number);
    const { running } = found;
    if (running && c.req.query("follow") !== undefined && c.env.incoming.method !== "HEAD")
      return follow(c, found, running);
    const { plain, download } = c.req.query();
    const headers = {
      ...consoleHeaders,
      ...(download !== undefined && { "content-disposition": attachment(`${job}-${number}.txt`) }),
    };
    const file = await openConsole(found.folder);
    if (!file) return c.body("", 200, headers);
    const size = await consoleSize(file, running?.console);
    if (plain !== undefined) {
      if (c.env.incoming.method === "HEAD") {
        // hono leaves the body unread then.
        await file.close();
        return c.body(null, 200, headers);
      }
      const text = Readable.from(plainText(file, size));
      return c.body(Readable.toWeb(text) as ReadableStream, 200, headers);
    }
    const etag = running ? undefined : `"${job.length}-${number}-${size}-${found.summary.ended ?? ""}"`;
    return sendFile(c, file, { size, etag, headers });
  });
  routes.get("/builds/:job/:number/artifacts/:path{.+}", async (c) => {
    const { job, number, path } = c.req.param();
    // Opened from the build's folder, because a job may have replaced the artifacts folder itself by a link.
    const file = await openStored(findBuild(agent, job, number).folder, path, "artifacts");
    if (!file) throw new RequestError(404, "this build has no such artifact");
    const { size, mtimeMs } = await file.stat();
    return sendFile(c, file, {
      size,
      etag: `"${size}-${Math.round(mtimeMs)}"`,
      headers: {
        ...untrustedHeaders,
        "content-type": artifactType(path),
        "content-disposition": attachment(path),
      },
    });
  });
  routes.get("/builds/:job/:number/serial", async (c) => {
    const { job, number } = c.req.param();
    const { folder, running } = findBuild(agent, job, number);
    const file = await openStored(folder, captureFile);
    if (!file) throw new RequestError(404, noCapture);
    const { size, mtimeMs } = await file.stat();
    return sendFile(c, file, {
      size,
      etag: running ? undefined : `"${size}-${Math.round(mtimeMs)}"`,
      headers: {
        ...untrustedHeaders,
        "content-type": "application/octet-stream",
        "content-disposition": attachment(`${job}-${number}.capture`),
      },
    });
  });
  return routes;
}

/** What a terminal would show of a console, without colours. A very long line is cut into several pieces. */
async function* plainText(file: FileHandle, size: number): AsyncGenerator<string> {
  await using _ = file;
  const decoder = new TextDecoder();
  let rest = "";
  for await (const bytes of file.createReadStream({ end: Math.max(0, size - 1), autoClose: false })) {
    const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    yield lines.map((line) => `${visibleText(line)}\n`).join("");
    if (rest.length < maxLineCharacters) continue;
    yield visibleText(rest);
    rest = "";
  }
  yield visibleText(rest + decoder.decode());
}

/** Sends the console from an offset until the build ends. A slow client never slows the build. */
async function follow(c: Context<Env>, { folder }: FoundBuild, build: Build): Promise<Response> {
  const { outgoing } = c.env;
  const from = byteOffset(c.req.query("from")) ?? 0;
  const gone = new AbortController();
  outgoing.once("close", () => gone.abort());
  // A build without output keeps the connection idle.
  outgoing.socket?.setTimeout(0);
  outgoing.writeHead(200, consoleHeaders).flushHeaders();
  const { signal } = gone;
  const live = await Promise.race([build.opened, once(gone.signal, "abort").then(() => undefined)]);
  if (!live) {
    outgoing.end();
    return alreadySent();
  }
  for await (const bytes of readConsole(folder, { from, live, signal })) {
    if (outgoing.write(bytes)) continue;
    const waiting = new AbortController();
    const drained = once(outgoing, "drain", { signal: AbortSignal.any([signal, waiting.signal]) });
    await Promise.race([drained, delay(stallTimeoutMs, undefined, { signal: waiting.signal })]).catch(
      () => {},
    );
    waiting.abort();
    await drained.catch(() => {});
    if (outgoing.writableNeedDrain) outgoing.destroy();
  }
  outgoing.end();
  return alreadySent();
}
