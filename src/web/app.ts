/** All routes: the pages, the API, files, events, and metrics. */
import { Hono } from "hono";
import { isConnected } from "./agent-view.ts";
import { apiRoutes } from "./api/routes.ts";
import { RequestError } from "./errors.ts";
import { fileRoutes } from "./files.ts";
import { pageRoutes, showError } from "./pages/routes.ts";
import type { Env } from "./request.ts";
import { alreadySent } from "./send-file.ts";
import type { Services } from "./services.ts";

export function newApp(services: Services): Hono<Env> {
  const { agent, metrics, onFault } = services;
  const app = new Hono<Env>();
  app.get("/healthz", (c) => c.text("ok\n"));
  app.get("/readyz", (c) => {
    const ready = agent.status().servers.some(isConnected);
    return ready ? c.text("ok\n") : c.text("no job server has registered all connections\n", 503);
  });
  app.get("/metrics", async (c) => c.body(await metrics.text(), 200, { "content-type": metrics.type }));
  app.route("/", fileRoutes(services));
  app.route("/", services.events.routes);
  app.route("/api", apiRoutes(services));
  app.route("/", pageRoutes(services));
  app.notFound((c) => showError(c, agent, 404, "there is nothing at this address"));
  app.onError((error, c) => {
    if (c.env.outgoing.headersSent) {
      onFault(error, c.req.path);
      c.env.outgoing.destroy();
      return alreadySent();
    }
    if (error instanceof RequestError) return showError(c, agent, error.status, error.message);
    onFault(error, c.req.path);
    return showError(c, agent, 500, "internal error; see the agent's log");
  });
  return app;
}
