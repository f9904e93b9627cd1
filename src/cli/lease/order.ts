/** `labgear lease extend` and `labgear lease release`: what another process of the holder says of a lease that runs. */
import type { Calls } from "#/client/calls.ts";
import { Signer } from "#/client/signer.ts";
import { ExchangeError } from "#/exchange/errors.ts";
import { formatTyping, type OrderDeed, parseTyped, type Typed, typeFunction } from "#/exchange/typing.ts";
import { formatSeconds } from "#/lib/units.ts";
import { CommandError } from "../exit.ts";
import { type KeptLease, keptLeases } from "./kept.ts";

/** The holder's other process may have signed something later meanwhile. */
const maxTries = 5;

/**
 * @param device absent: there is only one lease
 * @param openCalls to the box that has the lease
 * @returns what to say
 * @throws CommandError usage, notRegistered, failure; GearmanError
 */
export async function giveOrder(
  openCalls: (lease: KeptLease) => Promise<Calls>,
  device: string | undefined,
  deed: OrderDeed,
): Promise<string> {
  const lease = chooseLease(device);
  await using calls = await openCalls(lease);
  const { left = 0 } = await send(calls, typeFunction(lease.manager), lease, deed);
  if (deed.op === "release") return `${lease.device} is released`;
  return `${lease.device} is yours for ${formatSeconds(left)}`;
}

function chooseLease(device: string | undefined): KeptLease {
  const all = keptLeases();
  const found = device === undefined ? all : all.filter((lease) => lease.device === device);
  const [lease, ...others] = found;
  if (!lease) throw new CommandError("failure", `you hold no lease${device ? ` of ${device}` : ""} here`);
  if (others.length === 0) return lease;
  const names = found.map((one) => `${one.device} on ${one.manager}`).join(", ");
  throw new CommandError("usage", `you hold more than one lease, name a board: ${names}`);
}

async function send(calls: Calls, name: string, lease: KeptLease, deed: OrderDeed): Promise<Typed> {
  const { number, session, key, device } = lease;
  const signer = new Signer(key);
  for (let tries = 1; ; tries++) {
    try {
      return await signer.signed(async (time) => {
        const burst = { sent: 0, operations: [{ at: 0, ...deed }] };
        const message = formatTyping(key, { number, session, sequence: 0, time }, burst);
        return parseTyped(await calls.call(name, message));
      });
    } catch (error) {
      if (!(error instanceof ExchangeError)) throw error;
      if (error.code === "unavailable" && tries < maxTries) continue;
      const text =
        error.code === "unknown-build"
          ? `the lease of ${device} has ended`
          : `it can't be done: ${error.message}`;
      throw new CommandError("failure", text, { cause: error });
    }
  }
}
