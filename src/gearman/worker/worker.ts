/** A worker: one slot that serves several job servers at once and never holds two jobs. */
import { isDeepStrictEqual } from "node:util";
import { type Clock, systemClock } from "../wire/clock.ts";
import { type Dial, dial, type ServerAddress, serverName } from "../wire/dial.ts";
import { GearmanError } from "../wire/errors.ts";
import type { AssignedJob, Job } from "./job.ts";
import { Link, type LinkState } from "./link.ts";
import { linkStatus } from "./link-status.ts";

export type { Job } from "./job.ts";

export type WorkerEvent =
  /** A server has taken the registration, after the first connection or a lost one. */
  | { readonly type: "up"; readonly server: string }
  /** A connection was lost or couldn't be made, and is tried again; the same failure is told once. */
  | { readonly type: "down"; readonly server: string; readonly error: GearmanError }
  /** A server sent an ERROR packet, or one that nothing asked for; the link goes on. */
  | { readonly type: "oddity"; readonly server: string; readonly text: string }
  /** `onJob` rejected; the job has been failed. */
  | { readonly type: "job-error"; readonly server: string; readonly handle: string; readonly error: unknown };

export interface WorkerOptions {
  readonly servers: readonly ServerAddress[];
  /** Shown by the servers' `workers` command: printable ASCII without white space. */
  readonly clientId: string;
  /**
   * Does one job and settles when the slot is free for the next; a job that it left without an end is failed then. The
   * job's function may be one that was withdrawn a moment ago. When its job is lost, it may
   * be called again before it has settled, with the same job handed out anew or with another one.
   */
  readonly onJob: (job: Job) => Promise<void>;
  readonly onEvent?: (event: WorkerEvent) => void;
  /** Milliseconds that a server may take to answer before its connection is dropped. */
  readonly answerTimeout?: number;
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
 * The slot, over all servers. One request for a job is under way at most, so that two servers can't both give one.
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
  | { readonly kind: "busy"; readonly job: AssignedJob };

export class Worker implements AsyncDisposable {
  readonly #options: WorkerOptions;
  readonly #waiters = new Set<() => void>();
  #wanted: ReadonlySet<string> = new Set();
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
      status: linkStatus(link),
      lastError: link.lastError,
    }));
  }

  /** False while a job is held or one may be on its way, and while an `onJob` is under way. */
  get idle(): boolean {
    return this.#slot.kind === "idle" && this.#stranded === 0;
  }

  /**
   * The functions to be registered with every server from now on, over reconnections too; only the difference is sent.
   * What is withdrawn stays registered on a connection for as long as that holds a job or has asked for one.
   */
  setFunctions(names: ReadonlySet<string>): void {
    const bad = [...names].find((name) => name === "" || /[\s\p{Cc}]/u.test(name));
    if (bad !== undefined)
      throw new TypeError(`"${bad}" is no function name: white space or control characters`);
    this.#wanted = new Set(names);
    for (const link of [...this.#links]) link.update();
    this.#changed();
  }

  /** The servers to be served from now on. New ones are connected; ones no longer named are closed when they hold no job. */
  setServers(servers: readonly ServerAddress[]): void {
    if (this.#state === "closed") return;
    const isNamed = (link: Link) => servers.some((address) => isDeepStrictEqual(address, link.address));
    for (const link of [...this.#links]) link.retire(!isNamed(link));
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

  /** Resolves when at least one server has all the wanted functions. Rejects with the signal's reason, or CLOSED. */
  registered(signal?: AbortSignal): Promise<void> {
    return this.#until(() => this.#links.some((link) => link.registered), signal);
  }

  /**
   * Resolves when no `onJob` is under way and no job can be on its way; lasting while paused. Rejects with the signal's reason,
   * or CLOSED when an `onJob` still is.
   */
  settled(signal?: AbortSignal): Promise<void> {
    return this.#until(() => this.idle, signal);
  }

  /**
   * Takes no more jobs, ends the one under way, and closes each connection when its server is known to have that end.
   * Rejects with CLOSED when it is closed before.
   */
  async retire(): Promise<void> {
    this.pause();
    await this.settled();
    this.setServers([]);
    await this.#until(() => this.#links.length === 0);
  }

  /** Closes all connections. A job that still runs is lost, and its `onJob` is not waited for. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#state = "closed";
    const links = this.#links;
    this.#links = [];
    await Promise.all(links.map((link) => link.close()));
    this.#wake();
  }

  #newLink(address: ServerAddress): Link {
    const { clientId, answerTimeout = 10_000, clock = systemClock, random = Math.random } = this.#options;
    const server = serverName(address);
    const wanted = () => this.#wanted;
    let told: string | undefined;
    const link: Link = new Link({
      address,
      clientId,
      answerTimeout,
      clock,
      random,
      dial: this.#options.dial ?? dial,
      owner: {
        get wanted() {
          return wanted();
        },
        changed: () => this.#changed(),
        up: () => {
          told = undefined;
          this.#report({ type: "up", server });
        },
        down: (error) => {
          if (told !== error.message) this.#report({ type: "down", server, error });
          told = error.message;
        },
        assigned: (job) => void this.#work(link, job),
        oddity: (text) => this.#report({ type: "oddity", server, text }),
      },
    });
    return link;
  }

  #report(event: WorkerEvent): void {
    this.#options.onEvent?.(event);
  }

  #changed(): void {
    this.#links = this.#links.filter((link) => link.state.kind !== "closed");
    const slot = this.#slot;
    if (slot.kind === "grabbing" && !["grabbing", "working"].includes(slot.link.state.kind)) {
      this.#slot = { kind: "idle" };
    }
    this.#next();
    this.#wake();
  }

  /** Lets the next link in turn ask for a job, when the slot is free. */
  #next(): void {
    if (this.#slot.kind !== "idle" || this.#state !== "accepting") return;
    const link = this.#links.find(({ state }) => state.kind === "awake");
    if (!link) return;
    this.#links = [...this.#links.filter((other) => other !== link), link];
    this.#slot = { kind: "grabbing", link };
    link.grab();
  }

  async #work(link: Link, job: AssignedJob): Promise<void> {
    this.#slot = { kind: "busy", job };
    const strand = () => {
      this.#stranded += 1;
      this.#letGo(job);
    };
    job.lost.addEventListener("abort", strand);
    try {
      await this.#options.onJob(job);
    } catch (error) {
      this.#report({ type: "job-error", server: job.server, handle: job.handle, error });
    }
    job.lost.removeEventListener("abort", strand);
    if (job.lost.aborted) this.#stranded -= 1;
    job.fail();
    this.#letGo(job);
    link.release(job);
    this.#changed();
  }

  /** The slot holds this job no longer. */
  #letGo(job: AssignedJob): void {
    if (this.#slot.kind === "busy" && this.#slot.job === job) this.#slot = { kind: "idle" };
    this.#changed();
  }

  #until(condition: () => boolean, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const stop = (settle: () => void) => {
        this.#waiters.delete(check);
        signal?.removeEventListener("abort", check);
        settle();
      };
      const check = () => {
        if (signal?.aborted) stop(() => reject(signal.reason));
        else if (condition()) stop(resolve);
        else if (this.#state === "closed")
          stop(() => reject(new GearmanError("CLOSED", "the worker is closed")));
      };
      this.#waiters.add(check);
      signal?.addEventListener("abort", check);
      check();
    });
  }

  #wake(): void {
    for (const check of [...this.#waiters]) check();
  }
}
