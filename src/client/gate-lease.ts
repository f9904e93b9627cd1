/** A lease's line through a gate: one WebSocket, opened again when it is lost. What goes over it says exchange/tunnel.ts. */
import type { WebSocket } from "ws";
import { isCount, isObject, type JsonObject } from "#/exchange/message.ts";
import { formatTunnel, parseTunnel } from "#/exchange/tunnel.ts";
import type { JobEvent } from "#/gearman/client/client.ts";
import { GearmanError } from "#/gearman/wire/errors.ts";
import { Condition } from "#/lib/condition.ts";
import type { Calls } from "./calls.ts";
import { type GateBuild, type GateClient, GateRefusal } from "./gate.ts";
import { dataEvent } from "./record-data.ts";

/** A little longer than the gate waits for the agent. */
const answerTimeoutsMs = { type: 6000, other: 25_000 };
/** Without anything: the gate pings every 15 s. */
const idleTimeoutMs = 45_000;

export class GateLease implements Calls {
  readonly #gate: GateClient;
  readonly #build: GateBuild;
  readonly #over = new AbortController();
  #line: Promise<LeaseSocket> | undefined;
  /** Whether anybody reads what its agent says. */
  #isFollowed = false;

  constructor(gate: GateClient, build: GateBuild) {
    this.#gate = gate;
    this.#build = build;
  }

  /**
   * What its agent says, until it has ended; the line is open once this resolves.
   * @throws GateRefusal; GearmanError, also while the events are read: the line is lost
   */
  async follow(onQueue: (queue: JsonObject) => void): Promise<AsyncGenerator<JobEvent>> {
    this.#isFollowed = true;
    return this.#events(await this.#open(), onQueue);
  }

  async *#events(line: LeaseSocket, onQueue: (queue: JsonObject) => void): AsyncGenerator<JobEvent> {
    try {
      for await (const { data, queue, ended } of line.messages()) {
        if (isObject(queue)) onQueue(queue);
        if (isObject(data)) yield dataEvent(data);
        if (isObject(ended)) return yield dataEvent(ended);
      }
    } finally {
      this.#isFollowed = false;
    }
  }

  /** To the functions of the agent that has the lease, by the name that they have at a job server. */
  async call(name: string, argument: Uint8Array): Promise<Buffer> {
    const line = await this.#open();
    return await line.call(name.slice(0, name.indexOf(":")), argument);
  }

  #open(): Promise<LeaseSocket> {
    this.#line ??= this.#connect();
    return this.#line;
  }

  #connect(): Promise<LeaseSocket> {
    const forget = () => {
      if (this.#line === line) this.#line = undefined;
    };
    const line = (async () => {
      if (this.#over.signal.aborted) throw new GearmanError("CLOSED", "the lease's line was closed");
      try {
        const socket = await this.#gate.openLease(this.#build);
        socket.on("close", forget);
        return new LeaseSocket(socket, this.#gate.url, this.#isFollowed);
      } catch (error) {
        throw asPassing(error);
      }
    })();
    line.catch(forget);
    return line;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.abort();
    const line = await this.#line?.catch(() => undefined);
    line?.close();
  }
}

/** The gate is only busy, or away. */
function asPassing(error: unknown): unknown {
  const isPassing = error instanceof GateRefusal && [429, 503].includes(error.status);
  return isPassing ? new GearmanError("UNREACHABLE", error.message, { cause: error }) : error;
}

class LeaseSocket {
  readonly #socket: WebSocket;
  readonly #url: string;
  readonly #changed = new Condition();
  readonly #waiting = new Map<number, (answer: Buffer | undefined) => void>();
  #messages: JsonObject[] = [];
  #isRead: boolean;
  #calls = 0;
  #idle: NodeJS.Timeout | undefined;

  /** @param isRead whether messages() is going to be read */
  constructor(socket: WebSocket, url: string, isRead: boolean) {
    this.#socket = socket;
    this.#url = url;
    this.#isRead = isRead;
    this.#heard();
    socket.on("ping", () => this.#heard());
    socket.on("message", (message) => this.#take(message as Buffer));
    socket.on("error", () => {});
    socket.resume();
    socket.on("close", () => {
      clearTimeout(this.#idle);
      for (const settle of this.#waiting.values()) settle(undefined);
      this.#changed.wake();
    });
  }

  get isOpen(): boolean {
    return this.#socket.readyState === this.#socket.OPEN;
  }

  get lost(): GearmanError {
    return new GearmanError("CLOSED", `the gate ${this.#url} ended the connection`);
  }

  /** All but answers, for one reader. @throws GearmanError when the line is lost */
  async *messages(): AsyncGenerator<JsonObject> {
    try {
      for (;;) {
        await this.#changed.until(() => this.#messages.length > 0 || !this.isOpen);
        if (this.#messages.length === 0) throw this.lost;
        yield* this.#messages.splice(0);
      }
    } finally {
      this.#isRead = false;
      this.#messages = [];
    }
  }

  /** @throws GearmanError */
  async call(name: string, argument: Uint8Array): Promise<Buffer> {
    const number = this.#calls++;
    const settled = Promise.withResolvers<Buffer | undefined>();
    const timeoutMs = name === "type" ? answerTimeoutsMs.type : answerTimeoutsMs.other;
    const timer = setTimeout(() => settled.resolve(undefined), timeoutMs);
    this.#waiting.set(number, settled.resolve);
    try {
      if (!this.isOpen) throw this.lost;
      this.#socket.send(formatTunnel({ call: number, function: name }, argument), { binary: true });
      const answer = await settled.promise;
      if (answer) return answer;
      if (!this.isOpen) throw this.lost;
      throw new GearmanError("TIMEOUT", `${name} gave no answer within ${timeoutMs / 1000} s`);
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(number);
    }
  }

  close(): void {
    this.#socket.close();
    clearTimeout(this.#idle);
  }

  #take(message: Buffer): void {
    this.#heard();
    try {
      const { object, bytes } = parseTunnel(message);
      if (isCount(object.answer)) this.#waiting.get(object.answer)?.(bytes);
      else if (this.#isRead) this.#messages.push(object);
      this.#changed.wake();
    } catch {
      // No gate of ours.
      this.#socket.terminate();
    }
  }

  #heard(): void {
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => this.#socket.terminate(), idleTimeoutMs);
  }
}
