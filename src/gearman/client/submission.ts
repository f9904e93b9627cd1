/** A job that a client submitted, and what comes back about it. */
import { GearmanError } from "../wire/errors.ts";
import type { Packet } from "../wire/packet.ts";

export type JobEvent =
  | { readonly type: "data" | "warning" | "exception" | "complete"; readonly data: Buffer }
  | { readonly type: "status"; readonly numerator: number; readonly denominator: number }
  | { readonly type: "fail" };

/**
 * One submission. It iterates once over its events, up to the last: `complete`, `fail` or `exception` (after an exception
 * geard and gearmand send nothing more; what the Perl server sends is dropped). A background submission has no events.
 * Iterating throws GearmanError CLOSED when the connection is lost before the end.
 *
 *     open ──WORK_COMPLETE, WORK_FAIL, WORK_EXCEPTION──> ended
 *      ├──left by its reader──> dropped
 *      └──connection gone──> lost
 */
export class Submission implements AsyncIterable<JobEvent> {
  readonly handle: string;
  readonly #count: (bytes: number) => void;
  readonly #queue: JobEvent[] = [];
  #state:
    | { readonly kind: "open" | "ended" | "dropped" }
    | { readonly kind: "lost"; readonly reason: GearmanError };
  #wake = () => {};

  /**
   * @param count called with the bytes of an event that begins to wait here, and with their negative when it is read
   * @param ended true when no events will come
   */
  constructor(handle: string, count: (bytes: number) => void, ended: boolean) {
    this.handle = handle;
    this.#count = count;
    this.#state = { kind: ended ? "ended" : "open" };
  }

  /** True when it takes no more packets: the last one has come, or the reader has left. */
  get ended(): boolean {
    return this.#state.kind !== "open";
  }

  /** A WORK packet of this job has come. */
  take(packet: Packet): void {
    const event = readEvent(packet);
    if (!event || this.#state.kind !== "open") return;
    this.#queue.push(event);
    if (["complete", "fail", "exception"].includes(event.type)) this.#state = { kind: "ended" };
    this.#wake();
    this.#count(sizeOf(event));
  }

  /** The connection has gone. */
  lose(reason: GearmanError): void {
    if (this.#state.kind !== "open") return;
    this.#state = { kind: "lost", reason };
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<JobEvent, void, undefined> {
    try {
      for (;;) {
        const event = this.#queue.shift();
        if (event) {
          this.#count(-sizeOf(event));
          yield event;
        } else if (this.#state.kind === "open") {
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
        } else if (this.#state.kind === "lost") {
          const { message } = this.#state.reason;
          throw new GearmanError("CLOSED", `${this.handle} was lost: ${message}`, {
            cause: this.#state.reason,
          });
        } else return;
      }
    } finally {
      if (this.#state.kind === "open") this.#state = { kind: "dropped" };
      for (const event of this.#queue.splice(0)) this.#count(-sizeOf(event));
    }
  }
}

/** Bytes of the data and, roughly, of the object. */
const sizeOf = (event: JobEvent): number => 64 + ("data" in event ? event.data.length : 0);

function readEvent({ type, args }: Packet): JobEvent | undefined {
  const [, second = Buffer.alloc(0), third] = args;
  switch (type) {
    case "WORK_DATA":
      return { type: "data", data: second };
    case "WORK_WARNING":
      return { type: "warning", data: second };
    case "WORK_EXCEPTION":
      return { type: "exception", data: second };
    case "WORK_COMPLETE":
      return { type: "complete", data: second };
    case "WORK_STATUS":
      return {
        type: "status",
        numerator: Number(String(second)) || 0,
        denominator: Number(String(third)) || 0,
      };
    case "WORK_FAIL":
      return { type: "fail" };
    default:
      return undefined;
  }
}
