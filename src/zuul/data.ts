/**
 * The JSON object of a WORK_DATA packet, with the keys of both dialects of Zuul: the 2013 launcher reads `full_url`, `number`,
 * `master`; Zuul 2.x reads `url`, `number`, `manager`, `worker_*`, `node_*`. Zuul looks only at the last packet, and parses
 * each as a whole object, so every packet carries everything.
 */

/** The agent, as the packets show it. */
export interface WorkerFacts {
  readonly manager: string;
  readonly hostname: string;
  readonly fqdn: string;
  readonly ips: readonly string[];
  readonly version: string;
}

/** One build, as the packets show it. */
export interface BuildFacts {
  readonly job: string;
  /** From 1; Zuul's first launcher reads 0 as 'not started'. Absent when the request was refused. */
  readonly number?: number;
  /** Its page. */
  readonly url: string;
  readonly node: string;
  readonly labels: readonly string[];
}

/** The object of a build's first packet; the last one adds `result`, and `reason` and `cause` if the build hasn't passed. */
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

/** By how a build ended. Without a result, Zuul 2 runs the build again elsewhere. */
const results = {
  passed: "SUCCESS",
  failed: "FAILURE",
  stopped: "ABORTED",
  "timed-out": "TIMED_OUT",
  infrastructure: undefined,
  lost: undefined,
} as const;

/**
 * The result string of an ending; undefined when the build is not at fault.
 * @param infrastructureResult sent in place of none, for Zuul older than 2.0, which would wait for ever
 */
export function resultOf(ending: keyof typeof results, infrastructureResult?: string): string | undefined {
  return results[ending] ?? infrastructureResult;
}
