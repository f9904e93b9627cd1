/** What of a worker's life goes into the log and the counters. */
import type { Log } from "#/lib/log.ts";
import type { WorkerEvent } from "./worker.ts";

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
