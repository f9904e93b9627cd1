/** A client of a gate: the API of gate/openapi.ts over HTTPS. */
import { type IncomingMessage, type OutgoingHttpHeaders, request as requestHttp } from "node:http";
import { request as requestHttps } from "node:https";
import { pipeline } from "node:stream/promises";
import { createSecureContext, getCACertificates, type SecureContext } from "node:tls";
import { WebSocket } from "ws";
import { ExchangeError } from "#/exchange/errors.ts";
import type { Fetched } from "#/exchange/fetch.ts";
import { isCount, isDigest, isLine, isObject, type JsonObject } from "#/exchange/message.ts";
import { maxTunnelBytes, tunnelProtocol } from "#/exchange/tunnel.ts";
import { GearmanError } from "#/gearman/wire/errors.ts";
import { CodedError } from "#/lib/errors.ts";
import { version } from "#/lib/version.ts";

/** The gate says no; the code is its own word. */
export class GateRefusal extends CodedError<string> {
  override readonly name = "GateRefusal";
  readonly status: number;
  /** Where an input goes on. */
  readonly offset: number | undefined;
  /** When it may be tried again, as the gate says. */
  readonly retryAfterMs: number | undefined;

  constructor(
    code: string,
    message: string,
    more: { readonly status: number; readonly offset?: number; readonly retryAfterMs?: number },
  ) {
    super(code, message);
    this.status = more.status;
    this.offset = more.offset;
    this.retryAfterMs = more.retryAfterMs;
  }
}

export interface GateClientOptions {
  readonly url: URL;
  /** The CA of its certificate (PEM); absent: those that Node and the system know. */
  readonly ca?: Buffer;
  /** A token for the gate, asked for when one is needed. */
  readonly token: () => Promise<string>;
}

/** A build of ours behind the gate. */
export interface GateBuild {
  readonly uuid: string;
  readonly key: string;
}

export interface GateEvent {
  readonly event: string;
  readonly id: string | undefined;
  readonly data: JsonObject;
}

export interface QueueEntry {
  readonly job: string;
  readonly node?: string;
  readonly queued: number;
  readonly running: number;
  readonly workers: number;
}

/** Without anything: the gate sends something every 15 s. */
const idleTimeoutMs = 45_000;
/** Of what a gate, or a proxy, asks for. */
const maxRetryAfterS = 300;
const connectTimeoutMs = 20_000;
const maxAnswerBytes = 4 * 1024 * 1024;
/** Of one event. */
const maxEventLength = 4 * 1024 * 1024;

export class GateClient {
  readonly #options: GateClientOptions;
  #trust: { readonly secureContext: SecureContext } | undefined;

  constructor(options: GateClientOptions) {
    this.#options = options;
  }

  get url(): string {
    return this.#options.url.origin;
  }

  /** @throws GateRefusal; GearmanError when the gate can't be reached */
  async submit(build: JsonObject, idempotencyKey: string): Promise<GateBuild> {
    const text = JSON.stringify(build);
    const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(text) };
    const response = await this.#send("POST", "/v1/builds", {
      headers: { ...headers, "idempotency-key": idempotencyKey },
      bearer: await this.#options.token(),
      body: text,
    });
    const { uuid, key } = await readJson(response);
    if (typeof uuid === "string" && /^[0-9a-f]{32}$/.test(uuid) && isLine(key, 255)) return { uuid, key };
    throw new GearmanError("GARBAGE", `${this.url} is no gate of labgear`);
  }

  async queue(): Promise<QueueEntry[]> {
    const response = await this.#send("GET", "/v1/queue", { bearer: await this.#options.token() });
    const { queue } = await readJson(response);
    return Array.isArray(queue) ? (queue.filter(isObject) as unknown as QueueEntry[]) : [];
  }

  /** Of the boards that the caller may lease. */
  async leases(): Promise<JsonObject[]> {
    const response = await this.#send("GET", "/v1/leases", { bearer: await this.#options.token() });
    const { leases } = await readJson(response);
    return Array.isArray(leases) ? leases.filter(isObject) : [];
  }

  /** Stops it, or takes it out of the queue. @returns what is known of it */
  async stop({ uuid, key }: GateBuild): Promise<JsonObject> {
    return await readJson(await this.#send("DELETE", `/v1/builds/${uuid}`, { bearer: key }));
  }

  /** @param lastId of the last event that came */
  async *events({ uuid, key }: GateBuild, lastId: string | undefined): AsyncGenerator<GateEvent> {
    const headers = lastId === undefined ? {} : { "last-event-id": lastId };
    const response = await this.#send("GET", `/v1/builds/${uuid}/events`, { bearer: key, headers });
    let text = "";
    try {
      for await (const chunk of response.setEncoding("utf8")) {
        text += chunk;
        for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
          const found = parseEvent(text.slice(0, end));
          text = text.slice(end + 2);
          if (found) yield found;
        }
        if (text.length > maxEventLength)
          throw new GearmanError("TOO_LARGE", `${this.url} sends an event without an end`);
      }
    } catch (error) {
      throw this.#lost(error);
    } finally {
      response.destroy();
    }
    throw new GearmanError("CLOSED", `${this.url} ended the connection`);
  }

  /** A lease's line, paused. @throws GateRefusal, GearmanError */
  async openLease({ uuid, key }: GateBuild): Promise<WebSocket> {
    const address = this.#address(`/v1/builds/${uuid}/lease`);
    address.protocol = address.protocol.replace("http", "ws");
    const socket = new WebSocket(address, tunnelProtocol, {
      ...{ handshakeTimeout: connectTimeoutMs, perMessageDeflate: false, maxPayload: maxTunnelBytes },
      ...this.#trusted,
      headers: { authorization: `Bearer ${key}`, "user-agent": `labgear/${version}` },
    });
    const opened = Promise.withResolvers<WebSocket>();
    socket.on("open", () => {
      // The gate may have said something already, and nobody listens yet.
      socket.pause();
      opened.resolve(socket);
    });
    socket.on("error", opened.reject);
    socket.on("unexpected-response", async (request, response) => {
      opened.reject(await this.#refusalOf(response));
      request.destroy();
    });
    try {
      return await opened.promise;
    } catch (error) {
      throw this.#lost(error);
    }
  }

  /** One piece of a result. @throws ExchangeError, GearmanError */
  async piece({ uuid, key }: GateBuild, path: string, offset: number, length: number): Promise<Fetched> {
    const encoded = path.split("/").map(encodeURIComponent).join("/");
    const address = `/v1/builds/${uuid}/results/${encoded}?offset=${offset}&length=${length}`;
    try {
      const response = await this.#send("GET", address, { bearer: key });
      const bytes = await readAll(response);
      const { "labgear-size": size, "labgear-end": end, "labgear-sha256": sha256 } = response.headers;
      if (!isCount(Number(size)) || bytes.length > length)
        throw new ExchangeError("malformed", `${this.url} answers with something else`);
      return { size: Number(size), offset, end: end === "true", ...(isDigest(sha256) && { sha256 }), bytes };
    } catch (error) {
      if (!(error instanceof GateRefusal)) throw error;
      const code =
        error.code === "not-found"
          ? "not-found"
          : error.status === 429 || error.status === 503
            ? "unavailable"
            : "malformed";
      throw new ExchangeError(code, error.message);
    }
  }

  /** @returns how much of the input is there @throws GateRefusal, GearmanError */
  async send(
    { uuid, key }: GateBuild,
    input: {
      readonly name: string;
      readonly offset: number;
      readonly length: number;
      readonly content: AsyncIterable<Buffer>;
    },
    signal: AbortSignal,
  ): Promise<number> {
    const { name, offset, length, content } = input;
    const response = await this.#send("PUT", `/v1/builds/${uuid}/inputs/${name}?offset=${offset}`, {
      bearer: key,
      // What is refused isn't sent.
      headers: {
        "content-type": "application/octet-stream",
        "content-length": length,
        expect: "100-continue",
      },
      body: content,
      signal,
    });
    const { received } = await readJson(response);
    if (isCount(received)) return received;
    throw new GearmanError("GARBAGE", `${this.url} doesn't say what it received`);
  }

  /** @returns the answer, if it is a good one */
  async #send(
    method: string,
    path: string,
    options: {
      readonly bearer: string;
      readonly headers?: OutgoingHttpHeaders;
      readonly body?: string | AsyncIterable<Buffer>;
      readonly signal?: AbortSignal;
    },
  ): Promise<IncomingMessage> {
    const { bearer, headers = {}, body, signal } = options;
    const { url } = this.#options;
    const send = url.protocol === "https:" ? requestHttps : requestHttp;
    const answer = Promise.withResolvers<IncomingMessage>();
    const request = send(this.#address(path), {
      ...{ method, timeout: idleTimeoutMs, ...this.#trusted, ...(signal && { signal }) },
      headers: { authorization: `Bearer ${bearer}`, "user-agent": `labgear/${version}`, ...headers },
    });
    request.on("response", answer.resolve);
    request.on("error", answer.reject);
    request.on("timeout", () => request.destroy(new Error("it says nothing")));
    if (typeof body === "object") {
      request.flushHeaders();
      request.once("continue", () => void pipeline(body, request).catch(answer.reject));
    } else request.end(body);
    let response: IncomingMessage;
    try {
      response = await answer.promise;
    } catch (error) {
      throw this.#lost(error);
    }
    if (response.statusCode !== undefined && response.statusCode < 300) return response;
    const refusal = await this.#refusalOf(response);
    request.destroy();
    throw refusal;
  }

  #address(path: string): URL {
    const { url } = this.#options;
    return new URL(`${url.pathname.replace(/\/$/, "")}${path}`, url);
  }

  /** Made once: it holds all CAs. */
  get #trusted(): { readonly secureContext?: SecureContext } {
    const { url, ca } = this.#options;
    if (url.protocol !== "https:") return {};
    const known = () => [...getCACertificates("default"), ...getCACertificates("system")];
    this.#trust ??= { secureContext: createSecureContext({ ca: ca ?? known() }) };
    return this.#trust;
  }

  #lost(error: unknown): unknown {
    if (error instanceof CodedError) return error;
    const fault = tlsFault(error as NodeJS.ErrnoException);
    return new GearmanError(
      fault === undefined ? "UNREACHABLE" : "TLS",
      `the gate ${this.url} can't be reached: ${fault ?? (error as Error).message}`,
      { cause: error },
    );
  }

  /** @returns a GearmanError while a proxy can't reach the gate */
  async #refusalOf(response: IncomingMessage): Promise<GateRefusal | GearmanError> {
    const { statusCode = 0 } = response;
    const { error, message, offset } = await readJson(response).catch((): JsonObject => ({}));
    const seconds = Number(response.headers["retry-after"]);
    const more = {
      status: statusCode,
      ...(isCount(offset) && { offset }),
      ...(isCount(seconds) && seconds > 0 && { retryAfterMs: Math.min(seconds, maxRetryAfterS) * 1000 }),
    };
    if (typeof error === "string") {
      const text = typeof message === "string" ? message : `it answers with ${statusCode}`;
      return new GateRefusal(error, `the gate refused: ${text}`, more);
    }
    const text = `${this.url} answers with ${statusCode}`;
    if ([502, 503, 504].includes(statusCode))
      return new GearmanError("UNREACHABLE", `${text}: the proxy there can't reach the gate`);
    const hint =
      statusCode === 413
        ? "a proxy there takes no file of this size (nginx: client_max_body_size 0)"
        : "that is no gate of labgear, or a proxy that doesn't let this through";
    return new GateRefusal("foreign", `${text}: ${hint}`, more);
  }
}

/** What stays wrong until somebody mends it, by the codes of OpenSSL. */
function tlsFault({ code = "" }: NodeJS.ErrnoException): string | undefined {
  if (code === "CERT_HAS_EXPIRED") return "its certificate has expired, or this machine's clock is wrong";
  if (code === "CERT_NOT_YET_VALID")
    return "its certificate isn't valid yet, or this machine's clock is wrong";
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") return "its certificate is for another name";
  if (/SELF_SIGNED_CERT|^UNABLE_TO_|^CERT_(UNTRUSTED|SIGNATURE_FAILURE)/.test(code))
    return "its certificate isn't trusted here: name its CA, --tls-ca FILE";
  if (code === "EPROTO" || code.startsWith("ERR_SSL_"))
    return "its answer isn't TLS that this machine understands: is it the right port?";
  return undefined;
}

async function readJson(response: IncomingMessage): Promise<JsonObject> {
  const value: unknown = JSON.parse((await readAll(response)).toString());
  if (isObject(value)) return value;
  throw new GearmanError("GARBAGE", "the gate answers with something else than an object");
}

async function readAll(response: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response) {
    size += chunk.length;
    if (size > maxAnswerBytes) throw new GearmanError("TOO_LARGE", "the gate's answer is too large");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** @returns undefined for a comment */
function parseEvent(block: string): GateEvent | undefined {
  const field = (name: string) =>
    block
      .split("\n")
      .find((line) => line.startsWith(`${name}: `))
      ?.slice(name.length + 2);
  const event = field("event");
  if (event === undefined) return undefined;
  const data: unknown = JSON.parse(field("data") ?? "{}");
  return { event, id: field("id"), data: isObject(data) ? data : {} };
}
