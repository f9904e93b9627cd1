/**
 * The JSON object of a WORK_DATA packet, with the keys of both dialects of Zuul: the 2013 launcher reads `full_url`, `number`,
 * `master`; Zuul 2.x reads `url`, `number`, `manager`, `worker_*`, `node_*`. Zuul looks only at the last packet, and parses
 * each as a whole object, so every packet carries everything.
 */

/** What the packets say of the agent itself. */
export interface WorkerFacts {
  readonly manager: string;
  readonly hostname: string;
  readonly fqdn: string;
  readonly ips: readonly string[];
  readonly version: string;
}

/** What they say of one build. */
export interface BuildFacts {
  readonly job: string;
  /** From 1; Zuul's first launcher reads 0 as 'not started'. Absent when no build came of the request. */
  readonly number?: number;
  /** Where a person can look at it. */
  readonly url: string;
  readonly node: string;
  readonly labels: readonly string[];
}

/**
 * The keys that a build's first and last packet share.
 * @returns an object to be written as JSON
 */
export function buildData(worker: WorkerFacts, build: BuildFacts): Record<string, unknown> {
  return {
    name: build.job,
    ...(build.number === undefined ? {} : { number: build.number }),
    manager: worker.manager,
    master: worker.manager,
    url: build.url,
    full_url: build.url,
    worker_name: worker.manager,
    worker_hostname: worker.hostname,
    worker_fqdn: worker.fqdn,
    worker_ips: worker.ips,
    worker_program: "labgear",
    worker_version: worker.version,
    worker_extra: {},
    node_name: build.node,
    node_labels: build.labels,
  };
}
