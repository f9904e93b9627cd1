/** A worker: one slot that serves several job servers at once and never holds two jobs. */
import { isDeepStrictEqual } from "node:util";
import { Condition } from "#/lib/condition.ts";
import type { Log } from "#/lib/log.ts";
import { type Clock, systemClock } from "../wire/clock.ts";
import { type Dial, dial, type ServerAddress } from "../wire/dial.ts";
import { GearmanError } from "../wire/errors.ts";
import type { Job } from "./job.ts";
import { Link, type LinkEvent, type LinkState } from "./link.ts";

export type { Job } from "./job.ts";

export type WorkerEvent =
  | LinkEvent
  /** `onJob` rejected; the job has been failed. */
  | { readonly type: "job-error"; readonly server: string; readonly handle: string; readonly error: unknown };

export interface WorkerOptions {
  readonly servers: readonly ServerAddress[];
  /** Shown by the servers' `workers` command: printable ASCII without white space. */
  readonly clientId: string;
  /**
   * Does one job and settles when the slot is free for the next; a job that it leaves without an end is failed then. The
   * job's function may have been withdrawn a moment ago. After a job is lost this may be called again before it has
   * settled, with the same job handed out anew or with another one.
   */
  readonly onJob: (job: Job) => Promise<void>;
  readonly onEvent?: (event: WorkerEvent) => void;
  /** Asked before each request for a job. False: none goes out until resume(). */
  readonly mayAsk?: () => boolean;
  /** A server that takes longer to answer loses its connection. */
  readonly answerTimeoutMs?: number;
  readonly dial?: Dial;
  readonly clock?: Clock;
  readonly random?: () => number;
}

/** One server of a worker, for a status page. */
export interface LinkInfo {
  readonly server: string;
  readonly state: LinkState["kind"];
  /** One line for people. */
  readonly status: string;
  readonly lastError: GearmanError | undefined;
}

/**
 * The slot, over all servers. At most one request for a job is under way, so that two servers can't both give one.
 *
 *     idle ──an awake link's turn──> grabbing ──JOB_ASSIGN──> busy ──onJob settled, job lost──> idle
 *       ^──────NO_JOB, lost, too late────┘
 *
 * A lost job is no longer held: its `onJob` may go on, and the slot asks for jobs beside it, since a server that requeues
 * hands the same one out again.
 */
type Slot =
  | { readonly kind: "idle" }
  | { readonly kind: "grabbing"; readonly link: Link }
  | { readonly kind: "busy"; readonly job: Job };

export class Worker implements AsyncDisposable {
  readonly #options: WorkerOptions;
  readonly #condition = new Condition();
  #functions: ReadonlySet<string> = new Set();
  #state: "accepting" | "paused" | "closed" = "accepting";
  #slot: Slot = { kind: "idle" };
  /** How many `onJob` are under way whose job was lost. */
  #stranded = 0;
  /** In the order of their turns: the one that asked last is at the end. */
  #links: Link[] = [];

  constructor(options: WorkerOptions) {
    if (!/^[!-~]+$/.test(options.clientId)) {
      throw new TypeError(`the client id "${options.clientId}" must be printable ASCII without white space`);
    }
    this.#options = options;
    this.setServers(options.servers);
  }

  /** Each server's link, in the order of their names. */
  get links(): readonly LinkInfo[] {
    const byName = this.#links.toSorted((a, b) => a.server.localeCompare(b.server));
    return byName.map((link) => ({
      server: link.server,
      state: link.state.kind,
      status: statusOf(link),
      lastError: link.lastError,
    }));
  }

  /** False while a job is held or may be on its way, and while an `onJob` is under way. */
  get idle(): boolean {
    return this.#slot.kind === "idle" && this.#stranded === 0;
  }

  /**
   * Registers these functions with every server, over reconnections too, by sending only the difference. A function that is
   * no longer wanted stays registered on a connection that holds a job or has asked for one.
   */
  setFunctions(names: ReadonlySet<string>): void {
    const bad = [...names].find((name) => name === "" || /[\s\p{Cc}]/u.test(name));
    if (bad !== undefined)
      throw new TypeError(`"${bad}" is no function name: white space or control characters`);
    this.#functions = new Set(names);
    for (const link of [...this.#links]) link.update();
    this.#changed();
  }

  /** Serves these servers from now on. New ones are connected; the links of others close once they hold no job. */
  setServers(servers: readonly ServerAddress[]): void {
    if (this.#state === "closed") return;
    const isWanted = (link: Link) => servers.some((address) => isDeepStrictEqual(address, link.address));
    for (const link of [...this.#links]) link.retire(!isWanted(link));
    for (const address of servers) {
      if (this.#links.some((link) => isDeepStrictEqual(address, link.address))) continue;
      const link = this.#newLink(address);
      this.#links.unshift(link);
      link.start();
    }
  }

  /** Asks for no more jobs. One that was asked for already may still come: see `settled`. */
  pause(): void {
    if (this.#state === "accepting") this.#state = "paused";
  }

  resume(): void {
    if (this.#state === "paused") this.#state = "accepting";
    this.#next();
  }

  /** Whether a server, HOST:PORT, has all the wanted functions at this moment. */
  isRegistered(server: string): boolean {
    return this.#links.some((link) => link.server === server && link.registered);
  }

  /** Resolves when at least one server has all the wanted functions. Rejects with the signal's reason, or CLOSED. */
  registered(signal?: AbortSignal): Promise<void> {
    return this.#until(() => this.#links.some((link) => link.registered), signal);
  }

  /**
   * Resolves when no `onJob` is under way and no job can be on its way; while paused, that lasts. Rejects with the signal's
   * reason, or with CLOSED when the worker is closed under an `onJob`.
   */
  settled(signal?: AbortSignal): Promise<void> {
    return this.#until(() => this.idle, signal);
  }

  /**
   * Takes no more jobs, ends the one under way, and closes each connection when its server is known to have that end.
   * Rejects with CLOSED when the worker is closed before.
   */
  async retire(): Promise<void> {
    this.pause();
    await this.settled();
    this.setServers([]);
    await this.#until(() => this.#links.length === 0);
  }

  /** Closes all connections. A job that still runs is lost; this doesn't wait for its `onJob`. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#state = "closed";
    const links = this.#links;
    this.#links = [];
    await Promise.all(links.map((link) => link.close()));
    this.#condition.wake();
  }

  #newLink(address: ServerAddress): Link {
    const { clientId, answerTimeoutMs = 10_000, clock = systemClock, random = Math.random } = this.#options;
    return new Link(address, {
      clientId,
      functions: () => this.#functions,
      answerTimeoutMs,
      dial: this.#options.dial ?? dial,
      clock,
      random,
      onJob: (job, link) => void this.#work(job, link),
      onEvent: (event) => this.#options.onEvent?.(event),
      onChange: () => this.#changed(),
    });
  }

  #changed(): void {
    this.#links = this.#links.filter((link) => link.state.kind !== "closed");
    const slot = this.#slot;
    if (slot.kind === "grabbing" && !["grabbing", "working"].includes(slot.link.state.kind)) {
      this.#slot = { kind: "idle" };
    }
    this.#next();
    this.#condition.wake();
  }

  /** Lets the next link in turn ask for a job, when the slot is free. */
  #next(): void {
    if (this.#slot.kind !== "idle" || this.#state !== "accepting") return;
    const link = this.#links.find(({ state }) => state.kind === "awake");
    if (!link || this.#options.mayAsk?.() === false) return;
    this.#links = [...this.#links.filter((other) => other !== link), link];
    this.#slot = { kind: "grabbing", link };
    link.grab();
  }

  async #work(job: Job, link: Link): Promise<void> {
    const { onJob, onEvent } = this.#options;
    this.#slot = { kind: "busy", job };
    const strand = () => {
      this.#stranded += 1;
      this.#letGo(job);
    };
    job.lost.addEventListener("abort", strand);
    try {
      await onJob(job);
    } catch (error) {
      onEvent?.({ type: "job-error", server: job.server, handle: job.handle, error });
    }
    job.lost.removeEventListener("abort", strand);
    if (job.lost.aborted) this.#stranded -= 1;
    job.fail();
    this.#letGo(job);
    link.release(job);
    this.#changed();
  }

  /** The slot no longer holds this job. */
  #letGo(job: Job): void {
    if (this.#slot.kind === "busy" && this.#slot.job === job) this.#slot = { kind: "idle" };
    this.#changed();
  }

  async #until(predicate: () => boolean, signal?: AbortSignal): Promise<void> {
    const isClosed = () => this.#state === "closed";
    await this.#condition.until(() => predicate() || isClosed(), signal);
    if (isClosed() && !predicate()) throw new GearmanError("CLOSED", "the worker is closed");
  }
}

function statusOf({ state, lastError }: Link): string {
  const functions = (size: number) => (size === 1 ? "1 function" : `${size} functions`);
  switch (state.kind) {
    case "waiting":
      return `waiting to connect again: ${lastError?.message ?? "not tried yet"}`;
    case "connecting":
      return lastError ? `connecting again: ${lastError.message}` : "connecting";
    case "registering":
      return `registering ${functions(state.registration.size)}`;
    case "awake":
      return `${functions(state.registration.size)} registered, not asking for a job`;
    case "grabbing":
      return `${functions(state.registration.size)} registered, asking for a job`;
    case "working":
      return `${functions(state.registration.size)} registered, working`;
    case "asleep":
      return `${functions(state.registration.size)} registered, waiting for jobs`;
    case "closed":
      return "closed";
  }
}

/** So many different warnings about one worker's servers are logged: a bad server can cause any number. */
const maxWarnings = 10;

/** Over all workers of a process. */
export interface WorkerCounts {
  reconnects: number;
}

/** @returns a listener that logs what happens between one worker and its job servers, and each warning once */
export function logWorkerEvents(log: Log, counts: WorkerCounts): (event: WorkerEvent) => void {
  const logged = new Set<string>();
  return (event) => {
    const { server } = event;
    switch (event.type) {
      case "up":
        if (event.again) counts.reconnects += 1;
        return log.info({ server }, `registered with ${server}`);
      case "down":
        return log.warn({ server, code: event.error.code }, `${event.error.message}; trying again`);
      case "warning":
        // Some servers send one for each build: the Perl server doesn't know WORK_DATA.
        if (logged.has(event.text) || logged.size >= maxWarnings) return log.debug({ server }, event.text);
        logged.add(event.text);
        return log.warn({ server }, event.text);
      case "job-error":
        return log.error(
          { server, handle: event.handle.slice(0, 100), err: event.error },
          "a job was failed because of an error in labgear",
        );
    }
  };
}
