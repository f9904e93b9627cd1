/** The pages of an agent: served where the configuration says, and elsewhere once that changes. */
import { isDeepStrictEqual } from "node:util";
import type { Config } from "#/config/model.ts";
import type { Log } from "#/lib/log.ts";
import { ListenError } from "./errors.ts";
import type { Lab } from "./lab.ts";
import type { WebServer } from "./server.ts";

export class Pages implements AsyncDisposable {
  readonly #log: Log;
  #server: WebServer | undefined;
  /** What was asked for last. */
  #wanted: Config["http"] | undefined;

  constructor(log: Log) {
    this.#log = log;
  }

  /** Where users reach the pages: the configured address, with the port that it got when any would do. */
  url({ port, url }: Config["http"]): string {
    const real = this.#server?.address.port;
    return port === 0 && real !== undefined ? url.replace(/:0$/, `:${real}`) : url;
  }

  /** Serves a lab. When that can't be, the log says why, and builds go on without: they matter more. */
  async serve(lab: Lab, http: Config["http"]): Promise<void> {
    if (this.#server && isDeepStrictEqual(this.#wanted, http)) return;
    await this[Symbol.asyncDispose]();
    this.#wanted = http;
    try {
      // The job servers needn't wait until all of it is loaded.
      const { startWeb } = await import("./server.ts");
      this.#server = await startWeb(lab, { ...http, log: this.#log });
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
