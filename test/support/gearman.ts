/** Helpers for tests of workers and clients. */
import { Admin, type FunctionStatus } from "#/gearman/client/admin.ts";
import { Client, type JobEvent, type Submission } from "#/gearman/client/client.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { type Job, Worker, type WorkerEvent, type WorkerOptions } from "#/gearman/worker/worker.ts";
import { bounded } from "./servers.ts";

/** A queue that a test takes from, waiting with a bound for what isn't there yet. */
export class Arrivals<T> {
  readonly all: T[] = [];
  readonly #waiting = new Set<() => void>();
  #taken = 0;

  add(item: T): void {
    this.all.push(item);
    for (const check of [...this.#waiting]) check();
  }

  /** The next item that nobody has taken. */
  async next(): Promise<T> {
    const index = this.#taken++;
    await this.until(() => this.all.length > index);
    return this.all[index] as T;
  }

  /** Resolves when the condition holds, looking at each arrival. */
  until(condition: (all: readonly T[]) => boolean): Promise<void> {
    const held = new Promise<void>((resolve) => {
      const check = () => {
        if (!condition(this.all)) return;
        this.#waiting.delete(check);
        resolve();
      };
      this.#waiting.add(check);
      check();
    });
    return bounded(held);
  }
}

/** A job that a test has in hand: its worker is busy until `done`. */
export interface JobInHand extends Job {
  done(): void;
}

export interface TestWorker extends AsyncDisposable {
  readonly worker: Worker;
  readonly jobs: Arrivals<JobInHand>;
  readonly events: Arrivals<WorkerEvent>;
}

/** A worker that has registered the functions, and hands its jobs to the test. */
export async function startWorker(
  servers: readonly ServerAddress[],
  functions: readonly string[],
  options: Partial<WorkerOptions> = {},
): Promise<TestWorker> {
  const jobs = new Arrivals<JobInHand>();
  const events = new Arrivals<WorkerEvent>();
  const onJob = (job: Job) =>
    new Promise<void>((resolve) => jobs.add(Object.assign(job, { done: resolve }) as JobInHand));
  const worker = new Worker({
    servers,
    clientId: "test",
    onJob,
    onEvent: (event) => events.add(event),
    ...options,
  });
  worker.setFunctions(new Set(functions));
  await bounded(worker.registered());
  return { worker, jobs, events, [Symbol.asyncDispose]: () => worker[Symbol.asyncDispose]() };
}

/** All events of a submission, with data as text. */
export async function eventsOf(submission: Submission): Promise<string[]> {
  const all: string[] = [];
  for await (const event of submission) all.push(eventText(event));
  return all;
}

function eventText(event: JobEvent): string {
  if (event.type === "status") return `status ${event.numerator}/${event.denominator}`;
  return event.type === "fail" ? "fail" : `${event.type} ${event.data}`;
}

/** What `status` says of a function, as `total running workers`. */
export async function statusOf(server: ServerAddress, name: string): Promise<string> {
  await using admin = await Admin.connect(server);
  const found = (await admin.status()).find((entry: FunctionStatus) => entry.function === name);
  return found ? `${found.total} ${found.running} ${found.workers}` : "none";
}

/** Submits one job and doesn't follow it. */
export async function submitDetached(server: ServerAddress, name: string, data = ""): Promise<string> {
  await using client = await Client.connect(server);
  return (await client.submit({ function: name, data, background: true })).handle;
}

/** Resolves when the worker has told that a server came, or went, that often in all. */
export const told = (box: TestWorker, type: "up" | "down", port: number, times = 1) =>
  box.events.until((all) => {
    return all.filter((event) => event.type === type && event.server === `127.0.0.1:${port}`).length >= times;
  });
