/** A lease's serial line: what its agent says goes to the holder, and what the holder has signed goes to the agent (tunnel.ts). */
import { setTimeout as delay } from "node:timers/promises";
import type { RawData, WebSocket } from "ws";
import { ManagerCalls } from "#/client/calls.ts";
import { consoleFunction, parseConsoleRequest } from "#/exchange/console.ts";
import { ExchangeError } from "#/exchange/errors.ts";
import { parseFetch, parseFetched } from "#/exchange/fetch.ts";
import { fetchFunction, sendFunction } from "#/exchange/functions.ts";
import { errorAnswer, isCount, type JsonObject, parseObject } from "#/exchange/message.ts";
import { parsePiece } from "#/exchange/send.ts";
import { formatTunnel, parseTunnel, type TunnelFunction, tunnelFunctions } from "#/exchange/tunnel.ts";
import { formatTyped, parseBurst, parseTyped, parseTyping, typeFunction } from "#/exchange/typing.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { GearmanError } from "#/gearman/wire/errors.ts";
import { reason } from "#/lib/errors.ts";
import type { BuildRun } from "./build-run.ts";
import type { Lab } from "./lab.ts";
import type { GateRecord } from "./store.ts";

export interface LeaseSocketOptions {
  readonly record: GateRecord;
  /** Absent: it had ended before. */
  readonly run?: BuildRun;
  readonly server: ServerAddress;
  readonly lab: Lab;
  /** @returns whether the holder may call now */
  readonly take: () => boolean;
  /** The holder wants the board for longer. */
  readonly extend: (byMs: number) => void;
}

const firstLookMs = 2000;
const queueIntervalMs = 5000;
const answerTimeoutMs = 4000;
/** The holder waits for each answer, but for one that reads while another types. */
const maxCalls = 8;
/** A holder that falls behind misses output, and sees by the offsets how much. */
const maxBehindBytes = 1024 * 1024;
const maxUnreadBytes = 4 * maxBehindBytes;
/** For the last calls, once it has ended. */
const lastCallsMs = 30_000;
const codes = { ended: 1000, tooMuch: 1008, lost: 1013 };

/** Resolves when the socket is closed. */
export async function serveLease(socket: WebSocket, options: LeaseSocketOptions): Promise<void> {
  await using lease = new LeaseSocket(socket, options);
  await lease.run();
}

class LeaseSocket implements AsyncDisposable {
  readonly #socket: WebSocket;
  readonly #options: LeaseSocketOptions;
  readonly #calls: Readonly<Record<TunnelFunction, ManagerCalls>>;
  readonly #closed = new AbortController();
  #open = 0;

  constructor(socket: WebSocket, options: LeaseSocketOptions) {
    const { server } = options;
    const reading = new ManagerCalls(server);
    this.#socket = socket;
    this.#options = options;
    // What is typed doesn't wait for what is read.
    this.#calls = {
      type: new ManagerCalls(server, answerTimeoutMs),
      console: reading,
      send: reading,
      fetch: reading,
    };
    socket.on("close", () => this.#closed.abort());
    socket.on("message", (message, isBinary) => void this.#take(message, isBinary));
  }

  async run(): Promise<void> {
    const { run, record } = this.#options;
    using _watching = run?.watch();
    using _following = run?.lease?.follow((data) => this.#say(data));
    const { signal } = this.#closed;
    if (run) {
      void this.#watchQueue();
      let hasStreamed = false;
      const isLost = () => {
        const { isStreaming } = run;
        hasStreamed ||= isStreaming;
        return hasStreamed && !isStreaming && record.facts !== undefined;
      };
      await run.changed.until(() => record.ended !== undefined || isLost(), signal).catch(() => {});
      // The holder reads the board's output by calls from now on.
      if (record.ended === undefined) this.#socket.close(codes.lost);
    }
    if (record.ended !== undefined) {
      const { result, reason: why, cause } = record;
      this.#send({ ended: { result, reason: why, cause } });
      const timer = setTimeout(() => this.#socket.close(codes.ended), lastCallsMs);
      signal.addEventListener("abort", () => clearTimeout(timer));
    }
    await new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
  }

  /** Never rejects. */
  async #watchQueue(): Promise<void> {
    const { record, lab, server } = this.#options;
    const { signal } = this.#closed;
    let said = "";
    for (let waitMs = firstLookMs; !signal.aborted; waitMs = queueIntervalMs) {
      await delay(waitMs, undefined, { signal }).catch(() => {});
      const queue = await lab.queueOf(server, record.function);
      if (record.facts || record.ended !== undefined || signal.aborted) return;
      if (queue && JSON.stringify(queue) !== said) this.#send({ queue });
      said = JSON.stringify(queue);
    }
  }

  #say(data: JsonObject): void {
    const { bufferedAmount } = this.#socket;
    if (bufferedAmount > maxUnreadBytes) this.#socket.terminate();
    else if (data.serial === undefined || bufferedAmount < maxBehindBytes) this.#send({ data });
  }

  #send(object: JsonObject, bytes?: Uint8Array): void {
    this.#socket.send(formatTunnel(object, bytes), { binary: true });
  }

  /** Never rejects. */
  async #take(message: RawData, isBinary: boolean): Promise<void> {
    try {
      if (!isBinary || !Buffer.isBuffer(message)) throw new ExchangeError("malformed", "text");
      const { object, bytes } = parseTunnel(message);
      const { call, function: name } = object;
      if (!isCount(call) || !isTunnelFunction(name)) throw new ExchangeError("malformed", "no call");
      if (!this.#options.take() || this.#open >= maxCalls) return this.#socket.close(codes.tooMuch);
      this.#open += 1;
      const answer = await this.#answer(name, bytes).finally(() => (this.#open -= 1));
      if (!this.#closed.signal.aborted) this.#send({ answer: call }, answer);
    } catch {
      // What isn't understood can't be answered.
      this.#socket.terminate();
    }
  }

  /** A refusal is an answer, too. */
  async #answer(name: TunnelFunction, argument: Buffer): Promise<Buffer> {
    try {
      return await this.#call(name, argument);
    } catch (error) {
      if (error instanceof ExchangeError) return errorAnswer(error);
      if (!(error instanceof GearmanError)) throw error;
      return errorAnswer(new ExchangeError("unavailable", `the gate can't reach the box: ${reason(error)}`));
    }
  }

  /** Only what is about this lease gets further. Whether the holder has signed it, the agent sees. */
  async #call(name: TunnelFunction, argument: Buffer): Promise<Buffer> {
    const { record, run } = this.#options;
    const { facts, uuid } = record;
    if (!facts) throw new ExchangeError("unavailable", "the lease waits for a board");
    const { manager, number } = facts;
    const isOwn = (found: boolean) => {
      if (!found) throw new ExchangeError("unsigned", "it isn't about this lease");
    };
    switch (name) {
      case "type": {
        const typing = parseTyping(argument);
        isOwn(typing.number === number);
        if (typing.operations.length > 0)
          for (const operation of parseBurst(typing.operations).operations)
            if (operation.op === "extend") this.#options.extend(operation.seconds * 1000);
        return this.#within(await this.#calls.type.call(typeFunction(manager), argument));
      }
      case "console": {
        const { holder } = parseConsoleRequest(argument);
        isOwn(holder?.number === number);
        return await this.#calls.console.call(consoleFunction(manager), argument);
      }
      case "send":
        isOwn(parsePiece(argument).uuid === uuid);
        return await this.#calls.send.call(sendFunction(manager), argument);
      case "fetch": {
        const { build, path, offset } = parseFetch(argument);
        isOwn("uuid" in build ? build.uuid === uuid : build.name === facts.name && build.number === number);
        const answer = await this.#calls.fetch.call(fetchFunction(manager), argument);
        if (path === "record" && offset === 0) learnFrom(answer, run);
        return answer;
      }
    }
  }

  /** The time that is left, where the gate leaves less than the agent. */
  #within(answer: Buffer): Buffer {
    const { lease } = this.#options.run ?? {};
    if (!lease) return answer;
    try {
      const typed = parseTyped(answer);
      return typed.left === undefined ? answer : formatTyped({ ...typed, left: lease.leftOf(typed.left) });
    } catch {
      // The agent's refusal.
      return answer;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed.abort();
    this.#socket.terminate();
    await this.#calls.type[Symbol.asyncDispose]();
    await this.#calls.fetch[Symbol.asyncDispose]();
  }
}

/** A record that is longer than one piece says nothing here. */
function learnFrom(answer: Buffer, run: BuildRun | undefined): void {
  try {
    const { bytes } = parseFetched(answer);
    run?.lease?.learn(parseObject(bytes, bytes.length));
  } catch {
    // It is the holder's to read.
  }
}

function isTunnelFunction(name: unknown): name is TunnelFunction {
  return tunnelFunctions.includes(name as TunnelFunction);
}
