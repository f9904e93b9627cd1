/** The pages: their models made of what the lab tells, at each request anew. */
import { type Context, Hono } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { wholeNumber } from "../api/query.ts";
import type { Env, Rooms } from "../app.ts";
import { assets } from "../assets/assets.ts";
import { findBuild } from "../find-build.ts";
import type { Lab } from "../lab.ts";
import { buildPage } from "./build.ts";
import { devicePage } from "./device.ts";
import { errorPage } from "./error.ts";
import { jobPage } from "./job.ts";
import { overviewPage } from "./overview.ts";
import { buildModel, deviceModel, frame, jobModel, overviewModel } from "./page-models.ts";

/** As long as browsers keep anything, in seconds: a changed file has another address. */
const forEver = "public, max-age=31536000, immutable";

export function pageRoutes({ lab }: Rooms): Hono<Env> {
  const routes = new Hono<Env>();
  routes.get("/", (c) => c.html(overviewPage(overviewModel(lab))));
  routes.get("/builds/:job/:number", async (c) => {
    const { job, number } = c.req.param();
    return c.html(buildPage(await buildModel(lab, findBuild(lab, job, number))));
  });
  routes.get("/jobs/:job", (c) => {
    const before = wholeNumber("before", c.req.query("before"), { least: 1, most: Number.MAX_SAFE_INTEGER });
    return c.html(jobPage(jobModel(lab, c.req.param("job"), before)));
  });
  routes.get("/devices/:name", async (c) => c.html(devicePage(await deviceModel(lab, c.req.param("name")))));
  routes.get("/assets/*", (c) => {
    const asset = assets.get(c.req.path);
    if (!asset) return c.notFound();
    return c.body(asset.body, 200, { "content-type": asset.type, "cache-control": forEver });
  });
  return routes;
}

/** What went wrong, as whoever asked can read it: JSON below /api, else a page. */
export function showError(c: Context<Env>, lab: Lab, status: ContentfulStatusCode, text: string): Response {
  if (c.req.path.startsWith("/api/")) return c.json({ error: text }, status);
  return c.html(errorPage(status, text, frame(lab)), status);
}
