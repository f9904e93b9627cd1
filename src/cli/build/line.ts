/** The connection to the job server that a build was submitted on. */
import { Client, type Submission, type SubmitOptions } from "#/gearman/client/client.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";

export class Line implements AsyncDisposable {
  readonly #server: ServerAddress;
  readonly #request: SubmitOptions;
  #client: Client | undefined;
  #left = false;
  /** Of the build at the job server. */
  handle = "";

  constructor(server: ServerAddress, request: SubmitOptions) {
    this.#server = server;
    this.#request = request;
  }

  /** On a new connection. */
  async submit(): Promise<Submission> {
    await this[Symbol.asyncDispose]();
    this.#client = await Client.connect(this.#server);
    // Without this option gearmand does not pass on why an argument was refused.
    this.#client.wantExceptions();
    const submitted = await this.#client.submit(this.#request);
    this.handle = submitted.handle;
    return submitted;
  }

  /** Asks on a connection of its own, since this one may be lost. */
  async isHandedOut(): Promise<boolean> {
    await using client = await Client.connect(this.#server);
    return (await client.status(this.handle)).running;
  }

  /** @throws GearmanError CLOSED when it is lost */
  get client(): Client {
    if (!this.#client) throw new Error("a build has to be submitted before its client is used");
    return this.#client;
  }

  /** Whether this side has ended it, and doesn't want the build any more. */
  get left(): boolean {
    return this.#left;
  }

  /** All servers drop a queued job whose client has left. */
  async leave(): Promise<void> {
    this.#left = true;
    await this[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client?.[Symbol.asyncDispose]();
  }
}
