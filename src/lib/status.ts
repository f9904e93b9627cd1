/** The agent's state as JSON: what the control socket answers, `labgear status` prints, and the pages show. */

export interface AgentStatus {
  readonly name: string;
  readonly version: string;
  readonly pid: number;
  readonly since: string;
  readonly state: "running" | "draining" | "drained" | "stopping" | "stopped";
  readonly files: readonly string[];
  readonly servers: readonly ServerStatus[];
  readonly nodes: readonly NodeStatus[];
}

/** All connections to one job server: the manager's two and each executor's. */
export interface ServerStatus {
  readonly server: string;
  /** Of the worst connection. */
  readonly state: string;
  /** One line for people. */
  readonly status: string;
  readonly connections: { readonly registered: number; readonly total: number };
  /** More than one connection answers for the agent's name. */
  readonly sharedName?: true;
}

export interface NodeStatus {
  readonly name: string;
  readonly classes: readonly string[];
  readonly state: "ready" | "held";
  /** Why it takes no builds. */
  readonly reasons: readonly string[];
  /** Of a board that takes none. */
  readonly outage?: Outage;
  readonly functions: readonly string[];
  readonly executors: readonly ExecutorStatus[];
  /** Builds that wait for an executor: all of them are busy. */
  readonly waiting: readonly BuildStatus[];
}

export interface ExecutorStatus {
  readonly index: number;
  readonly build?: BuildStatus;
  /** The ids of a build's processes that can't be killed; until they have ended, it takes no builds. */
  readonly blockedBy?: readonly number[];
}

export interface BuildStatus {
  readonly job: string;
  readonly number: number;
  readonly uuid: string;
  readonly phase: "assigned" | "preparing" | "running" | "collecting" | "stopping" | "ended";
  /** Percent. */
  readonly progress: number;
  readonly assigned: string;
  /** Who has the board and why, for a lease. */
  readonly lease?: LeaseStatus;
}

export interface LeaseStatus {
  readonly who: string;
  readonly reason: string;
  /** ISO 8601; absent: the board is made ready. */
  readonly until?: string;
}

type DeviceStateKind =
  | "absent"
  | "opening"
  | "proving"
  | "ready"
  | "busy"
  | "recovering"
  | "quarantined"
  | "paused";

/** A time in which a board takes no builds. */
export interface Outage {
  readonly since: string;
  readonly state: DeviceStateKind;
  /** What is wrong, in a word: unplugged, login-refused, paused… */
  readonly cause: string;
  readonly reason: string;
  /** Failed tries to bring it back. */
  readonly tries: number;
  /** Who paused it. */
  readonly who?: string;
  /** The builds without a result that led to its quarantine. */
  readonly builds?: readonly string[];
}

/** In days. */
export type TallyWindow = 7 | 30;

/** How the builds of a job on a board ended, before the last midnight (UTC). */
export interface BoardTally {
  readonly job: string;
  readonly failed: Readonly<Record<TallyWindow, number>>;
  readonly builds: Readonly<Record<TallyWindow, number>>;
  /** Failures of 30 days by cause. */
  readonly causes: Readonly<Record<string, number>>;
}

/** A board fails a job more often than its siblings, by more than chance explains. */
export interface Suspicion {
  readonly job: string;
  readonly days: TallyWindow;
  readonly failed: number;
  readonly builds: number;
  readonly siblingFailed: number;
  readonly siblingBuilds: number;
  /** Of the test, corrected for the number of jobs. */
  readonly p: number;
}

/** How a board did with a job lately, and its siblings in 30 days. */
export interface BoardRecord extends Omit<Suspicion, "days" | "p"> {
  readonly device: string;
  /** The board is suspected for this job. */
  readonly suspicion?: Suspicion;
  /** The job fails now and then on all boards of the class. */
  readonly flaky: boolean;
}

/** A device as `labgear devices` and the pages show it. */
export interface DeviceStatus {
  readonly name: string;
  readonly classes: readonly string[];
  readonly console: string;
  /** As configured. */
  readonly port: string;
  /** The device file or address at this moment; absent: it isn't there. */
  readonly path?: string;
  readonly state: DeviceStateKind;
  readonly reason?: string;
  /** Who holds the reservation. */
  readonly who?: string;
  /** When it entered this state; out of order, when it stopped taking builds, over restarts. */
  readonly since: string;
  /** Absent: it takes builds, or soon does. */
  readonly outage?: Outage;
  /** Jobs that it fails more often than its siblings do. */
  readonly suspect?: readonly Suspicion[];
  /** Infrastructure failures in a row. */
  readonly failures: number;
  readonly history: readonly {
    /** ISO 8601. */
    readonly at: string;
    readonly state: DeviceStateKind;
    readonly reason?: string;
  }[];
  readonly counters: {
    readonly received: number;
    readonly sent: number;
    readonly errors: number;
    readonly lost: number;
    /** How often the port went away, or characters were lost. */
    readonly losses: number;
  };
}

/** In a line: who has a board until when, and why. */
export function describeLease(lease: LeaseStatus): string {
  const { who, reason, until } = lease;
  const time = until === undefined ? "not yet" : `until ${leaseEnd(lease)}`;
  return `held by ${who}, ${time}${reason === who ? "" : `: ${reason}`}`;
}

export function leaseEnd({ until = "" }: Pick<LeaseStatus, "until">): string {
  return until === "" ? "" : `${until.slice(0, 16).replace("T", " ")} UTC`;
}
