/** A client's side of `send:`, `fetch:` and `info:` for tests: our messages over our Gearman client. */
import { createHash, randomUUID } from "node:crypto";
import { type Fetched, formatFetch, parseFetched } from "#/exchange/fetch.ts";
import { fetchFunction, infoFunction, sendFunction } from "#/exchange/functions.ts";
import { type AgentInfo, parseInfo } from "#/exchange/info.ts";
import { type AnnouncedInput, formatInputs, parseWants } from "#/exchange/inputs.ts";
import { BuildKey, type BuildSelector } from "#/exchange/key.ts";
import { maxPieceBytes } from "#/exchange/message.ts";
import { formatPiece, formatSignOfLife, parseReceived } from "#/exchange/send.ts";
import { Client } from "#/gearman/client/client.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { object, submit, type Watched } from "./clients.ts";

export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

export function announce(name: string, bytes: Uint8Array): AnnouncedInput {
  return { name, size: bytes.length, sha256: sha256(bytes) };
}

/** Calls a function in the foreground; the answer of a WORK_COMPLETE. */
export async function call(server: ServerAddress, name: string, data: Uint8Array): Promise<Buffer> {
  await using client = await Client.connect(server, { signal: AbortSignal.timeout(60_000) });
  const submission = await client.submit({ function: name, unique: randomUUID(), data });
  for await (const event of submission) {
    if (event.type === "complete") return Buffer.from(event.data);
    if (event.type === "fail") throw new Error(`${name} ended with WORK_FAIL`);
  }
  throw new Error(`${name} ended without an answer`);
}

export interface SentBuild extends Watched {
  readonly uuid: string;
  readonly key: BuildKey;
}

/** Submits a build that announces inputs; what it wants comes in its data. */
export async function submitWith(
  port: number,
  name: string,
  inputs: readonly AnnouncedInput[],
  parameters: Readonly<Record<string, string>> = {},
): Promise<SentBuild> {
  const key = BuildKey.generate();
  const uuid = randomUUID();
  const LABGEAR_INPUTS = formatInputs(inputs);
  const data = JSON.stringify({ LABGEAR_KEY: key.publicKey, LABGEAR_INPUTS, ...parameters });
  return { ...(await submit(port, { function: name, unique: uuid, data })), uuid, key };
}

/** What the build's newest data wants; undefined: nothing, or it says nothing of it. */
export function wantsOf({ events }: Pick<Watched, "events">) {
  const last = events.filter(({ type }) => type === "data").at(-1);
  return last && parseWants(object(last));
}

/** Sends an input from an offset to its end; the offset that the agent answers last. */
export async function send(
  server: ServerAddress,
  manager: string,
  build: Pick<SentBuild, "uuid" | "key">,
  name: string,
  bytes: Uint8Array,
  { from = 0, time = Date.now() }: { from?: number; time?: number } = {},
): Promise<number> {
  await using client = await Client.connect(server, { signal: AbortSignal.timeout(60_000) });
  let offset = from;
  while (offset < bytes.length) {
    const piece = { uuid: build.uuid, name, offset, bytes: bytes.subarray(offset, offset + maxPieceBytes) };
    const submission = await client.submit({
      function: sendFunction(manager),
      unique: randomUUID(),
      data: formatPiece(build.key, piece, time),
    });
    for await (const event of submission) {
      if (event.type === "complete") offset = parseReceived(event.data);
      if (event.type === "fail") throw new Error("a piece ended with WORK_FAIL");
    }
  }
  return offset;
}

export async function signOfLife(
  server: ServerAddress,
  manager: string,
  { key, uuid }: Pick<SentBuild, "uuid" | "key">,
): Promise<number> {
  return parseReceived(await call(server, sendFunction(manager), formatSignOfLife(key, uuid, Date.now())));
}

export async function fetchRange(
  server: ServerAddress,
  manager: string,
  build: BuildSelector,
  path: string,
  { offset = 0, length = maxPieceBytes, key }: { offset?: number; length?: number; key?: BuildKey } = {},
): Promise<Fetched> {
  const by = key && { key, time: Date.now() };
  return parseFetched(
    await call(server, fetchFunction(manager), formatFetch({ build, path, offset, length }, by)),
  );
}

/** The whole of a result, range by range, and its digest. */
export async function fetchAll(
  server: ServerAddress,
  manager: string,
  build: BuildSelector,
  path: string,
  key?: BuildKey,
): Promise<{ bytes: Buffer; sha256?: string }> {
  const pieces: Buffer[] = [];
  for (let offset = 0; ; ) {
    const range = await fetchRange(server, manager, build, path, { offset, ...(key && { key }) });
    pieces.push(range.bytes);
    offset += range.bytes.length;
    if (range.end || range.bytes.length === 0)
      return { bytes: Buffer.concat(pieces), ...(range.sha256 !== undefined && { sha256: range.sha256 }) };
  }
}

export async function askInfo(server: ServerAddress, manager: string): Promise<AgentInfo> {
  return parseInfo(await call(server, infoFunction(manager), Buffer.alloc(0)));
}
