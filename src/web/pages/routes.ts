/** The routes of the pages and their assets, and the answer to errors. */
import { type Context, Hono } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import type { LineIndexes } from "#/builds/console/line-index.ts";
import type { AgentView } from "../agent-view.ts";
import { jobViews } from "../api/views.ts";
import { assets } from "../assets.ts";
import { type Env, filterOf, findBuild, RequestError, wholeNumber } from "../request.ts";
import { buildPage } from "./build.ts";
import { buildsPage } from "./builds.ts";
import { devicePage } from "./device.ts";
import { html, layout } from "./html.ts";
import { jobPage } from "./job.ts";
import { labPage } from "./lab.ts";
import { overviewPage } from "./overview.ts";
import { buildUrl, jobUrl } from "./parts.ts";

/** A changed asset has another URL. */
const cacheForever = "public, max-age=31536000, immutable";

export function pageRoutes(agent: AgentView, indexes: LineIndexes): Hono<Env> {
  const routes = new Hono<Env>();
  routes.get("/", (c) => c.html(overviewPage(agent, c.req.query("wall") !== undefined)));
  routes.get("/builds", (c) => {
    const query = c.req.query();
    const page = wholeNumber("page", query.page, { min: 1, max: 1_000_000 }) ?? 1;
    return c.html(buildsPage(agent, filterOf(query), query, page));
  });
  routes.get("/builds/:name", (c) => c.redirect(whereIs(agent, c.req.param("name"))));
  routes.get("/builds/:job/latest", (c) => c.redirect(newest(agent, c.req.param("job"))));
  routes.get("/builds/:job/latest-passed", (c) => c.redirect(newest(agent, c.req.param("job"), "passed")));
  routes.get("/builds/:job/:number", async (c) => {
    const { job, number } = c.req.param();
    return c.html(await buildPage(agent, findBuild(agent, job, number), indexes));
  });
  routes.get("/jobs/:job", (c) => {
    const before = wholeNumber("before", c.req.query("before"), { min: 1, max: Number.MAX_SAFE_INTEGER });
    return c.html(jobPage(agent, c.req.param("job"), before));
  });
  routes.get("/devices/:name", async (c) => c.html(await devicePage(agent, c.req.param("name"))));
  routes.get("/lab", async (c) => c.html(labPage(agent, await agent.lab())));
  routes.get("/assets/*", (c) => {
    const asset = assets.get(c.req.path);
    if (!asset) return c.notFound();
    return c.body(asset.body, 200, { "content-type": asset.type, "cache-control": cacheForever });
  });
  return routes;
}

/** A job, or a build by its uuid. */
function whereIs(agent: AgentView, name: string): string {
  const isJob = jobViews(agent).some((job) => job.name === name);
  if (isJob) return jobUrl(name);
  const found = agent.builds.find({ uuid: name });
  if (!found) throw new RequestError(404, "no such job, and no build with that uuid");
  return buildUrl(found.job, found.number);
}

function newest(agent: AgentView, job: string, result?: string): string {
  const [found] = agent.builds.list({ job, ...(result !== undefined && { result }) });
  if (!found)
    throw new RequestError(404, result ? "no build of this job has passed" : "no builds of this job");
  return buildUrl(job, found.number);
}

/** Answers with an error: as JSON below /api, otherwise as a page. */
export function showError(
  c: Context<Env>,
  agent: AgentView,
  status: ContentfulStatusCode,
  text: string,
): Response {
  if (c.req.path.startsWith("/api/")) return c.json({ error: text }, status);
  const main = html`<h1>${status}</h1>
<p>${text}</p>
<p><a href="/">Go to the overview</a></p>`;
  return c.html(layout({ title: `${status}`, agent, main }), status);
}
