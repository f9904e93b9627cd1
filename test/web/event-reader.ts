/** Reads server-sent events as a browser does. */
import { once } from "node:events";
import { type ClientRequest, type IncomingMessage, request } from "node:http";
import { bounded } from "../support/servers.ts";

export interface SentEvent {
  readonly event: string;
  readonly id: string | undefined;
  readonly data: Record<string, unknown>;
}

export class EventReader implements AsyncDisposable {
  readonly response: IncomingMessage;
  readonly events: SentEvent[] = [];
  readonly #request: ClientRequest;
  readonly #waiting = new Set<() => void>();
  #rest = "";
  #closed = false;

  private constructor(request: ClientRequest, response: IncomingMessage) {
    this.#request = request;
    this.response = response;
    response.setEncoding("utf8");
    response.on("data", (text: string) => this.#read(text));
    response.on("error", () => {});
    response.on("close", () => {
      this.#closed = true;
      this.#wake();
    });
  }

  static async open(url: string, headers: Record<string, string> = {}): Promise<EventReader> {
    const sent = request(url, { headers, agent: false });
    sent.end();
    const [response] = await bounded(once(sent, "response"));
    sent.on("error", () => {});
    return new EventReader(sent, response);
  }

  #read(text: string): void {
    const blocks = (this.#rest + text).split("\n\n");
    this.#rest = blocks.pop() ?? "";
    for (const block of blocks) {
      const fields = new Map(
        block.split("\n").map((line) => {
          const colon = line.indexOf(": ");
          return [line.slice(0, colon), line.slice(colon + 2)];
        }),
      );
      const event = fields.get("event");
      if (event === undefined) continue;
      this.events.push({ event, id: fields.get("id"), data: JSON.parse(fields.get("data") ?? "{}") });
    }
    this.#wake();
  }

  #wake(): void {
    for (const check of this.#waiting) check();
  }

  /** Resolves when the condition holds; rejects if the stream ends first, or after the timeout. */
  until(condition: (events: readonly SentEvent[]) => boolean, timeoutMs = 60_000): Promise<void> {
    let check = () => {};
    const held = new Promise<void>((resolve, reject) => {
      check = () => {
        if (condition(this.events)) resolve();
        else if (this.#closed) reject(new Error("the stream ended first"));
      };
      this.#waiting.add(check);
      check();
    });
    return bounded(held, timeoutMs).finally(() => this.#waiting.delete(check));
  }

  /** Resolves at the `end` event. */
  async ended(timeoutMs?: number): Promise<void> {
    await this.until((events) => events.at(-1)?.event === "end", timeoutMs);
  }

  /** The bytes of all `output` events, in order. */
  get output(): Buffer {
    return Buffer.concat(this.events.filter(({ event }) => event === "output").map(bytesOf));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#request.destroy();
    this.response.destroy();
  }
}

export function bytesOf({ data }: SentEvent): Buffer {
  return "base64" in data ? Buffer.from(`${data.base64}`, "base64") : Buffer.from(`${data.text}`);
}
