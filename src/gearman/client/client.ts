/** A Gearman client: submits jobs to one server and follows them. */
import type { Connection } from "../wire/connection.ts";
import { type DialOptions, dial, type ServerAddress } from "../wire/dial.ts";
import { GearmanError } from "../wire/errors.ts";
import type { Packet, PacketType } from "../wire/packet.ts";
import { printableBytes, type TextLine } from "../wire/parser.ts";

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

export interface SubmitOptions {
  readonly function: string;
  /** The server joins submissions of one function and unique. Empty: this one stays alone. */
  readonly unique?: string;
  readonly data: string | Uint8Array;
  readonly priority?: "high" | "normal" | "low";
  /** It runs even when this client goes, and the server reports nothing about it. */
  readonly background?: boolean;
}

/** What a server knows about a job. */
export interface JobStatus {
  readonly known: boolean;
  readonly running: boolean;
  readonly numerator: number;
  readonly denominator: number;
}

/** A request that waits for its answer; servers answer a connection in order. */
interface Pending {
  /** @returns false when this packet isn't the answer */
  readonly take: (packet: Packet) => boolean;
  readonly reject: (error: GearmanError) => void;
}

/** Bytes of unread events, over all submissions, before the client stops reading from the server. */
const maxUnread = 4 * 1024 * 1024;

export class Client implements AsyncDisposable {
  readonly #connection: Connection;
  readonly #pending: Pending[] = [];
  readonly #submissions = new Map<string, Submission[]>();
  #unread = 0;

  private constructor(connection: Connection) {
    this.#connection = connection;
    connection.receive((item) => this.#received(item));
    void connection.closed.then((reason) => this.#ended(reason));
  }

  /** @throws GearmanError UNREACHABLE or TLS, or the signal's reason */
  static async connect(address: ServerAddress, options: DialOptions = {}): Promise<Client> {
    return new Client(await dial(address, options));
  }

  /** Resolves with the reason when the connection has ended. */
  get closed(): Promise<GearmanError> {
    return this.#connection.closed;
  }

  /**
   * Submits a job and waits for its handle. Read a foreground submission's events to the end: unread ones eventually stall
   * the connection.
   * @throws GearmanError REFUSED when the server doesn't take it, CLOSED when the connection ends first
   */
  submit(options: SubmitOptions): Promise<Submission> {
    const { unique = "", priority = "normal", background = false } = options;
    return this.#request(
      submitTypes[priority][background ? 1 : 0],
      [options.function, unique, options.data],
      (packet) => {
        if (packet.type !== "JOB_CREATED") return undefined;
        const submission = new Submission(String(packet.args[0]), (bytes) => this.#count(bytes), background);
        if (!background) this.#follow(submission);
        return submission;
      },
    );
  }

  status(handle: string): Promise<JobStatus> {
    return this.#status("GET_STATUS", handle);
  }

  /** The same for a job of any function, by its unique. Only gearmand since 1.1 and the embedded server know this request. */
  statusOfUnique(unique: string): Promise<JobStatus> {
    return this.#status("GET_STATUS_UNIQUE", unique);
  }

  #status(request: "GET_STATUS" | "GET_STATUS_UNIQUE", name: string): Promise<JobStatus> {
    const answer = request === "GET_STATUS" ? "STATUS_RES" : "STATUS_RES_UNIQUE";
    return this.#request(request, [name], ({ type, args }) => {
      if (type !== answer || String(args[0]) !== name) return undefined;
      const [known, running, numerator, denominator] = args.slice(1).map((arg) => Number(String(arg)));
      return {
        known: known === 1,
        running: running === 1,
        numerator: numerator || 0,
        denominator: denominator || 0,
      };
    });
  }

  /**
   * Asks the server to pass WORK_EXCEPTION on. gearmand and the Perl server do so only on request; geard always does, and
   * never answers this, so nothing waits for the answer.
   */
  wantExceptions(): void {
    this.#connection.send("OPTION_REQ", "exceptions");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection[Symbol.asyncDispose]();
  }

  #request<T>(
    type: PacketType,
    args: (string | Uint8Array)[],
    read: (answer: Packet) => T | undefined,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      const take = (packet: Packet): boolean => {
        if (packet.type === "ERROR") {
          const text = packet.args.map((arg) => printableBytes(arg)).join(" ");
          reject(new GearmanError("REFUSED", `${this.#connection.server} refused ${type}: ${text}`));
          return true;
        }
        const answer = read(packet);
        if (answer !== undefined) resolve(answer);
        return answer !== undefined;
      };
      this.#connection.send(type, ...args);
      if (this.#connection.open) this.#pending.push({ take, reject });
      else void this.#connection.closed.then(reject);
    });
  }

  #received(item: Packet | TextLine): void {
    if ("line" in item) return;
    // gearmand 1.1.20 appends a NUL to the handle in the WORK_FAIL that it makes of a WORK_EXCEPTION.
    const handle = String(item.args[0]).replace(/\0+$/, "");
    const followers = item.type.startsWith("WORK_") ? this.#submissions.get(handle) : undefined;
    if (followers) {
      for (const submission of followers) submission.take(item);
      if (followers.every((submission) => submission.ended)) this.#submissions.delete(handle);
    } else if (this.#pending[0]?.take(item)) {
      this.#pending.shift();
    }
  }

  /** Several submissions of one unique share a handle. */
  #follow(submission: Submission): void {
    const others = this.#submissions.get(submission.handle) ?? [];
    this.#submissions.set(submission.handle, [...others, submission]);
  }

  #ended(reason: GearmanError): void {
    for (const { reject } of this.#pending.splice(0)) reject(reason);
    for (const submission of [...this.#submissions.values()].flat()) submission.lose(reason);
    this.#submissions.clear();
  }

  #count(bytes: number): void {
    this.#unread += bytes;
    if (this.#unread > maxUnread) this.#connection.pause();
    else if (bytes < 0) this.#connection.resume();
  }
}

/** Foreground and background. */
const submitTypes = {
  high: ["SUBMIT_JOB_HIGH", "SUBMIT_JOB_HIGH_BG"],
  normal: ["SUBMIT_JOB", "SUBMIT_JOB_BG"],
  low: ["SUBMIT_JOB_LOW", "SUBMIT_JOB_LOW_BG"],
} as const;
