/** How the rooms log, and what of a worker's life is worth a line. */
import type { WorkerEvent } from "#/gearman/worker.ts";

/** The part of pino's logger that the rooms use. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  child(fields: object): Log;
}

/** Logs what happens between a worker and its job servers. */
export function logWorkerEvent(log: Log, event: WorkerEvent): void {
  const { server } = event;
  switch (event.type) {
    case "up":
      return log.info({ server }, `registered with ${server}`);
    case "down":
      return log.warn({ server, code: event.error.code }, `${event.error.message}; trying again`);
    case "oddity":
      return log.warn({ server }, `${server}: ${event.text}`);
    case "job-error":
      return log.error({ server, handle: event.handle, err: event.error }, "a job ended by a fault of ours");
  }
}
