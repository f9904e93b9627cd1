/** The API: what the pages show, as JSON. schemas.ts describes the answers. */
import { Readable } from "node:stream";
import { type Context, Hono } from "hono";
import pLimit from "p-limit";
import type { LineIndexes } from "#/builds/console/line-index.ts";
import {
  consoleOf,
  containing,
  countLines,
  type Hits,
  isErrorLine,
  linesOf,
  search,
  sectionsOf,
} from "#/builds/console/lines.ts";
import { openStored } from "#/builds/workspace/files.ts";
import { captureFile, readCapture } from "#/lib/capture.ts";
import type { AgentView } from "../agent-view.ts";
import { textOrBase64 } from "../events/frames.ts";
import { noCapture } from "../files.ts";
import { type Env, filterOf, findBuild, RequestError, wholeNumber } from "../request.ts";
import { openApi } from "./openapi.ts";
import {
  buildView,
  deviceView,
  historyView,
  jobViews,
  listBuildViews,
  readTestReport,
  statusView,
} from "./views.ts";

const defaultBuilds = 50;
const maxBuilds = 1000;
const defaultLines = 200;
const maxLines = 2000;
const defaultHistoryDays = 30;
const maxHistoryDays = 3660;
/** Searches that run at the same time; more would slow the builds. */
const maxSearches = 2;
const anyNumber = Number.MAX_SAFE_INTEGER;

/** @param onFault reports an internal error */
export function apiRoutes(
  agent: AgentView,
  indexes: LineIndexes,
  onFault: (error: Error, path: string) => void,
): Hono<Env> {
  const routes = new Hono<Env>();
  routes.get("/openapi.json", (c) => c.json(openApi(agent.status().version)));
  routes.get("/status", (c) => c.json(statusView(agent)));
  routes.get("/builds", (c) => {
    const filter = filterOf(c.req.query());
    const { job } = filter;
    const limit = wholeNumber("limit", c.req.query("limit"), { min: 1, max: maxBuilds });
    const before = wholeNumber("before", c.req.query("before"), { min: 1, max: anyNumber });
    if (before !== undefined && job === undefined)
      throw new RequestError(400, "before is a build number and needs job");
    const skip = wholeNumber("skip", c.req.query("skip"), { min: 0, max: anyNumber }) ?? 0;
    const builds = listBuildViews(agent, filter).filter(
      ({ number }) => before === undefined || number < before,
    );
    return c.json({ builds: builds.slice(skip, skip + (limit ?? defaultBuilds)), total: builds.length });
  });
  routes.get("/builds/:job/:number", async (c) => {
    const { job, number } = c.req.param();
    return c.json(await buildView(agent, findBuild(agent, job, number)));
  });
  routes.get("/builds/:job/:number/tests", async (c) => {
    const { job, number } = c.req.param();
    const report = await readTestReport(findBuild(agent, job, number));
    if (!report) throw new RequestError(404, "this build has no test reports");
    return c.json(report);
  });
  routes.get("/builds/:job/:number/serial", async (c) => {
    const { job, number } = c.req.param();
    const file = await openStored(findBuild(agent, job, number).folder, captureFile);
    if (!file) throw new RequestError(404, noCapture);
    const lines = Readable.from(serialLines(file.createReadStream()));
    return c.body(Readable.toWeb(lines) as ReadableStream, 200, { "content-type": "application/jsonl" });
  });
  routes.get("/jobs", (c) => c.json({ jobs: jobViews(agent) }));
  routes.get("/jobs/:job", (c) => {
    const job = jobViews(agent).find(({ name }) => name === c.req.param("job"));
    if (!job) throw new RequestError(404, "no such job, and no builds of it");
    return c.json(job);
  });
  routes.get("/lab", async (c) => c.json(await agent.lab()));
  routes.get("/devices", (c) => c.json({ devices: agent.devices() }));
  routes.get("/devices/:name", (c) => c.json(deviceView(agent, c.req.param("name"))));
  routes.get("/devices/:name/history", async (c) => {
    const { name } = deviceView(agent, c.req.param("name"));
    const days = wholeNumber("days", c.req.query("days"), { min: 1, max: maxHistoryDays });
    return c.json(await historyView(agent, name, days ?? defaultHistoryDays));
  });
  return routes.route("/", lineRoutes(agent, indexes, onFault));
}

async function* serialLines(capture: AsyncIterable<Buffer>): AsyncGenerator<string> {
  for await (const { time, kind, bytes } of readCapture(capture))
    yield `${JSON.stringify({ at: time, kind, ...textOrBase64(bytes) })}\n`;
}

function lineRoutes(
  agent: AgentView,
  indexes: LineIndexes,
  onFault: (error: Error, path: string) => void,
): Hono<Env> {
  const searchLimit = pLimit(maxSearches);
  const routes = new Hono<Env>();
  routes.get("/builds/:job/:number/lines", async (c) => {
    const { job, number } = c.req.param();
    const found = findBuild(agent, job, number);
    const from = wholeNumber("from", c.req.query("from"), { min: -maxLines, max: anyNumber }) ?? 0;
    const count = wholeNumber("count", c.req.query("count"), { min: 1, max: maxLines });
    const index = indexes.of(found.folder);
    const lines = await linesOf(consoleOf(found), index, from, count ?? defaultLines);
    // The answer doesn't wait for the count; the next one will have the total.
    if (lines.total === null)
      countLines(consoleOf(found), index).catch((error) => onFault(error, c.req.path));
    return c.json(lines);
  });
  routes.get("/builds/:job/:number/search", async (c) => {
    const query = c.req.query("q") ?? "";
    if (query === "" || query.length > 1000)
      throw new RequestError(400, "q must be a text of 1 to 1000 characters");
    return c.json(await hits(c, containing(query)));
  });
  routes.get("/builds/:job/:number/errors", async (c) => c.json(await hits(c, isErrorLine)));

  routes.get("/builds/:job/:number/sections", async (c) => {
    const { job, number } = c.req.param();
    const found = findBuild(agent, job, number);
    const index = indexes.of(found.folder);
    return c.json({ sections: await searchLimit(() => sectionsOf(consoleOf(found), index)) });
  });

  async function hits(c: Context<Env>, isHit: (line: Buffer) => boolean): Promise<Hits> {
    const { job = "", number = "" } = c.req.param();
    const found = findBuild(agent, job, number);
    const from = wholeNumber("from", c.req.query("from"), { min: 0, max: anyNumber }) ?? 0;
    const gone = new AbortController();
    c.env.outgoing.once("close", () => gone.abort());
    return searchLimit(() =>
      search(consoleOf(found), indexes.of(found.folder), isHit, { from, signal: gone.signal }),
    );
  }
  return routes;
}
