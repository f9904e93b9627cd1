/** A build's console as plain text: all of it, a part, or as it comes. */

import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { type Context, Hono } from "hono";
import type { Build } from "#/builds/build.ts";
import { consoleSize, openConsole, readConsole } from "#/builds/console/follow.ts";
import type { FoundBuild } from "#/builds/store.ts";
import { byteOffset } from "./api/query.ts";
import type { Env, Rooms } from "./app.ts";
import { findBuild } from "./find-build.ts";
import { untrusted } from "./headers.ts";
import { sendFile } from "./send-file.ts";
import { alreadySent } from "./sent.ts";

const headers = {
  ...untrusted,
  "content-type": "text/plain; charset=utf-8",
  "content-disposition": "inline",
} as const;

/** How long one who follows may take nothing at all, in milliseconds. */
const patience = 60_000;

export function consoleRoutes({ lab }: Rooms): Hono<Env> {
  const routes = new Hono<Env>();
  routes.get("/builds/:job/:number/console", async (c) => {
    const { job, number } = c.req.param();
    const found = findBuild(lab, job, number);
    const { running } = found;
    if (running && c.req.query("follow") !== undefined && c.env.incoming.method !== "HEAD")
      return follow(c, found, running);
    const file = await openConsole(found.folder);
    if (!file) return c.body("", 200, headers);
    const size = await consoleSize(file, found.running?.console);
    const etag = running ? undefined : `"${job.length}-${number}-${size}-${found.summary.ended ?? ""}"`;
    return sendFile(c, file, { size, etag, headers });
  });
  return routes;
}

/** From an offset to the build's end, at the pace of whoever takes it: the build doesn't wait. */
async function follow(c: Context<Env>, { folder }: FoundBuild, build: Build): Promise<Response> {
  const { outgoing } = c.env;
  const from = byteOffset(c.req.query("from")) ?? 0;
  const gone = new AbortController();
  outgoing.once("close", () => gone.abort());
  // A silent build is no reason to hang up.
  outgoing.socket?.setTimeout(0);
  outgoing.writeHead(200, headers).flushHeaders();
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
    await Promise.race([drained, delay(patience, undefined, { signal: waiting.signal })]).catch(() => {});
    waiting.abort();
    await drained.catch(() => {});
    if (outgoing.writableNeedDrain) outgoing.destroy();
  }
  outgoing.end();
  return alreadySent();
}
