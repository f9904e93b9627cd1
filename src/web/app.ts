/** All routes of the pages, the API and the metrics. */
import type { HttpBindings } from "@hono/node-server";
import { Hono } from "hono";
import type { LineIndexes } from "#/builds/console/line-index.ts";
import { apiRoutes } from "./api/api.ts";
import { artifactRoutes } from "./artifacts.ts";
import { consoleRoutes } from "./console.ts";
import { RequestError } from "./errors.ts";
import type { Events } from "./events/events.ts";
import type { Lab } from "./lab.ts";
import type { Metrics } from "./metrics.ts";
import { pageRoutes, showError } from "./pages/routes.ts";
import { alreadySent } from "./sent.ts";
import type { Turns } from "./turns.ts";

export interface Env {
  Bindings: HttpBindings;
}

export interface Rooms {
  readonly lab: Lab;
  readonly indexes: LineIndexes;
  readonly events: Events;
  readonly metrics: Metrics;
  readonly searches: Turns;
  /** Tells of a fault of ours. */
  readonly fault: (error: Error, path: string) => void;
}

export function newApp(rooms: Rooms): Hono<Env> {
  const { lab, metrics, fault } = rooms;
  const app = new Hono<Env>();
  app.get("/healthz", (c) => c.text("ok\n"));
  app.get("/readyz", (c) => {
    const ready = lab.status().servers.some(({ state }) => isConnected(state));
    return ready ? c.text("ok\n") : c.text("no job server is connected\n", 503);
  });
  app.get("/metrics", async (c) => c.body(await metrics.text(), 200, { "content-type": metrics.type }));
  app.route("/", artifactRoutes(rooms));
  app.route("/", consoleRoutes(rooms));
  app.route("/", rooms.events.routes);
  app.route("/api", apiRoutes(rooms));
  app.route("/", pageRoutes(rooms));
  app.notFound((c) => showError(c, lab, 404, "there is nothing at this address"));
  app.onError((error, c) => {
    if (c.env.outgoing.headersSent) {
      fault(error, c.req.path);
      c.env.outgoing.destroy();
      return alreadySent();
    }
    if (error instanceof RequestError) return showError(c, lab, error.status, error.message);
    fault(error, c.req.path);
    return showError(c, lab, 500, "this can't be answered just now; the agent's log tells more");
  });
  return app;
}

/** True when the link's server can hand out jobs, or waits for one of ours to end. */
export function isConnected(state: string): boolean {
  return ["awake", "grabbing", "working", "asleep"].includes(state);
}
