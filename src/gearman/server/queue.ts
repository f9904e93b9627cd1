/** The job server's queue of jobs, with its workers and waiting clients: commands in, effects out; no sockets, no timers. */
import type { PacketType } from "../wire/packet.ts";
import { FunctionTable, maxNameLength, nextJob, placeOf } from "./functions.ts";
import {
  type ConnectionId,
  fromKey,
  type Job,
  type JobLimits,
  JobTable,
  type Member,
  queuedCount,
  type Submission,
  toKey,
} from "./jobs.ts";
import type { KeptJob } from "./journal.ts";

/** What the server has to do after a command, in this order. */
export type Effect =
  /** Send this packet once for each id in `to`; an id may be in there twice. */
  | {
      readonly kind: "send";
      readonly to: readonly ConnectionId[];
      readonly type: PacketType;
      readonly args: readonly (string | Uint8Array)[];
    }
  /** Call `expire(handle)` after that time, unless the timer is stopped before. */
  | { readonly kind: "start-timer"; readonly handle: string; readonly seconds: number }
  | { readonly kind: "stop-timer"; readonly handle: string }
  /** The job came into the queue, or changed there: the next server has to find it. */
  | { readonly kind: "keep"; readonly job: Job }
  /** A worker has it. */
  | { readonly kind: "run"; readonly job: Job }
  /** It has ended. */
  | { readonly kind: "forget"; readonly job: Job }
  /** A running job lost its worker; `message` is one line for the log. */
  | { readonly kind: "worker-lost"; readonly message: string };

export interface QueueOptions extends JobLimits {
  /** What handles begin with: `H:HOST:`. */
  readonly handlePrefix: string;
  readonly maxFunctions: number;
  /** How many workers a job may lose and still be requeued; 0: the first loss fails it. */
  readonly maxLosses: number;
  /** Whether the changes of jobs are effects, too. */
  readonly isKept?: boolean;
}

/** The functions of one connection. */
const maxAbilities = 4096;

/**
 * Methods that change something return the effects to carry out. A command that can't be carried out has an ERROR packet to
 * its sender as the effect; nothing throws. Source: PROTOCOL of gearmand, and gearmand 1.1.20 as observed.
 */
export class JobQueue {
  readonly functions: FunctionTable;
  /** All queued and running jobs. */
  readonly jobs: JobTable;
  readonly #members = new Map<ConnectionId, Member>();
  readonly #maxLosses: number;
  readonly #isKept: boolean;
  #effects: Effect[] = [];

  constructor(options: QueueOptions) {
    this.functions = new FunctionTable(options.maxFunctions);
    this.jobs = new JobTable(options.handlePrefix, options);
    this.#maxLosses = options.maxLosses;
    this.#isKept = options.isKept ?? false;
  }

  /**
   * Takes over the jobs of an earlier server, before anyone connects: background jobs wait again, foreground jobs get their place
   * back when their clients submit them again.
   * @returns how many wait
   */
  restore(kept: readonly KeptJob[]): number {
    let count = 0;
    for (const job of kept) {
      this.jobs.countFrom(Math.max(job.order, Number(/\d{1,15}$/.exec(job.handle)?.[0] ?? 0)));
      if (!job.background) this.jobs.reserve(job.name, job.unique, job.order);
      const entry =
        job.background && job.losses <= this.#maxLosses ? this.functions.obtain(fromKey(job.name)) : "";
      if (typeof entry !== "string" && this.jobs.restore(entry, job)) count += 1;
    }
    return count;
  }

  get members(): Iterable<Member> {
    return this.#members.values();
  }

  /** A connection was made. */
  join(id: ConnectionId, address: string): void {
    const sets = { abilities: new Map(), submitted: new Set<Job>(), running: new Set<Job>() };
    this.#members.set(id, { id, address, clientId: "-", sleep: "awake", exceptions: false, ...sets });
  }

  /** A connection ended: the jobs that it runs are requeued or fail, and queued ones that only it waits for are dropped. */
  leave(id: ConnectionId): Effect[] {
    const member = this.#member(id);
    this.resetAbilities(id);
    this.#members.delete(id);
    for (const job of member.submitted) {
      this.jobs.detach(member, job);
      if (job.state.kind === "queued" && !isWanted(job)) this.#end(job);
    }
    // The oldest last, so that each goes to the head of its queue.
    for (const job of [...member.running].reverse()) this.#lose(job, member);
    return this.#take();
  }

  /**
   * Registers a function, or changes its timeout.
   * @param timeout how long a job of it may run on this worker, in seconds; 0: no limit
   */
  canDo(id: ConnectionId, name: Uint8Array, timeout = 0): Effect[] {
    const member = this.#member(id);
    const entry = this.functions.obtain(name);
    if (typeof entry === "string") return this.refuse(id, "INVALID_FUNCTION_NAME", entry);
    if (member.abilities.size >= maxAbilities && !member.abilities.has(entry)) {
      return this.refuse(id, "TOO_MANY_FUNCTIONS", `One connection takes ${maxAbilities} functions`);
    }
    member.abilities.set(entry, timeout);
    entry.workers.add(member);
    if (queuedCount(entry) > 0) this.#wake([member]);
    return this.#take();
  }

  /** Unregisters a function. A running job of it goes on; gearmand also gives it to a second worker. */
  cantDo(id: ConnectionId, name: Uint8Array): void {
    const member = this.#member(id);
    const entry = this.functions.get(name);
    if (!entry) return;
    member.abilities.delete(entry);
    entry.workers.delete(member);
  }

  resetAbilities(id: ConnectionId): void {
    const member = this.#member(id);
    for (const entry of member.abilities.keys()) entry.workers.delete(member);
    member.abilities.clear();
  }

  setClientId(id: ConnectionId, clientId: Uint8Array): Effect[] {
    if (clientId.length > maxNameLength) return this.refuse(id, "ARGUMENT_TOO_LARGE", "Client id too large");
    this.#member(id).clientId = toKey(clientId) || "-";
    return [];
  }

  /** From now on this client gets WORK_EXCEPTION packets. */
  wantExceptions(id: ConnectionId): void {
    this.#member(id).exceptions = true;
  }

  /** The worker waits for NOOP, which it gets at once if there is a job already. */
  preSleep(id: ConnectionId): Effect[] {
    const member = this.#member(id);
    member.sleep = "asleep";
    if (nextJob(member)) this.#wake([member]);
    return this.#take();
  }

  /** A job's place in line, from 1 on, over all functions of its workers; 0 when it isn't queued. */
  placeOf(handle: string): number {
    const job = this.jobs.find(handle);
    return job?.state.kind === "queued" ? placeOf(job, this.jobs) : 0;
  }

  /** Hands out the job of the highest priority over all the worker's functions, the oldest first; else NO_JOB. */
  grab(id: ConnectionId, form: "JOB_ASSIGN" | "JOB_ASSIGN_UNIQ"): Effect[] {
    const member = this.#member(id);
    member.sleep = "awake";
    const job = nextJob(member);
    if (!job) return [{ kind: "send", to: [id], type: "NO_JOB", args: [] }];
    const seconds = member.abilities.get(job.function) ?? 0;
    this.jobs.assign(job, member, seconds > 0);
    const unique = form === "JOB_ASSIGN_UNIQ" ? [job.unique] : [];
    if (this.#isKept) this.#effects.push({ kind: "run", job });
    this.#send([member], form, job.handle, fromKey(job.function.name), ...unique, job.data);
    if (seconds > 0) this.#effects.push({ kind: "start-timer", handle: job.handle, seconds });
    return this.#take();
  }

  /** A new job, or the queued or running one of the same function and unique: same handle, same packets. */
  submit(id: ConnectionId, submission: Submission): Effect[] {
    const member = this.#member(id);
    if (submission.unique.length > maxNameLength) {
      return this.refuse(id, "ARGUMENT_TOO_LARGE", "Unique value too large");
    }
    const entry = this.functions.obtain(submission.name);
    if (typeof entry === "string") return this.refuse(id, "INVALID_FUNCTION_NAME", entry);
    const job = this.jobs.submit(entry, submission, member);
    if (!job) return this.refuse(id, "QUEUE_ERROR", "Job queue is full");
    this.#keep(job);
    this.#send([member], "JOB_CREATED", job.handle);
    if (job.state.kind === "queued") this.#wake(entry.workers);
    return this.#take();
  }

  /** What a worker reports about its running job, to all clients of the job. */
  progress(
    id: ConnectionId,
    type: "WORK_DATA" | "WORK_WARNING" | "WORK_STATUS",
    handle: Uint8Array,
    ...rest: Uint8Array[]
  ): Effect[] {
    const job = this.#runningOf(id, handle);
    if (!job) return this.refuse(id, "JOB_NOT_FOUND", "Job does not exist on server");
    if (type === "WORK_STATUS") job.progress = [digits(rest[0]), digits(rest[1])];
    this.#send(job.clients, type, job.handle, ...rest);
    return this.#take();
  }

  /** A worker ends its running job, also by an exception: clients that didn't ask for exceptions get WORK_FAIL. */
  finish(
    id: ConnectionId,
    type: "WORK_COMPLETE" | "WORK_FAIL" | "WORK_EXCEPTION",
    handle: Uint8Array,
    ...rest: Uint8Array[]
  ): Effect[] {
    const job = this.#runningOf(id, handle);
    if (!job) return this.refuse(id, "JOB_NOT_FOUND", "Job given in work result not found");
    const takers = job.clients.filter(({ exceptions }) => type !== "WORK_EXCEPTION" || exceptions);
    const others = job.clients.filter((client) => !takers.includes(client));
    this.#send(takers, type, job.handle, ...rest);
    this.#send(others, "WORK_FAIL", job.handle);
    this.#end(job);
    return this.#take();
  }

  /** A running job's time is over: it fails (PROTOCOL, CAN_DO_TIMEOUT), and later packets of its worker are errors. */
  expire(handle: string): Effect[] {
    const job = this.jobs.find(handle);
    if (job?.state.kind === "running") this.#fail(job);
    return this.#take();
  }

  /** Fails a queued job. Undefined for a running one, since no packet stops a worker, and for an unknown one. */
  cancel(handle: string): Effect[] | undefined {
    const job = this.jobs.find(handle);
    if (job?.state.kind !== "queued") return undefined;
    this.#fail(job);
    return this.#take();
  }

  /** An ERROR packet to this connection. */
  refuse(id: ConnectionId, code: string, text: string): Effect[] {
    return [{ kind: "send", to: [id], type: "ERROR", args: [code, text] }];
  }

  #fail(job: Job): void {
    this.#send(job.clients, "WORK_FAIL", job.handle);
    this.#end(job);
  }

  #keep(job: Job): void {
    if (!this.#isKept) return;
    this.#effects.push({ kind: "keep", job });
    if (job.state.kind === "running") this.#effects.push({ kind: "run", job });
  }

  #end(job: Job): void {
    this.#stopTimer(job);
    if (this.#isKept) this.#effects.push({ kind: "forget", job });
    this.jobs.end(job);
  }

  #lose(job: Job, worker: Member): void {
    job.losses += 1;
    const outcome = !isWanted(job) ? "dropped" : job.losses > this.#maxLosses ? "failed" : "requeued";
    const message = `job ${job.handle} lost its worker ${worker.address} (loss ${job.losses}) and is ${outcome}`;
    this.#effects.push({ kind: "worker-lost", message });
    if (outcome === "dropped") this.#end(job);
    else if (outcome === "failed") this.#fail(job);
    else {
      this.#stopTimer(job);
      this.jobs.requeue(job);
      this.#keep(job);
      this.#wake(job.function.workers);
    }
  }

  #stopTimer(job: Job): void {
    if (job.state.kind !== "running" || !job.state.timed) return;
    this.#effects.push({ kind: "stop-timer", handle: job.handle });
  }

  /** Sends NOOP to each of them that sleeps. */
  #wake(workers: Iterable<Member>): void {
    const sleepers = [...workers].filter((worker) => worker.sleep === "asleep");
    for (const worker of sleepers) worker.sleep = "awake";
    this.#send(sleepers, "NOOP");
  }

  #send(to: readonly Member[], type: PacketType, ...args: (string | Uint8Array)[]): void {
    if (to.length > 0) this.#effects.push({ kind: "send", to: to.map((member) => member.id), type, args });
  }

  #runningOf(id: ConnectionId, handle: Uint8Array): Job | undefined {
    const job = this.jobs.find(toKey(handle));
    return job?.state.kind === "running" && job.state.worker.id === id ? job : undefined;
  }

  #member(id: ConnectionId): Member {
    const member = this.#members.get(id);
    if (!member) throw new Error(`connection ${id} is unknown to the queue: call join first and leave last`);
    return member;
  }

  #take(): Effect[] {
    const effects = this.#effects;
    this.#effects = [];
    return effects;
  }
}

/** A client waits for the job, or it runs without one. */
const isWanted = (job: Job): boolean => job.background || job.clients.length > 0;

/** A worker's number; anything else counts as 0. */
const digits = (written: Uint8Array | undefined): string =>
  /^\d{1,15}$/.exec(toKey((written ?? new Uint8Array()).subarray(0, 16)))?.[0] ?? "0";
