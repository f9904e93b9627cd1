/** Where a lease is asked for: at a job server, or at a gate (gate.ts). */
import { type Calls, ManagerCalls } from "#/client/calls.ts";
import type { GateBuild } from "#/client/gate.ts";
import type { Signer } from "#/client/signer.ts";
import { formatLeaseRequest, type LeaseTerms, leaseFunction } from "#/exchange/lease.ts";
import type { JobEvent, SubmitOptions } from "#/gearman/client/client.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { whyNoneIsFree } from "#/lab/demand.ts";
import { Line } from "../build/line.ts";
import { watchQueue } from "../build/queue.ts";
import { BuildStop } from "../build/stop-build.ts";
import { askInfo } from "../transfer/info.ts";

export interface LeaseWish {
  /** A class, or a device's name. */
  readonly target: string;
  readonly terms: LeaseTerms;
  readonly priority: NonNullable<SubmitOptions["priority"]>;
  readonly queueTimeoutMs: number | undefined;
  readonly signer: Signer;
  readonly say: (text: string) => void;
}

export type LeasePlace = (wish: LeaseWish) => OpenLease;

/** One lease: nothing is asked before submit(). */
export interface OpenLease extends AsyncDisposable {
  /** Of the lease, once it is submitted. */
  readonly uuid: string;
  /** Where others of this user find it; undefined: at the job server. */
  readonly gate: { readonly url: string; readonly build: GateBuild } | undefined;
  /** Once more after a lost line, where no agent has it yet: it goes to the end of the queue, or keeps its place. */
  submit(): Promise<AsyncIterable<JobEvent>>;
  /** Calls of its own don't wait for those of others. */
  openCalls(answerTimeoutMs?: number): Calls;
  /** Says why it waits, until the signal. */
  watchQueue(signal: AbortSignal): Promise<void>;
  /** See BuildStop. */
  readonly stop: Pick<BuildStop, "try" | "makeSure">;
}

/** @param place in the queue @param why none takes it */
export function waitingText(place: number | undefined, why = ""): string {
  return `waiting: ${place === undefined ? "" : `number ${place} in line; `}${why}`;
}

export function serverPlace(server: ServerAddress): LeasePlace {
  return ({ target, terms, priority, signer, say }) => {
    const name = leaseFunction(target);
    const data = formatLeaseRequest(terms, signer.key.publicKey);
    // Of a new unique: a job of the old one may have been handed out just before the line was lost.
    const newLine = () => {
      const uuid = crypto.randomUUID().replaceAll("-", "");
      const line = new Line(server, { function: name, unique: uuid, data, priority });
      return { uuid, line, stop: new BuildStop(server, line, uuid) };
    };
    // A job that waits goes with its line.
    let current = newLine();
    let isSubmitted = false;
    const queued = {
      function: name,
      get handle() {
        return current.line.handle;
      },
    };
    const renderer = {
      show: ({ place, why }: { readonly event: string; readonly place?: number; readonly why?: string }) =>
        say(waitingText(place, why)),
      [Symbol.dispose]() {},
    };
    return {
      gate: undefined,
      get uuid() {
        return current.uuid;
      },
      get stop() {
        return current.stop;
      },
      async submit() {
        if (isSubmitted) {
          await current.line[Symbol.asyncDispose]();
          current = newLine();
        }
        isSubmitted = true;
        return await current.line.submit();
      },
      openCalls: (answerTimeoutMs) => new ManagerCalls(server, answerTimeoutMs),
      watchQueue: (signal) =>
        watchQueue(server, queued, renderer, signal, async (functions) => {
          const nodes = (await askInfo(server, functions)).flatMap((info) => info.nodes);
          return whyNoneIsFree(nodes.filter((node) => [node.name, ...node.classes].includes(target)));
        }),
      [Symbol.asyncDispose]: () => current.line[Symbol.asyncDispose](),
    };
  };
}
