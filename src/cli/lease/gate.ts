/** A lease through a gate: asked for like a build, and its line is a WebSocket. What is typed is signed here, and passed on there. */
import type { GateClient } from "#/client/gate.ts";
import { GateLease } from "#/client/gate-lease.ts";
import { leaseJob } from "#/exchange/lease.ts";
import type { JsonObject } from "#/exchange/message.ts";
import { leaseEnd } from "#/lib/status.ts";
import { submitUntilTaken, waitOf } from "../build/gate.ts";
import { asRefused } from "../gate-options.ts";
import { type LeasePlace, type OpenLease, waitingText } from "./place.ts";

export function gatePlace(gate: GateClient): LeasePlace {
  return ({ target, terms, priority, queueTimeoutMs, signer, say }): OpenLease => {
    const { forMs, reason } = terms;
    const asked = { for: forMs === undefined ? undefined : forMs / 1000, reason, key: signer.key.publicKey };
    let opened: NonNullable<OpenLease["gate"]> | undefined;
    let line: GateLease | undefined;
    const left = new AbortController();
    const submitted = () => {
      if (opened && line) return { ...opened, line };
      throw new Error("a lease has to be submitted before it is used");
    };
    const sayQueue = (queue: JsonObject) => say(waitingText(undefined, waitOf(queue).why));
    return {
      get uuid() {
        return submitted().build.uuid;
      },
      get gate() {
        return opened;
      },
      async submit() {
        if (!line) {
          const request = { job: leaseJob, node: target, priority, lease: asked };
          const build = await submitUntilTaken(gate, request, { say, queueTimeoutMs, signal: left.signal });
          opened = { url: gate.url, build };
          line = new GateLease(gate, build);
        }
        return refusedAsCommand(await line.follow(sayQueue).catch(asRefused));
      },
      openCalls: () => ({
        call: (name, argument) => submitted().line.call(name, argument).catch(asRefused),
        async [Symbol.asyncDispose]() {},
      }),
      // The gate says it.
      async watchQueue() {},
      stop: {
        async try() {
          left.abort();
          if (!opened) return "cancelled";
          await gate.stop(opened.build).catch(asRefused);
          return "stopping";
        },
        async makeSure() {},
      },
      async [Symbol.asyncDispose]() {
        await line?.[Symbol.asyncDispose]();
      },
    };
  };
}

async function* refusedAsCommand<T>(events: AsyncIterable<T>): AsyncGenerator<T> {
  try {
    yield* events;
  } catch (error) {
    asRefused(error);
  }
}

/** Rows of `labgear lease --list`. Of others' leases the gate says only until when. @throws CommandError, GearmanError */
export async function leasesBehind(gate: GateClient): Promise<string[][]> {
  const leases = await gate.leases().catch(asRefused);
  return leases.map(({ board, box, until, who = "", reason = "" }) => {
    const end = leaseEnd(typeof until === "string" ? { until } : {});
    return [board, box, end, who, reason].map(String);
  });
}
