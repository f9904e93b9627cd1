/** What of a worker's life is worth a log line. */
import type { WorkerEvent } from "#/gearman/worker/worker.ts";
import type { Log } from "#/lib/log.ts";

/** How many oddities are told of one worker's servers: who sees those knows enough, and a bad server can send any number. */
const maxOddities = 10;

/** Logs what happens between one worker and its job servers; an oddity that comes again and again is told once. */
export function workerEventLogger(log: Log): (event: WorkerEvent) => void {
  const told = new Set<string>();
  return (event) => {
    const { server } = event;
    switch (event.type) {
      case "up":
        return log.info({ server }, `registered with ${server}`);
      case "down":
        return log.warn({ server, code: event.error.code }, `${event.error.message}; trying again`);
      case "warning":
        // Some servers send one for each build: the Perl server doesn't know WORK_DATA.
        if (told.has(event.text) || told.size >= maxOddities) return log.debug({ server }, event.text);
        told.add(event.text);
        return log.warn({ server }, event.text);
      case "job-error":
        return log.error(
          { server, handle: event.handle.slice(0, 100), err: event.error },
          "a job ended by a fault of ours",
        );
    }
  };
}
