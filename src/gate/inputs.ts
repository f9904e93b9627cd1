/** An input on its way through: from the caller's body to the agent, a piece at a time, and kept nowhere. */
import { ManagerCalls } from "#/client/calls.ts";
import type { Signer } from "#/client/signer.ts";
import { ExchangeError } from "#/exchange/errors.ts";
import { sendFunction } from "#/exchange/functions.ts";
import { maxPieceBytes } from "#/exchange/message.ts";
import { formatPiece, parseReceived } from "#/exchange/send.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { GearmanError } from "#/gearman/wire/errors.ts";
import type { BuildRun } from "./build-run.ts";
import { Refusal } from "./errors.ts";
import { bodyOf, type Exchange } from "./exchange.ts";
import { refusalOf } from "./results.ts";

/** Inputs that are on their way, by build and name: agents take one piece of a client at a time. */
const sending = new WeakMap<BuildRun, Set<string>>();

/**
 * @param offset where in the input the body begins
 * @returns how much of the input the agent has
 * @throws Refusal
 */
export async function passInput(
  exchange: Exchange,
  run: BuildRun,
  server: ServerAddress,
  { name, offset }: { readonly name: string; readonly offset: number },
): Promise<number> {
  const announced = run.record.inputs.find((input) => input.name === name);
  if (!announced) throw new Refusal("not-found", `the build has no input ${name}`);
  const length = lengthOf(exchange);
  if (offset + length > announced.size) throw new Refusal("too-large", `${name} has ${announced.size} bytes`);
  const manager = run.record.facts?.manager;
  const { signer } = run;
  if (!signer || manager === undefined || !run.wants.some((wanted) => wanted.name === name))
    throw new Refusal("conflict", `the build doesn't wait for ${name} now`);
  const names = sending.get(run) ?? new Set();
  sending.set(run, names);
  if (names.has(name)) throw new Refusal("conflict", `${name} is being sent already`);
  names.add(name);
  try {
    return await pass(exchange, run, signer, { server, manager, name, offset });
  } catch (error) {
    if (error instanceof ExchangeError) throw refusalOf(error);
    if (error instanceof GearmanError)
      throw new Refusal("unavailable", "the lab can't take it now", { why: error.message });
    throw error;
  } finally {
    names.delete(name);
  }
}

function lengthOf({ request }: Exchange): number {
  const text = request.headers["content-length"];
  if (text === undefined || !/^\d{1,15}$/.test(text))
    throw new Refusal("length-required", "a Content-Length is needed");
  return Number(text);
}

async function pass(
  exchange: Exchange,
  { record }: BuildRun,
  signer: Signer,
  to: {
    readonly server: ServerAddress;
    readonly manager: string;
    readonly name: string;
    readonly offset: number;
  },
): Promise<number> {
  const { server, manager, name } = to;
  await using calls = new ManagerCalls(server);
  let { offset } = to;
  const send = async (bytes: Buffer) => {
    offset = await signer.signed(async (time) => {
      const piece = formatPiece(signer.key, { uuid: record.uuid, name, offset, bytes }, time);
      return parseReceived(await calls.call(sendFunction(manager), piece));
    });
  };
  // Two buffers for all pieces: one is filled while the other is on its way.
  let [piece, other] = [Buffer.allocUnsafe(maxPieceBytes), Buffer.allocUnsafe(maxPieceBytes)];
  let filled = 0;
  let sent = Promise.resolve();
  const flush = async () => {
    await sent;
    sent = send(piece.subarray(0, filled));
    // It is looked at when the next one goes.
    sent.catch(() => {});
    [piece, other] = [other, piece];
    filled = 0;
  };
  for await (const chunk of bodyOf(exchange)) {
    for (let at = 0; at < chunk.length; ) {
      const copied = chunk.copy(piece, filled, at);
      at += copied;
      filled += copied;
      if (filled === maxPieceBytes) await flush();
    }
  }
  if (filled > 0) await flush();
  await sent;
  return offset;
}
