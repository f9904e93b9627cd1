/** What this side does to a leased board: in order, each message until it is answered; and signs of life in between. */
import { setTimeout as delay } from "node:timers/promises";
import type { Calls } from "#/client/calls.ts";
import type { Signer } from "#/client/signer.ts";
import { ExchangeError } from "#/exchange/errors.ts";
import { type Deed, formatTyping, type Operation, parseTyped, typeFunction } from "#/exchange/typing.ts";
import { GearmanError } from "#/gearman/wire/errors.ts";
import { Condition } from "#/lib/condition.ts";
import { CommandError } from "../exit.ts";

interface Pending {
  readonly operation: Operation;
  readonly settle?: { readonly resolve: () => void; readonly reject: (error: Error) => void };
}

/** The agent that has the lease, which lease it is, and its board. */
export interface LeaseAddress {
  readonly manager: string;
  readonly number: number;
  readonly session: string;
  readonly device: string;
}

/** Three may get lost in the 10 s that a lease goes on without any. */
const signIntervalMs = 2500;
const retryIntervalMs = 250;
/**
 * A change of a control line waits for the next one: a reset sequence arrives as one message, whose spacing no network can change.
 * esptool's edges are 50 and 100 ms apart.
 */
const burstGapMs = 150;
const maxBurstMs = 1000;
/** Of what is written in one message, and of what waits before the writers have to wait. */
const maxBurstBytes = 64 * 1024;
const maxBurstOperations = 1000;
const maxWriteBytes = 32 * 1024;
const maxWaitingBytes = 256 * 1024;

const burstOps: ReadonlySet<Deed["op"]> = new Set(["dtr", "rts", "break"]);

export class Holder implements AsyncDisposable {
  readonly #signer: Signer;
  readonly #calls: Calls;
  readonly #say: (text: string) => void;
  readonly #onLeft: (left: number) => void;
  readonly #begun = performance.now();
  readonly #changed = new Condition();
  readonly #over = new AbortController();
  readonly #sent = new Map<number, readonly Pending[]>();
  #pending: Pending[] = [];
  #waitingBytes = 0;
  #address: LeaseAddress | undefined;
  #sequence = 1;
  #lastAnswer = 0;
  /** When the burst that waits began, and when its last change of a line was made; by performance.now(). */
  #burst: { readonly since: number; readonly last: number } | undefined;

  /** @param onLeft told the milliseconds to the lease's end */
  constructor(calls: Calls, signer: Signer, say: (text: string) => void, onLeft: (left: number) => void) {
    this.#signer = signer;
    this.#say = say;
    this.#onLeft = onLeft;
    this.#calls = calls;
    void this.#send();
    void this.#live();
  }

  /** Where the lease is from now on. Another session knows nothing of what was done before. */
  set address(address: LeaseAddress) {
    if (this.#address?.session !== address.session) {
      this.#sequence = 1;
      this.#pending = [];
      this.#waitingBytes = 0;
      for (const pending of this.#sent.values()) rejectAll(pending, "the lease has moved to another board");
      this.#sent.clear();
    }
    this.#address = address;
    this.#changed.wake();
  }

  write(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += maxWriteBytes) {
      const data = Buffer.from(bytes.subarray(at, at + maxWriteBytes)).toString("base64");
      this.do({ op: "write", data });
    }
  }

  /** Does something with the board. It returns at once; what fails is said. */
  do(deed: Deed): void {
    this.#add({ operation: this.#now(deed) });
  }

  /** Resolves when it is done. @throws CommandError failure when it can't be done, or the lease ends first */
  perform(deed: Deed): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#add({ operation: this.#now(deed), settle: { resolve, reject } });
    });
  }

  /** Resolves when more can be written without piling up. */
  async drained(): Promise<void> {
    const isFree = () => this.#waitingBytes < maxWaitingBytes;
    await this.#changed.until(isFree, this.#over.signal).catch(() => {});
  }

  /** Drops what was written and isn't sent yet. */
  purge(): void {
    this.#pending = this.#pending.filter(({ operation }) => operation.op !== "write");
    this.#waitingBytes = 0;
    this.do({ op: "purge" });
    this.#changed.wake();
  }

  /** The agent says that a message is done. */
  done(sequence: number, error: string | undefined): void {
    for (const [one, pending] of [...this.#sent]) {
      if (one > sequence) continue;
      this.#sent.delete(one);
      const isFailed = one === sequence && error !== undefined;
      const isAwaited = pending.some(({ settle }) => settle);
      if (isFailed && !isAwaited) this.#say(error);
      if (isFailed) rejectAll(pending, error);
      else for (const { settle } of pending) settle?.resolve();
    }
  }

  get #microseconds(): number {
    return Math.round((performance.now() - this.#begun) * 1000);
  }

  #now(deed: Deed): Operation {
    return { at: this.#microseconds, ...deed };
  }

  #add(pending: Pending): void {
    const { operation } = pending;
    this.#pending.push(pending);
    this.#waitingBytes += sizeOf(operation);
    const now = performance.now();
    if (burstOps.has(operation.op)) this.#burst = { since: this.#burst?.since ?? now, last: now };
    this.#changed.wake();
  }

  /** Never rejects. */
  async #send(): Promise<void> {
    const { signal } = this.#over;
    try {
      for (;;) {
        await this.#changed.until(() => this.#pending.length > 0 && this.#address !== undefined, signal);
        for (let waitMs = this.#burstLeftMs(); waitMs > 0; waitMs = this.#burstLeftMs())
          await delay(waitMs, undefined, { signal });
        this.#burst = undefined;
        await this.#deliver(this.#takeBurst());
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  #burstLeftMs(): number {
    if (!this.#burst) return 0;
    const { since, last } = this.#burst;
    return Math.min(last + burstGapMs, since + maxBurstMs) - performance.now();
  }

  #takeBurst(): readonly Pending[] {
    let bytes = 0;
    let count = 0;
    for (const { operation } of this.#pending) {
      bytes += sizeOf(operation);
      if (count > 0 && (bytes > maxBurstBytes || count === maxBurstOperations)) break;
      count += 1;
    }
    const taken = this.#pending.splice(0, count);
    for (const { operation } of taken) this.#waitingBytes -= sizeOf(operation);
    this.#changed.wake();
    return taken;
  }

  /** Resolves when the agent has it, or never will. @throws the signal's reason */
  async #deliver(burst: readonly Pending[]): Promise<void> {
    if (burst.length === 0) return;
    const { signal } = this.#over;
    const address = this.#address;
    const sequence = this.#sequence;
    const operations = burst.map(({ operation }) => operation);
    this.#sent.set(sequence, burst);
    while (this.#address?.session === address?.session) {
      try {
        await this.#call(sequence, operations);
        this.#sequence = Math.max(this.#sequence, sequence + 1);
        return;
      } catch (error) {
        signal.throwIfAborted();
        // Its answer was lost.
        if (error instanceof ExchangeError && (error.facts.offset ?? 0) > sequence) return;
        const isPassing =
          error instanceof GearmanError || (error instanceof ExchangeError && error.code === "unavailable");
        if (!isPassing) {
          // The lease's own data says how it ends.
          this.#sent.delete(sequence);
          return rejectAll(burst, (error as Error).message);
        }
        await delay(retryIntervalMs, undefined, { signal });
      }
    }
  }

  async #call(sequence: number, operations?: readonly Operation[]): Promise<void> {
    const address = this.#address;
    if (!address) return;
    const { manager, number, session } = address;
    await this.#signer.signed(async (time) => {
      const facts = { number, session, sequence, time };
      const burst = operations && { sent: this.#microseconds, operations };
      const message = formatTyping(this.#signer.key, facts, burst);
      const { done, left } = parseTyped(await this.#calls.call(typeFunction(manager), message));
      this.done(done, undefined);
      if (left !== undefined) this.#onLeft(left);
    });
    this.#lastAnswer = performance.now();
  }

  /** Never rejects. */
  async #live(): Promise<void> {
    const { signal } = this.#over;
    while (!signal.aborted) {
      const quietMs = performance.now() - this.#lastAnswer;
      // The next one makes up for a lost one.
      if (this.#address && quietMs >= signIntervalMs) await this.#call(0).catch(() => {});
      await delay(signIntervalMs / 4, undefined, { signal }).catch(() => {});
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#over.abort();
    for (const pending of [...this.#sent.values(), this.#pending]) rejectAll(pending, "the lease has ended");
    this.#sent.clear();
    await this.#calls[Symbol.asyncDispose]();
  }
}

/** Bytes that are written. */
function sizeOf(operation: Operation): number {
  return operation.op === "write" ? Math.ceil((operation.data.length * 3) / 4) : 0;
}

function rejectAll(pending: readonly Pending[], why: string): void {
  for (const { settle } of pending) settle?.reject(new CommandError("failure", why));
}
