/** What hono hands to every route: Node's own request and response. */
import type { HttpBindings } from "@hono/node-server";

export interface Env {
  Bindings: HttpBindings;
}
