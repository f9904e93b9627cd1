/** The real `gearman` and `gearadmin`, and our client recording what comes back of a job. */
import { execa } from "execa";
import { Client, type JobEvent, type SubmitOptions } from "#/gearman/client/client.ts";
import { Arrivals } from "./gearman.ts";
import { part, partsEnv } from "./parts.ts";
import { patienceMs } from "./servers.ts";

/** Runs `gearman` to its end; the last argument is the job's. */
export function gearman(port: number, args: readonly string[]) {
  const options = ["-h", "127.0.0.1", "-p", `${port}`, ...args];
  return execa(part("gearman"), options, {
    env: partsEnv,
    reject: false,
    timeout: patienceMs,
    stdin: "ignore",
  });
}

export function gearadmin(port: number, ...args: string[]) {
  return execa(part("gearadmin"), ["-h", "127.0.0.1", "-p", `${port}`, ...args], {
    env: partsEnv,
    timeout: patienceMs,
  });
}

/** What `gearadmin --status` prints about each function. */
export async function functions(
  port: number,
): Promise<Map<string, { total: number; running: number; workers: number }>> {
  let stdout = "";
  // gearadmin takes a pause in the answer, as on a busy machine, for its end.
  while (!/^\.$/m.test(stdout)) ({ stdout } = await gearadmin(port, "--status"));
  const rows = stdout.split("\n").map((line) => line.split("\t"));
  return new Map(
    rows
      .filter((row) => row.length === 4)
      .map(([name = "", total, running, workers]) => [
        name,
        { total: Number(total), running: Number(running), workers: Number(workers) },
      ]),
  );
}

export interface Watched {
  readonly asked: SubmitOptions;
  readonly handle: string;
  /** What has come so far. */
  readonly events: JobEvent[];
  /** Resolves with the first data object, once the build has started. */
  readonly started: Promise<Record<string, unknown>>;
  /** Resolves when the console has this text; for a build that is asked to stream it. */
  said(text: string): Promise<void>;
  /** Resolves when so many data packets have come. */
  dataPackets(count: number): Promise<void>;
  /** Resolves with all events at the end. */
  readonly ended: Promise<JobEvent[]>;
}

/** Submits a job and records all that comes back. */
export async function submit(port: number, options: SubmitOptions): Promise<Watched> {
  const client = await Client.connect(
    { host: "127.0.0.1", port },
    { signal: AbortSignal.timeout(patienceMs) },
  );
  const submission = await client.submit(options);
  const arrivals = new Arrivals<JobEvent>();
  const started = Promise.withResolvers<Record<string, unknown>>();
  const ended = (async () => {
    await using _ = client;
    if (options.background) return arrivals.all;
    for await (const event of submission) {
      arrivals.add(event);
      if (event.type === "data") started.resolve(object(event));
    }
    started.reject(new Error("the job ended before it sent data"));
    return arrivals.all;
  })();
  started.promise.catch(() => {});
  ended.catch(() => {});
  const dataPackets = (count: number) =>
    arrivals.until((all) => all.filter(({ type }) => type === "data").length >= count);
  const said = (text: string) => arrivals.until((all) => outputOf(all).includes(text));
  return {
    asked: options,
    handle: submission.handle,
    events: arrivals.all,
    dataPackets,
    started: started.promise,
    said,
    ended,
  };
}

/** What a build that was asked to stream has written to its console. */
function outputOf(events: readonly JobEvent[]): string {
  const data = events.filter(({ type }) => type === "data").map(object);
  return data.map(({ output }) => output ?? "").join("");
}

/** The object in the last data packet of a build, once it has ended. */
export async function lastData(build: Pick<Watched, "ended">): Promise<Record<string, unknown>> {
  return object((await build.ended).filter(({ type }) => type === "data").at(-1));
}

/** The object in a data packet. */
export function object(event: JobEvent | undefined): Record<string, unknown> {
  if (!event || !("data" in event)) throw new Error(`no data in ${JSON.stringify(event)}`);
  return JSON.parse(event.data.toString());
}
