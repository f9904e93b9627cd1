/** The control socket's routes for devices: their state, their consoles, files to and from them. */
import { createWriteStream } from "node:fs";
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { SinkFile, SourceFile } from "#/builds/workspace/files.ts";
import { ControlError } from "#/control/errors.ts";
import type { ControlAnswer, ControlRequest, ControlRoutes } from "#/control/server.ts";
import type { Console } from "#/devices/consoles/console.ts";
import type { Dialogue } from "#/devices/consoles/dialogue.ts";
import type { Device } from "#/devices/device.ts";
import type { PortWriter } from "#/devices/port/writer.ts";
import type { Agent } from "./agent.ts";
import { transferFolder } from "./nodes/lease/files.ts";
import { servePort } from "./served-port.ts";
import { deviceStatuses } from "./status.ts";

/** Of the latest output, shown before the live console. */
const maxRecentBytes = 4096;
/** How long a file waits for the board to be free. */
const reserveTimeoutMs = 60_000;

export function deviceRoutes(agent: Agent): ControlRoutes {
  return {
    "GET /devices": async () => ({ json: deviceStatuses(agent) }),
    "GET /devices/console": async (request) => ({ bytes: watch(named(agent, request), request.signal) }),
    "POST /devices/console": async (request) => write(named(agent, request), request),
    "POST /devices/port": async (request) => {
      const device = named(agent, request);
      return servePort(device, agent.leases.find(device.name), request);
    },
    "POST /devices/put": async (request) => ({ json: await put(agent, request) }),
    "GET /devices/get": async (request) => ({ bytes: get(agent, request) }),
  };
}

function named(agent: Agent, { query }: ControlRequest): Device {
  const name = query.get("device") ?? "";
  const device = agent.devices.find(name);
  if (device) return device;
  const known = agent.devices.all.map((device) => device.name).join(", ") || "none";
  throw new ControlError("NOT_FOUND", `this box has no device ${name}; its devices: ${known}`);
}

async function* watch({ port }: Device, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  for await (const { bytes } of port.follow(
    Math.max(port.ring.start, port.ring.end - maxRecentBytes),
    signal,
  ))
    yield bytes;
}

/** Bytes in both directions, until the writer disconnects or the device is resumed. */
async function write(device: Device, { bytes, signal }: ControlRequest): Promise<ControlAnswer> {
  if (!bytes) throw new ControlError("REFUSED", "the request has no bytes to write");
  const writer = refusing(() => device.openWriter("labgear console --write"));
  signal.addEventListener("abort", () => writer[Symbol.dispose](), { once: true });
  const gone = AbortSignal.any([signal, writer.lost, device.resumed]);
  void pump(bytes, writer);
  return { bytes: watch(device, gone) };
}

async function pump(bytes: AsyncIterable<Buffer>, writer: PortWriter): Promise<void> {
  try {
    for await (const chunk of bytes) await writer.write(chunk);
  } catch {
    // The writer or the port is gone: the other direction ends too, and says so.
  }
}

function refusing<T>(act: () => T): T {
  try {
    return act();
  } catch (error) {
    throw new ControlError("REFUSED", (error as Error).message, { cause: error });
  }
}

async function put(agent: Agent, request: ControlRequest): Promise<{ bytes: number }> {
  const device = named(agent, request);
  const to = request.query.get("to") ?? "";
  const { bytes } = request;
  if (!bytes || to === "")
    throw new ControlError("REFUSED", "the request needs a file, and its name on the board (to)");
  await using spool = await openSpool(agent);
  await pipeline(Readable.from(bytes), createWriteStream(join(spool.folder, "file")));
  const source = await SourceFile.open(spool.folder, "file");
  if (typeof source === "string") throw new ControlError("REFUSED", source);
  await using file = source;
  await transfer(device, request.signal, (console) => console.put?.(file, to));
  return { bytes: file.size };
}

async function* get(agent: Agent, request: ControlRequest): AsyncGenerator<Uint8Array> {
  const device = named(agent, request);
  const from = request.query.get("from") ?? "";
  await using spool = await openSpool(agent);
  const sink = await SinkFile.open(spool.folder, "file");
  if (typeof sink === "string") throw new ControlError("REFUSED", sink);
  using file = sink;
  await transfer(device, request.signal, (console) => console.get?.(from, file));
  yield await readFile(join(spool.folder, "file"));
}

/** One file, by hand: the board stays as it is afterwards. */
async function transfer(
  device: Device,
  signal: AbortSignal,
  dialogueFor: (console: Console) => Dialogue<void> | undefined,
): Promise<void> {
  const waiting = AbortSignal.any([signal, AbortSignal.timeout(reserveTimeoutMs)]);
  try {
    const reservation = await device.reserve("labgear console, by hand", undefined, waiting);
    using _ = { [Symbol.dispose]: () => reservation.release({ kind: "by-hand" }) };
    const dialogue = dialogueFor(reservation.console);
    if (!dialogue) throw new TypeError(`a ${reservation.console.kind} console can't transfer files`);
    await reservation.run(reservation.console.enter(device.config.bootTimeoutMs), { signal });
    await reservation.run(dialogue, { signal });
  } catch (error) {
    throw new ControlError("REFUSED", (error as Error).message, { cause: error });
  }
}

async function openSpool({ stateDir }: Agent): Promise<AsyncDisposable & { readonly folder: string }> {
  const base = transferFolder(stateDir);
  await mkdir(base, { recursive: true, mode: 0o700 });
  const folder = await mkdtemp(join(base, "transfer-"));
  return { folder, [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }) };
}
