/** Calls functions of managers, such as send: and fetch:, one after the other over a connection of its own. */
import { isUnknownBuild } from "#/exchange/message.ts";
import { Admin } from "#/gearman/client/admin.ts";
import { Client, type Submission } from "#/gearman/client/client.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { GearmanError } from "#/gearman/wire/errors.ts";

const defaultTimeoutMs = 20_000;
/** Of agents that share a name, any may take the request, and only one has the build. */
const maxTries = 50;

/** What functions of managers are called through. */
export interface Calls extends AsyncDisposable {
  /** @returns what the function answers @throws GearmanError */
  call(name: string, argument: Uint8Array): Promise<Buffer>;
}

/** After any failure the next call opens a new connection. */
export class ManagerCalls implements Calls {
  readonly #server: ServerAddress;
  readonly #answerTimeoutMs: number;
  #client: Client | undefined;
  #last: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(server: ServerAddress, answerTimeoutMs = defaultTimeoutMs) {
    this.#server = server;
    this.#answerTimeoutMs = answerTimeoutMs;
  }

  /**
   * @returns what the function answers
   * @throws GearmanError, CLOSED also when the manager went away; a function that nobody offers is a TIMEOUT
   */
  call(name: string, argument: Uint8Array): Promise<Buffer> {
    // The agent takes one piece of a client at a time.
    const answer = this.#last.then(() => this.#callShared(name, argument));
    this.#last = answer.catch(() => {});
    return answer;
  }

  async #callShared(name: string, argument: Uint8Array): Promise<Buffer> {
    for (let tries = 1; ; tries++) {
      const answer = await this.#call(name, argument);
      if (!isUnknownBuild(answer) || tries === maxTries) return answer;
      if (tries === 1 && !(await this.#isShared(name))) return answer;
    }
  }

  async #isShared(name: string): Promise<boolean> {
    try {
      await using admin = await Admin.connect(this.#server, { answerTimeoutMs: this.#answerTimeoutMs });
      return (await admin.status()).some((entry) => entry.function === name && entry.workers > 1);
    } catch {
      return false;
    }
  }

  async #call(name: string, argument: Uint8Array): Promise<Buffer> {
    if (this.#closed) throw new GearmanError("CLOSED", `${name} was not called`);
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      void this.#drop();
    }, this.#answerTimeoutMs);
    try {
      this.#client ??= await Client.connect(this.#server);
      const unique = crypto.randomUUID();
      const submitted = await this.#client.submit({
        function: name,
        unique,
        data: argument,
        priority: "high",
      });
      return await answerOf(submitted, name);
    } catch (cause) {
      await this.#drop();
      if (!late) throw cause;
      throw new GearmanError("TIMEOUT", `${name} gave no answer within ${this.#answerTimeoutMs / 1000} s`, {
        cause,
      });
    } finally {
      clearTimeout(timer);
    }
  }

  async #drop(): Promise<void> {
    const client = this.#client;
    this.#client = undefined;
    await client?.[Symbol.asyncDispose]();
  }

  /** Also ends a call that is under way. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    await this.#drop();
  }
}

/** @throws GearmanError CLOSED when the job fails: its agent went away */
export async function answerOf(submitted: Submission, name: string): Promise<Buffer> {
  for await (const event of submitted) {
    if (event.type === "complete") return event.data;
    if (event.type === "fail" || event.type === "exception") break;
  }
  throw new GearmanError("CLOSED", `${name} gave no answer: its agent went away`);
}
