/** The web server of an agent: started where the configuration says, and started anew when that changes. */
import { isDeepStrictEqual } from "node:util";
import type { Config } from "#/config/model.ts";
import type { BuildCheck } from "#/host/peers.ts";
import { CodedError } from "#/lib/errors.ts";
import type { Log } from "#/lib/log.ts";
import type { AgentView } from "#/web/agent-view.ts";
import type { WebServer } from "#/web/server.ts";

export interface PagesOptions {
  /** Asked for at each start of the server. */
  readonly view: () => AgentView;
  readonly isBuild: BuildCheck;
  readonly log: Log;
}

export class Pages implements AsyncDisposable {
  readonly #options: PagesOptions;
  #server: WebServer | undefined;
  /** The `http:` of the last call of serve(). */
  #wanted: Config["http"] | undefined;

  constructor(options: PagesOptions) {
    this.#options = options;
  }

  /** Where users reach the pages: the configured address, with the real port when the configured one is 0. */
  url({ port, url }: Config["http"]): string {
    const real = this.#server?.address.port;
    return port === 0 && real !== undefined ? url.replace(/:0$/, `:${real}`) : url;
  }

  /** Serves the pages. When the address can't be listened on, the log says why, and builds go on: they matter more. */
  async serve(http: Config["http"]): Promise<void> {
    if (this.#server && isDeepStrictEqual(this.#wanted, http)) return;
    await this[Symbol.asyncDispose]();
    this.#wanted = http;
    const { view, isBuild, log } = this.#options;
    try {
      // Loaded only here: registration at the job servers doesn't wait for it.
      const { startWeb } = await import("#/web/server.ts");
      this.#server = await startWeb(view(), { ...http, refuses: isBuild, log });
      const url = this.url(http);
      log.info({ ...this.#server.address, url }, `the pages are at ${url}`);
    } catch (error) {
      if (!(error instanceof CodedError && error.code === "LISTEN")) throw error;
      log.error({ host: http.host, port: http.port }, error.message);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    await server?.[Symbol.asyncDispose]();
  }
}
