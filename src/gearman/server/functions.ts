/** The job server's functions by name: what may be one, how many there may be, and how they come and go. */
import {
  type Job,
  type JobFunction,
  type Member,
  OrderedList,
  priorities,
  queuedCount,
  toKey,
} from "./jobs.ts";

/** Of a function, unique or client id, in bytes. */
export const maxNameLength = 512;

/** The job that this worker gets next: the oldest one of the highest priority over all its functions. */
export function nextJob(worker: Member): Job | undefined {
  for (const priority of priorities) {
    let oldest: Job | undefined;
    for (const entry of worker.abilities.keys()) {
      const first = entry.queues[priority].first;
      if (first && (!oldest || first.order < oldest.order)) oldest = first;
    }
    if (oldest) return oldest;
  }
  return undefined;
}

/** The place of a queued job among those that its workers get before it: see nextJob(). */
export function placeOf(job: Job, jobs: Iterable<Job>): number {
  const rivals = new Set([
    job.function,
    ...[...job.function.workers].flatMap((worker) => [...worker.abilities.keys()]),
  ]);
  const rank = priorities.indexOf(job.priority);
  let place = 1;
  for (const other of jobs) {
    if (other.state.kind !== "queued" || !rivals.has(other.function)) continue;
    const otherRank = priorities.indexOf(other.priority);
    if (otherRank < rank || (otherRank === rank && other.order < job.order)) place += 1;
  }
  return place;
}

/** A function stays when its workers and jobs are gone, as in gearmand; at the limit an idle one makes way. */
export class FunctionTable implements Iterable<JobFunction> {
  readonly #functions = new Map<string, JobFunction>();
  readonly #maxFunctions: number;

  constructor(maxFunctions: number) {
    this.#maxFunctions = maxFunctions;
  }

  [Symbol.iterator](): Iterator<JobFunction> {
    return this.#functions.values();
  }

  get(name: Uint8Array): JobFunction | undefined {
    return this.#functions.get(toKey(name));
  }

  /** A job of any function with this unique. */
  findUnique(unique: Uint8Array): Job | undefined {
    const key = toKey(unique);
    for (const entry of this) {
      const job = entry.uniques.get(key);
      if (job) return job;
    }
    return undefined;
  }

  /** The function of that name, created if it doesn't exist; or why it can't be, as the text of an ERROR. */
  obtain(name: Uint8Array): JobFunction | string {
    const existing = this.get(name);
    if (existing) return existing;
    if (name.length === 0 || name.length > maxNameLength) {
      return `A function name has 1 to ${maxNameLength} bytes, not ${name.length}`;
    }
    if (name.some((byte) => byte < 0x20 || byte === 0x7f)) return "A function name has no control characters";
    if (this.#functions.size >= this.#maxFunctions && !this.#makeRoom()) {
      return `There are ${this.#maxFunctions} functions in use, the most this server takes`;
    }
    const entry: JobFunction = {
      name: toKey(name),
      workers: new Set(),
      uniques: new Map(),
      queues: { high: new OrderedList(), normal: new OrderedList(), low: new OrderedList() },
      running: 0,
      maxQueue: undefined,
    };
    this.#functions.set(entry.name, entry);
    return entry;
  }

  /** Forgets a function, unless it has workers or jobs. */
  drop(name: Uint8Array): "dropped" | "busy" | "unknown" {
    const entry = this.get(name);
    if (!entry) return "unknown";
    if (!isIdle(entry)) return "busy";
    this.#functions.delete(entry.name);
    return "dropped";
  }

  #makeRoom(): boolean {
    for (const entry of this.#functions.values()) {
      if (isIdle(entry)) return this.#functions.delete(entry.name);
    }
    return false;
  }
}

const isIdle = (entry: JobFunction): boolean =>
  entry.workers.size === 0 && entry.running === 0 && queuedCount(entry) === 0;
