/** The job server's jobs: what a job is, every change of its state in all the tables it is part of, and the limits. */
import { hash } from "node:crypto";

/** Names a connection to the queue; the server counts them up. */
export type ConnectionId = number;

/** In the order in which jobs are handed out. */
export const priorities = ["high", "normal", "low"] as const;
export type Priority = (typeof priorities)[number];

/**
 * The life of a job:
 *
 *     submit ──> queued ──grabbed──> running ──complete, fail, exception, timeout──> ended
 *                 ^  │                  │                                              ^
 *                 │  └─cancelled, or all its clients left (foreground)─────────────────┤
 *                 └──worker lost, tries left──┴──worker lost, no tries left or unwanted
 *
 * A running job whose clients all left runs on. An ended job is in no table any more.
 */
type JobState =
  | { readonly kind: "queued" }
  | { readonly kind: "running"; readonly worker: Member; readonly timed: boolean }
  | { readonly kind: "ended" };

export interface Job {
  readonly handle: string;
  readonly function: JobFunction;
  readonly unique: Uint8Array;
  /** Its key in `function.uniques`; absent when the client gave no unique. */
  readonly uniqueKey: string | undefined;
  readonly data: Uint8Array;
  readonly priority: Priority;
  /** Counts up with each submit: first in, first out. */
  readonly order: number;
  /** Runs even if no client waits for it. */
  background: boolean;
  state: JobState;
  /** The clients that get its packets: one entry for each foreground submit, so a connection may be in it twice. */
  clients: Member[];
  /** How many workers were lost while they ran it. */
  losses: number;
  /** Numerator and denominator of the last WORK_STATUS, in digits. */
  progress: readonly [string, string];
}

/** A function that was registered, submitted to or created. */
export interface JobFunction {
  /** See toKey(). */
  readonly name: string;
  readonly workers: Set<Member>;
  readonly uniques: Map<string, Job>;
  readonly queues: Readonly<Record<Priority, OrderedList<Job>>>;
  running: number;
  /** Limit of queued jobs, where `maxqueue` set one. */
  maxQueue: number | undefined;
}

/** One connection: client, worker or both. */
export interface Member {
  readonly id: ConnectionId;
  readonly address: string;
  /** From SET_CLIENT_ID; `-` until then. */
  clientId: string;
  /**
   * A worker's sleep (PROTOCOL, PRE_SLEEP and NOOP); one that never sends PRE_SLEEP stays awake:
   *
   *     awake ──PRE_SLEEP, nothing to do──> asleep
   *       ^────NOOP sent, or it grabs──────────┘
   */
  sleep: "awake" | "asleep";
  /** Asked by OPTION_REQ for WORK_EXCEPTION; others get WORK_FAIL in its place. */
  exceptions: boolean;
  /** The functions it can do, each with the timeout in seconds that it registered; 0 for none. */
  readonly abilities: Map<JobFunction, number>;
  /** Jobs it waits for. */
  readonly submitted: Set<Job>;
  /** Jobs it runs. */
  readonly running: Set<Job>;
}

export interface JobLimits {
  /** Jobs, queued and running together; and foreground submits, of which one job may have many. */
  readonly maxJobs: number;
  /** Bytes of job data. */
  readonly maxJobBytes: number;
}

export interface Submission {
  readonly name: Uint8Array;
  readonly unique: Uint8Array;
  readonly data: Uint8Array;
  readonly priority: Priority;
  readonly background: boolean;
}

/** Keys have one latin1 char for each byte, so that names in any encoding stay apart and come back as they were. */
export const toKey = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");
export const fromKey = (key: string): Buffer => Buffer.from(key, "latin1");

/** How many jobs of a function wait for a worker. */
export function queuedCount(entry: JobFunction): number {
  return priorities.reduce((sum, priority) => sum + entry.queues[priority].size, 0);
}

/** What restore() takes: see journal.ts. */
type Restored = Omit<Submission, "name" | "unique" | "data"> & {
  readonly handle: string;
  readonly unique: string;
  readonly data: string;
  readonly order: number;
  readonly losses: number;
};

export class JobTable implements Iterable<Job> {
  readonly #limits: JobLimits;
  readonly #handlePrefix: string;
  readonly #jobs = new Map<string, Job>();
  /** By function and unique. */
  readonly #places = new Map<string, number>();
  #count = 0;
  /** How many foreground submits wait for the end of a job. */
  #foreground = 0;
  #bytes = 0;

  /** @param handlePrefix a number counting from 1 follows it in handles */
  constructor(handlePrefix: string, limits: JobLimits) {
    this.#handlePrefix = handlePrefix;
    this.#limits = limits;
  }

  [Symbol.iterator](): Iterator<Job> {
    return this.#jobs.values();
  }

  /** Bytes of job data. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The job with this handle, while it is queued or running. */
  find(handle: string): Job | undefined {
    return this.#jobs.get(handle);
  }

  /**
   * A new queued job, or the one that has the unique already; undefined when a limit is reached. A foreground submit makes
   * its member a client of the job.
   */
  submit(entry: JobFunction, submission: Submission, member: Member): Job | undefined {
    const key = uniqueKey(submission);
    const existing = key === undefined ? undefined : entry.uniques.get(key);
    if (!submission.background && this.#foreground >= this.#limits.maxJobs) return undefined;
    if (!existing && this.#isFull(entry, submission.data)) return undefined;
    const job = existing ?? this.#add(entry, submission, key);
    if (submission.background) job.background = true;
    else {
      job.clients.push(member);
      member.submitted.add(job);
      this.#foreground += 1;
    }
    return job;
  }

  /** The member no longer waits for the job. */
  detach(member: Member, job: Job): void {
    const others = job.clients.filter((client) => client !== member);
    this.#foreground -= job.clients.length - others.length;
    job.clients = others;
    member.submitted.delete(job);
  }

  /** queued → running */
  assign(job: Job, worker: Member, timed: boolean): void {
    job.function.queues[job.priority].remove(job);
    job.function.running += 1;
    worker.running.add(job);
    job.state = { kind: "running", worker, timed };
  }

  /** A background job of an earlier server, under its old handle; false when a limit is reached. */
  restore(entry: JobFunction, kept: Restored): boolean {
    const data = Buffer.from(kept.data, "base64");
    if (this.#isFull(entry, data)) return false;
    const submission = { ...kept, unique: fromKey(kept.unique), data };
    this.#insert(entry, submission, kept.handle, kept.order, uniqueKey(submission)).losses = kept.losses;
    return true;
  }

  /** Handles and places from here on are new ones. */
  countFrom(count: number): void {
    this.#count = Math.max(this.#count, count);
  }

  /** The place of a foreground job of an earlier server, for when its client submits it again. */
  reserve(name: string, unique: string, order: number): void {
    if (unique !== "" && unique !== "-" && this.#places.size < this.#limits.maxJobs)
      this.#places.set(`${name}\0${unique}`, order);
  }

  dropReserved(): void {
    this.#places.clear();
  }

  /** running → queued, before all younger jobs of its priority. */
  requeue(job: Job): void {
    this.#release(job);
    job.state = { kind: "queued" };
    job.progress = noProgress;
    job.function.queues[job.priority].add(job);
  }

  /** queued, running → ended */
  end(job: Job): void {
    this.#release(job);
    job.state = { kind: "ended" };
    this.#jobs.delete(job.handle);
    this.#bytes -= job.data.length;
    this.#foreground -= job.clients.length;
    if (job.uniqueKey !== undefined) job.function.uniques.delete(job.uniqueKey);
    for (const client of job.clients) client.submitted.delete(job);
  }

  #isFull(entry: JobFunction, data: Uint8Array): boolean {
    const { maxJobs, maxJobBytes } = this.#limits;
    if (this.#jobs.size >= maxJobs || this.#bytes + data.length > maxJobBytes) return true;
    return entry.maxQueue !== undefined && queuedCount(entry) >= entry.maxQueue;
  }

  #add(entry: JobFunction, submission: Submission, key: string | undefined): Job {
    this.#count += 1;
    const handle = `${this.#handlePrefix}${this.#count}`;
    const place = `${entry.name}\0${toKey(submission.unique)}`;
    const order = this.#places.get(place) ?? this.#count;
    this.#places.delete(place);
    return this.#insert(entry, submission, handle, order, key);
  }

  #insert(
    entry: JobFunction,
    submission: Omit<Submission, "name">,
    handle: string,
    order: number,
    key: string | undefined,
  ): Job {
    const job: Job = {
      handle,
      function: entry,
      unique: submission.unique,
      uniqueKey: key,
      data: submission.data,
      priority: submission.priority,
      order,
      background: submission.background,
      state: { kind: "queued" },
      clients: [],
      losses: 0,
      progress: noProgress,
    };
    this.#jobs.set(job.handle, job);
    this.#bytes += job.data.length;
    if (key !== undefined) entry.uniques.set(key, job);
    entry.queues[job.priority].add(job);
    return job;
  }

  /** Takes it out of the queue, or away from its worker. */
  #release(job: Job): void {
    if (job.state.kind === "queued") job.function.queues[job.priority].remove(job);
    if (job.state.kind !== "running") return;
    job.function.running -= 1;
    job.state.worker.running.delete(job);
  }
}

const noProgress = ["0", "0"] as const;

/** A job without a unique is never shared; the unique `-` stands for the data, as in gearmand. */
function uniqueKey({ unique, data }: Pick<Submission, "unique" | "data">): string | undefined {
  if (unique.length === 0) return undefined;
  const key = toKey(unique);
  return key === "-" ? `-\0${hash("sha256", data)}` : key;
}

interface Link<Item> {
  readonly item: Item;
  before: Link<Item> | undefined;
  after: Link<Item> | undefined;
}

/** The queued jobs of one function and priority, sorted by `order`; any of them can be taken out at once. */
export class OrderedList<Item extends { readonly order: number }> {
  readonly #links = new Map<Item, Link<Item>>();
  #head: Link<Item> | undefined;
  #tail: Link<Item> | undefined;

  get size(): number {
    return this.#links.size;
  }

  /** The oldest. */
  get first(): Item | undefined {
    return this.#head?.item;
  }

  /** A new job is appended at once; a requeued one searches its place from the head, where it usually is. */
  add(item: Item): void {
    const atEnd = !this.#tail || this.#tail.item.order < item.order;
    let after = atEnd ? undefined : this.#head;
    while (after && after.item.order < item.order) after = after.after;
    const before = after ? after.before : this.#tail;
    const link: Link<Item> = { item, before, after };
    if (before) before.after = link;
    else this.#head = link;
    if (after) after.before = link;
    else this.#tail = link;
    this.#links.set(item, link);
  }

  remove(item: Item): void {
    const link = this.#links.get(item);
    if (!link) return;
    if (link.before) link.before.after = link.after;
    else this.#head = link.after;
    if (link.after) link.after.before = link.before;
    else this.#tail = link.before;
    this.#links.delete(item);
  }
}
