/**
 * A board's port for a program on this box, while a person has the board. Both directions are lines of JSON: what is done to the port
 * comes as bursts of operations (exchange/typing.ts), and the answer says what a lease's data does (exchange/lease.ts).
 *
 *     {"baud": N}                 first: the speed that the port has
 *     {"done": 0, "error": TEXT}  something can't be done
 *     {"ended": TEXT}             last: why the program has the port no more; absent when the client ended it
 */
import { once } from "node:events";
import { PassThrough } from "node:stream";
import { ControlError } from "#/control/errors.ts";
import { lineOf, linesOf } from "#/control/lines.ts";
import type { ControlAnswer, ControlRequest } from "#/control/server.ts";
import type { Device } from "#/devices/device.ts";
import type { Control } from "#/devices/port/line.ts";
import type { PortWriter } from "#/devices/port/writer.ts";
import { idleLines } from "#/devices/power.ts";
import { maxOperationsBytes, type Operation, parseBurst } from "#/exchange/typing.ts";
import { Condition } from "#/lib/condition.ts";
import { describeLease } from "#/lib/status.ts";
import type { Lease } from "./nodes/lease/lease.ts";
import { reportLines } from "./nodes/lease/line-status.ts";
import { operateLine } from "./nodes/lease/operate.ts";

/** Of what waits for the port. More waits with the client. */
const maxQueued = 256;

interface Held extends Disposable {
  readonly writer: PortWriter;
  /** Aborts when the person has the board no more; with an Error unless it is leased. */
  readonly over: AbortSignal;
  /** What a program has set. */
  readonly changedLines: Set<"dtr" | "rts">;
  /** A lease that is over puts the port back itself. */
  readonly isLeased: boolean;
}

/** @throws ControlError REFUSED */
export function servePort(device: Device, lease: Lease | undefined, request: ControlRequest): ControlAnswer {
  const { bytes, query, signal } = request;
  if (!bytes) throw new ControlError("REFUSED", "the request has no operations");
  const held = lease ? holdLeased(lease, query.get("session")) : holdPaused(device);
  const output = new PassThrough();
  // The client has gone: its request's signal says so.
  output.on("error", () => {});
  void talk(device, held, bytes, output, signal);
  return { bytes: output };
}

function holdLeased(lease: Lease, session: string | null): Held {
  const lent = lease.session === session ? lease.lent : undefined;
  if (!lent) throw new ControlError("REFUSED", `${lease.device} is ${describeLease(lease.status)}`);
  return { ...lent, changedLines: lease.changedLines, isLeased: true, [Symbol.dispose]: () => {} };
}

function holdPaused(device: Device): Held {
  try {
    const writer = device.openWriter("labgear port");
    const over = AbortSignal.any([writer.lost, device.resumed]);
    const dispose = () => writer[Symbol.dispose]();
    return { writer, over, changedLines: new Set(), isLeased: false, [Symbol.dispose]: dispose };
  } catch (cause) {
    throw new ControlError("REFUSED", (cause as Error).message, { cause });
  }
}

/** Until the client ends, or the person has the board no more; then the port is as it was found. Never rejects. */
async function talk(
  { name, port, config }: Device,
  held: Held,
  bytes: AsyncIterable<Buffer>,
  output: PassThrough,
  gone: AbortSignal,
): Promise<void> {
  using _ = held;
  const { writer, over, changedLines, isLeased } = held;
  const ended = new AbortController();
  const signal = AbortSignal.any([over, gone, ended.signal]);
  const say = (value: object) => void output.write(lineOf(value));
  const show = async () => {
    for await (const { bytes, offset } of port.follow(port.ring.end, signal)) {
      const isFree = output.write(lineOf({ serial: Buffer.from(bytes).toString("base64"), offset }));
      if (!isFree) await once(output, "drain", { signal });
    }
  };
  say({ baud: config.port.baud });
  const showing = show().catch(() => {});
  const reporting = reportLines(port, { announceLines: (lines) => say({ lines }) }, signal);
  try {
    await obey(bytes, held, signal, (error) => say({ done: 0, error }));
  } catch (error) {
    const isLeaseOver = isLeased && over.aborted;
    if (!gone.aborted)
      say({ ended: isLeaseOver ? `the lease of ${name} is over` : (error as Error).message });
  }
  ended.abort();
  await Promise.all([showing, reporting]);
  if (!isLeased || !over.aborted) {
    // A line that stays off may hold the board in reset.
    const idle: Control = { dtr: true, rts: true, ...idleLines(config) };
    for (const line of changedLines) await writer.setControl({ [line]: idle[line] }).catch(() => {});
    await port.restoreBaud().catch(() => {});
  }
  output.end();
}

/** Until the client ends. @throws ExchangeError, RangeError it sends something else; the signal's reason */
async function obey(
  bytes: AsyncIterable<Buffer>,
  { writer, changedLines }: Held,
  signal: AbortSignal,
  failed: (error: string) => void,
): Promise<void> {
  let queue: Operation[] = [];
  const changed = new Condition();
  const done = new AbortController();
  const until = AbortSignal.any([signal, done.signal]);
  const read = async () => {
    for await (const line of linesOf(bytes, maxOperationsBytes)) {
      for (const operation of parseBurst(line).operations) {
        if (operation.op === "purge") queue = queue.filter(({ op }) => op !== "write");
        else queue.push(operation);
      }
      changed.wake();
      await changed.until(() => queue.length < maxQueued, until);
    }
  };
  const play = async (): Promise<never> => {
    for (;;) {
      await changed.until(() => queue.length > 0, until);
      const operation = queue.shift();
      changed.wake();
      if (!operation) continue;
      if (operation.op === "dtr" || operation.op === "rts") changedLines.add(operation.op);
      try {
        await operateLine(operation, writer);
      } catch (error) {
        until.throwIfAborted();
        failed(`${operation.op}: ${(error as Error).message}`);
      }
    }
  };
  const playing = play();
  try {
    await Promise.race([read(), playing]);
  } finally {
    done.abort();
    await playing.catch(() => {});
  }
}
