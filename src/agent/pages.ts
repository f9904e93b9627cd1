/** The web server of an agent: started where the configuration says, and started anew when that changes. */
import { isDeepStrictEqual } from "node:util";
import type { Config } from "#/config/model.ts";
import type { BuildCheck } from "#/host/peers.ts";
import type { Log } from "#/lib/log.ts";
import type { AgentView } from "#/web/agent-view.ts";
import { ListenError } from "#/web/errors.ts";
import type { WebServer } from "#/web/server.ts";

export class Pages implements AsyncDisposable {
  readonly #log: Log;
  readonly #isBuild: BuildCheck;
  #server: WebServer | undefined;
  /** The `http:` of the last call of serve(). */
  #wanted: Config["http"] | undefined;

  constructor(log: Log, isBuild: BuildCheck) {
    this.#log = log;
    this.#isBuild = isBuild;
  }

  /** Where users reach the pages: the configured address, with the real port when the configured one is 0. */
  url({ port, url }: Config["http"]): string {
    const real = this.#server?.address.port;
    return port === 0 && real !== undefined ? url.replace(/:0$/, `:${real}`) : url;
  }

  /** Serves the pages. When the address can't be listened on, the log says why, and builds go on: they matter more. */
  async serve(agent: AgentView, http: Config["http"]): Promise<void> {
    if (this.#server && isDeepStrictEqual(this.#wanted, http)) return;
    await this[Symbol.asyncDispose]();
    this.#wanted = http;
    try {
      // Loaded only here: registration at the job servers doesn't wait for it.
      const { startWeb } = await import("#/web/server.ts");
      this.#server = await startWeb(agent, { ...http, refuses: this.#isBuild, log: this.#log });
      const url = this.url(http);
      this.#log.info({ ...this.#server.address, url }, `the pages are at ${url}`);
    } catch (error) {
      if (!(error instanceof ListenError)) throw error;
      this.#log.error({ host: http.host, port: http.port }, error.message);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    await server?.[Symbol.asyncDispose]();
  }
}
