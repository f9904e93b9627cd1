/** What a build has left at its agent, fetched by the gate with the build's key, and passed on. */
import { ManagerCalls } from "#/client/calls.ts";
import { Signer } from "#/client/signer.ts";
import { ExchangeError } from "#/exchange/errors.ts";
import { type Fetched, formatFetch, parseFetched } from "#/exchange/fetch.ts";
import { fetchFunction } from "#/exchange/functions.ts";
import { BuildKey } from "#/exchange/key.ts";
import { isLine, maxPieceBytes } from "#/exchange/message.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { GearmanError } from "#/gearman/wire/errors.ts";
import { Refusal } from "./errors.ts";
import { type Exchange, write } from "./exchange.ts";
import type { GateRecord } from "./store.ts";

/** Of what is read into memory: records. */
const maxTextBytes = 8 * 1024 * 1024;

export class Results implements AsyncDisposable {
  readonly #calls: ManagerCalls;
  readonly #signer: Signer;
  readonly #uuid: string;

  constructor(server: ServerAddress, { key, uuid }: Pick<GateRecord, "key" | "uuid">) {
    this.#calls = new ManagerCalls(server);
    this.#signer = new Signer(BuildKey.import(key));
    this.#uuid = uuid;
  }

  /** @throws ExchangeError, GearmanError */
  async piece(manager: string, path: string, offset: number, length = maxPieceBytes): Promise<Fetched> {
    const build = { uuid: this.#uuid };
    return await this.#signer.signed(async (time) => {
      const request = formatFetch({ build, path, offset, length }, { key: this.#signer.key, time });
      const fetched = parseFetched(await this.#calls.call(fetchFunction(manager), request));
      if (fetched.offset !== offset || fetched.bytes.length > length)
        throw new ExchangeError("malformed", `${manager} answers with another part of ${path}`);
      return fetched;
    });
  }

  /** A small whole. */
  async text(manager: string, path: string): Promise<Buffer> {
    const pieces: Buffer[] = [];
    for (let offset = 0; ; ) {
      const { bytes, size, end } = await this.piece(manager, path, offset);
      if (size > maxTextBytes) throw new ExchangeError("malformed", `${path} is too large`);
      pieces.push(bytes);
      offset += bytes.length;
      if (end || bytes.length === 0) return Buffer.concat(pieces);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#calls[Symbol.asyncDispose]();
  }
}

/** A part of a result, or without an offset the whole. */
interface Asked {
  readonly manager: string;
  readonly path: string;
  readonly offset: number | undefined;
  readonly length: number | undefined;
}

/** @throws Refusal; after the answer has begun, what cut it off */
export async function passResult(
  exchange: Exchange,
  record: GateRecord,
  server: ServerAddress,
  asked: Asked,
): Promise<void> {
  await using results = new Results(server, record);
  try {
    await sendResult(exchange, results, asked);
  } catch (error) {
    if (exchange.response.headersSent) throw error;
    if (error instanceof ExchangeError) throw refusalOf(error);
    if (error instanceof GearmanError)
      throw new Refusal("unavailable", "the agent that has the build can't be reached now", {
        why: error.message,
      });
    throw error;
  }
}

/** With an offset one piece, as fetch: has it; without one the whole. */
async function sendResult(exchange: Exchange, results: Results, asked: Asked): Promise<void> {
  const { manager, path, offset, length = maxPieceBytes } = asked;
  if (length < 1 || length > maxPieceBytes) throw new Refusal("malformed", `length is 1 to ${maxPieceBytes}`);
  const first = await results.piece(
    manager,
    path,
    offset ?? 0,
    offset === undefined ? maxPieceBytes : length,
  );
  const { size, sha256, end } = first;
  const headers = {
    "content-type": typeOf(path),
    "content-disposition": "attachment",
    "labgear-size": size,
    "labgear-end": String(end),
    ...(sha256 !== undefined && { "labgear-sha256": sha256 }),
  };
  const { response } = exchange;
  if (offset !== undefined) {
    response.writeHead(200, { ...headers, "content-length": first.bytes.length }).end(first.bytes);
    return;
  }
  response.writeHead(200, { ...headers, "content-length": size });
  // Not to its end: what a running build writes goes on growing.
  for (let at = 0, { bytes } = first; ; ) {
    const part = bytes.subarray(0, size - at);
    await write(exchange, part);
    at += part.length;
    if (at >= size) break;
    // It has become shorter, and the client must not take what there is for the whole.
    if (part.length === 0) return void response.destroy();
    ({ bytes } = await results.piece(manager, path, at));
  }
  response.end();
}

function typeOf(path: string): string {
  if (["record", "tests", "artifacts"].includes(path)) return "application/json";
  if (path === "junit") return "application/xml";
  return path === "console" ? "text/plain; charset=utf-8" : "application/octet-stream";
}

const knownPaths = new Set(["record", "console", "tests", "junit", "serial", "artifacts"]);

/** @throws Refusal not-found for anything that isn't a result */
export function decodePath(encoded: string): string {
  const absent = new Refusal("not-found", "the build has no such result");
  let path: string;
  try {
    path = decodeURIComponent(encoded);
  } catch {
    throw absent;
  }
  const [, artifact] = /^artifacts\/(.+)$/s.exec(path) ?? [];
  const isArtifact =
    artifact !== undefined &&
    isLine(path, 4096) &&
    artifact.split("/").every((part) => part !== "" && part !== "." && part !== "..");
  if (!knownPaths.has(path) && !isArtifact) throw absent;
  return path;
}

/** An agent's refusal as the gate's. */
export function refusalOf(error: ExchangeError): Refusal {
  switch (error.code) {
    case "not-found":
    case "unknown-build":
    case "unknown-input":
      return new Refusal("not-found", error.message);
    case "not-wanted":
      return new Refusal("conflict", error.message);
    case "offset":
      return new Refusal("conflict", error.message, { facts: { offset: error.facts.offset ?? 0 } });
    case "too-large":
      return new Refusal("too-large", error.message);
    default:
      return new Refusal("unavailable", "the lab can't do it now", { why: error.message });
  }
}
