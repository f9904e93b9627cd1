import { Hono } from "hono";
/** The API: what the pages show, as JSON. Its shapes are in schemas.ts, and served with it. */
import { type ConsolePlace, countLines, linesOf, search } from "#/builds/console/lines.ts";
import type { FoundBuild } from "#/builds/store.ts";
import type { Env, Rooms } from "../app.ts";
import { RequestError } from "../errors.ts";
import { findBuild } from "../find-build.ts";
import { testReport } from "../test-report.ts";
import { deviceView, jobViews } from "./lab-views.ts";
import { openApi } from "./openapi.ts";
import { wholeNumber } from "./query.ts";
import { buildView, labStatus, listedBuilds } from "./views.ts";

/** How many builds or lines an answer has unless others are asked for, and at most. */
const usual = { builds: 50, lines: 200 };
const most = { builds: 1000, lines: 2000 };
const any = Number.MAX_SAFE_INTEGER;

export function apiRoutes(rooms: Rooms): Hono<Env> {
  const { lab } = rooms;
  const routes = new Hono<Env>();
  routes.get("/openapi.json", (c) => c.json(openApi(lab.status().version)));
  routes.get("/status", (c) => c.json(labStatus(lab)));
  routes.get("/builds", (c) => {
    const { job, before } = c.req.query();
    const limit = wholeNumber("limit", c.req.query("limit"), { least: 1, most: most.builds });
    const number = wholeNumber("before", before, { least: 1, most: any });
    if (number !== undefined && job === undefined)
      throw new RequestError(400, "before is the number of a build, and so goes with job");
    const builds = listedBuilds(lab, job).filter((build) => number === undefined || build.number < number);
    return c.json({ builds: builds.slice(0, limit ?? usual.builds), total: builds.length });
  });
  routes.get("/builds/:job/:number", async (c) => {
    const { job, number } = c.req.param();
    return c.json(await buildView(lab, findBuild(lab, job, number)));
  });
  routes.get("/builds/:job/:number/tests", async (c) => {
    const { job, number } = c.req.param();
    const report = await testReport(findBuild(lab, job, number));
    if (!report) throw new RequestError(404, "this build has no test reports");
    return c.json(report);
  });
  routes.get("/jobs", (c) => c.json({ jobs: jobViews(lab) }));
  routes.get("/jobs/:job", (c) => {
    const job = jobViews(lab).find(({ name }) => name === c.req.param("job"));
    if (!job) throw new RequestError(404, "there is no such job, and no build of it");
    return c.json(job);
  });
  routes.get("/devices", (c) => c.json({ devices: lab.devices() }));
  routes.get("/devices/:name", (c) => c.json(deviceView(lab, c.req.param("name"))));
  return routes.route("/", lineRoutes(rooms));
}

function consoleOf({ folder, running }: FoundBuild): ConsolePlace {
  return { folder, live: running?.console };
}

/** A console by its lines. */
function lineRoutes({ lab, indexes, searches, fault }: Rooms): Hono<Env> {
  const routes = new Hono<Env>();
  routes.get("/builds/:job/:number/lines", async (c) => {
    const { job, number } = c.req.param();
    const found = findBuild(lab, job, number);
    const from = wholeNumber("from", c.req.query("from"), { least: -most.lines, most: any }) ?? 0;
    const count = wholeNumber("count", c.req.query("count"), { least: 1, most: most.lines });
    const index = indexes.of(found.folder);
    const lines = await linesOf(consoleOf(found), index, from, count ?? usual.lines);
    // Counted on behind the answer, so that the next one has the total.
    if (lines.total === null) countLines(consoleOf(found), index).catch((error) => fault(error, c.req.path));
    return c.json(lines);
  });
  routes.get("/builds/:job/:number/search", async (c) => {
    const { job, number } = c.req.param();
    const found = findBuild(lab, job, number);
    const query = c.req.query("q") ?? "";
    if (query === "" || query.length > 1000)
      throw new RequestError(400, "q is to be a text of 1 to 1000 characters");
    const from = wholeNumber("from", c.req.query("from"), { least: 0, most: any }) ?? 0;
    const gone = new AbortController();
    c.env.outgoing.once("close", () => gone.abort());
    const hits = await searches.take(() =>
      search(consoleOf(found), indexes.of(found.folder), query, from, gone.signal),
    );
    return c.json(hits);
  });
  return routes;
}
