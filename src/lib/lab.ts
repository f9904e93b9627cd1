/** The lab: all boxes of the job servers seen as one. `labgear lab --json` and /api/lab print it; keys are only added. */

export interface LabView {
  readonly version: 1;
  /** ISO 8601. */
  readonly time: string;
  readonly servers: readonly LabServer[];
  /** Those that are away first, then by name. */
  readonly boxes: readonly LabBox[];
  readonly classes: readonly LabClass[];
  /** Out of order first, the longest first; then suspects; then by box and name. */
  readonly boards: readonly LabBoard[];
  readonly running: readonly LabBuild[];
  /** Functions with builds that no executor has taken yet; those that no node takes first. */
  readonly queued: readonly LabQueued[];
}

export interface LabServer {
  /** HOST:PORT. */
  readonly server: string;
  /** Why it doesn't answer. */
  readonly error?: string;
}

export interface LabBox {
  readonly name: string;
  /** `asked`: it hasn't been heard yet; `away`: it doesn't answer, or no job server has its connections. */
  readonly state: "up" | "asked" | "away";
  /** Of its last answer; a watcher that has just begun may not have had any. */
  readonly seen?: string;
  /** The rest is of its last answer. */
  readonly url?: string;
  readonly hostname?: string;
  readonly programVersion?: string;
  /** running, draining… */
  readonly life?: string;
}

export interface LabClass {
  readonly name: string;
  /** Nodes that take builds; that run one; whose board is out of order; that are paused, draining or full. */
  readonly free: number;
  readonly busy: number;
  readonly sick: number;
  readonly held: number;
  /** Builds in the queue that ask for this class. */
  readonly waiting: number;
  /** When this watcher first saw a build wait for it. */
  readonly waitingSince?: string;
}

export interface LabBoard {
  readonly box: string;
  readonly name: string;
  readonly classes: readonly string[];
  readonly state: "free" | "busy" | "sick" | "held";
  readonly cause?: string;
  readonly reason?: string;
  readonly since?: string;
  readonly tries?: number;
  readonly who?: string;
  /** It fails a job more often than its siblings do, in a line. */
  readonly suspect?: string;
  /** Its page; absent: the box has no address that others reach. */
  readonly url?: string;
}

export interface LabBuild {
  readonly box: string;
  readonly node: string;
  readonly name: string;
  readonly number: number;
  readonly url?: string;
}

export interface LabQueued {
  readonly server: string;
  readonly function: string;
  readonly count: number;
  /** When this watcher first saw one wait. */
  readonly since: string;
  /** `no node takes this`, or what the nodes that could take it do. */
  readonly why?: string;
  /** No connection has the function. */
  readonly orphan: boolean;
}
