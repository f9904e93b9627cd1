/** The job server's jobs: every change of a job's state, in all the tables it stands in, and the limits on them. */
import { hash } from "node:crypto";
import { queuedCount, toKey } from "./queue-functions.ts";
import type { Job, JobFunction, JobLimits, Member, Priority } from "./queue-model.ts";

export interface Submission {
  readonly name: Uint8Array;
  readonly unique: Uint8Array;
  readonly data: Uint8Array;
  readonly priority: Priority;
  readonly background: boolean;
}

/** Somebody waits for the job, or it is to run without. */
export const isWanted = (job: Job): boolean => job.background || job.clients.length > 0;

export class JobTable implements Iterable<Job> {
  readonly #limits: JobLimits;
  readonly #handlePrefix: string;
  readonly #jobs = new Map<string, Job>();
  #made = 0;
  #seats = 0;
  #bytes = 0;

  /** @param handlePrefix what handles begin with; a number counting from 1 follows */
  constructor(handlePrefix: string, limits: JobLimits) {
    this.#handlePrefix = handlePrefix;
    this.#limits = limits;
  }

  [Symbol.iterator](): Iterator<Job> {
    return this.#jobs.values();
  }

  /** How many bytes of job data are held. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The job with this handle, while it is queued or running. */
  find(handle: string): Job | undefined {
    return this.#jobs.get(handle);
  }

  /**
   * A new queued job, or the one that holds the unique already; undefined when a limit is reached. A foreground submit
   * takes a seat for its member.
   */
  submit(entry: JobFunction, submission: Submission, member: Member): Job | undefined {
    const key = uniqueKey(submission);
    const existing = key === undefined ? undefined : entry.uniques.get(key);
    if (!submission.background && this.#seats >= this.#limits.maxJobs) return undefined;
    if (!existing && this.#isFull(entry, submission.data)) return undefined;
    const job = existing ?? this.#add(entry, submission, key);
    if (submission.background) job.background = true;
    else {
      job.clients.push(member);
      member.submitted.add(job);
      this.#seats += 1;
    }
    return job;
  }

  /** Takes away all seats of a member at a job. */
  unseat(member: Member, job: Job): void {
    const others = job.clients.filter((client) => client !== member);
    this.#seats -= job.clients.length - others.length;
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

  /** running → queued, at the place its age gives it: before all younger ones of its priority. */
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
    this.#seats -= job.clients.length;
    if (job.uniqueKey !== undefined) job.function.uniques.delete(job.uniqueKey);
    for (const client of job.clients) client.submitted.delete(job);
  }

  #isFull(entry: JobFunction, data: Uint8Array): boolean {
    const { maxJobs, maxJobBytes } = this.#limits;
    if (this.#jobs.size >= maxJobs || this.#bytes + data.length > maxJobBytes) return true;
    return entry.maxQueue !== undefined && queuedCount(entry) >= entry.maxQueue;
  }

  #add(entry: JobFunction, submission: Submission, key: string | undefined): Job {
    this.#made += 1;
    const job: Job = {
      handle: `${this.#handlePrefix}${this.#made}`,
      function: entry,
      unique: submission.unique,
      uniqueKey: key,
      data: submission.data,
      priority: submission.priority,
      order: this.#made,
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

  /** Out of the queue or out of its worker's hands. */
  #release(job: Job): void {
    if (job.state.kind === "queued") job.function.queues[job.priority].remove(job);
    if (job.state.kind !== "running") return;
    job.function.running -= 1;
    job.state.worker.running.delete(job);
  }
}

const noProgress = ["0", "0"] as const;

/** Without a unique each job is its own; the unique `-` means that the data are it (as gearmand has it). */
function uniqueKey({ unique, data }: Submission): string | undefined {
  if (unique.length === 0) return undefined;
  const key = toKey(unique);
  return key === "-" ? `-\0${hash("sha256", data)}` : key;
}

/** The number a worker wrote; what is none reads as 0. */
export const digits = (written: Uint8Array | undefined): string =>
  /^\d{1,15}$/.exec(toKey((written ?? new Uint8Array()).subarray(0, 16)))?.[0] ?? "0";
