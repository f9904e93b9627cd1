/** What the job server's table is made of: jobs, functions, members (connections), the effects of a command, and the limits. */
import type { PacketType } from "../wire/packet.ts";
import type { OrderedList } from "./queue-list.ts";

/** Names a connection to the queue; the server gives them out, counting up. */
export type ConnectionId = number;

/** What the server has to do after a command. Effects come in the order in which they have to be carried out. */
export type Effect =
  /** Send this packet once for each id in `to`; an id may stand there twice. */
  | {
      readonly kind: "send";
      readonly to: readonly ConnectionId[];
      readonly type: PacketType;
      readonly args: readonly (string | Uint8Array)[];
    }
  /** Call `expire(handle)` after that time, unless the timer is stopped before. */
  | { readonly kind: "start-timer"; readonly handle: string; readonly seconds: number }
  | { readonly kind: "stop-timer"; readonly handle: string }
  /** A worker went away from a running job; `message` is one line for the log. */
  | { readonly kind: "worker-lost"; readonly message: string };

/** In the order in which jobs are handed out. */
export const priorities = ["high", "normal", "low"] as const;
export type Priority = (typeof priorities)[number];

/**
 * The life of a job:
 *
 *     submit ──> queued ──grabbed──> running ──complete, fail, exception, timeout──> ended
 *                 ^  │                  │                                              ^
 *                 │  └─cancelled, or all its clients left (foreground)─────────────────┤
 *                 └──worker lost, tries left──┴──worker lost, no tries left or nobody waits
 *
 * A running job whose clients all left runs on. An ended job is in no table any more.
 */
type JobState =
  | { readonly kind: "queued" }
  | { readonly kind: "running"; readonly worker: Member; readonly timed: boolean }
  | { readonly kind: "ended" };

export interface Job {
  readonly handle: string;
  readonly function: JobFunction;
  readonly unique: Uint8Array;
  /** Under which it stands in `function.uniques`; absent when the client gave no unique. */
  readonly uniqueKey: string | undefined;
  readonly data: Uint8Array;
  readonly priority: Priority;
  /** Counts up with each submit: first in, first out. */
  readonly order: number;
  /** Somebody wants it to run although nobody waits for it. */
  background: boolean;
  state: JobState;
  /** Who gets its packets: one entry for each foreground submit, so a connection may be in it twice. */
  clients: Member[];
  /** How many workers went away while they ran it. */
  losses: number;
  /** Numerator and denominator of the last WORK_STATUS, in digits. */
  progress: readonly [string, string];
}

/** A function somebody registered, submitted to or created. Its name's bytes are kept as latin1, one char a byte. */
export interface JobFunction {
  readonly name: string;
  readonly workers: Set<Member>;
  readonly uniques: Map<string, Job>;
  readonly queues: Readonly<Record<Priority, OrderedList<Job>>>;
  running: number;
  /** The most queued jobs it takes, where `maxqueue` set that. */
  maxQueue: number | undefined;
}

/** One connection: client, worker or both. */
export interface Member {
  readonly id: ConnectionId;
  readonly address: string;
  /** From SET_CLIENT_ID; `-` until then. */
  clientId: string;
  /**
   * A worker's sleep (PROTOCOL, PRE_SLEEP and NOOP); who never sends PRE_SLEEP stays awake:
   *
   *     awake ──PRE_SLEEP, nothing to do──> asleep
   *       ^────NOOP sent, or it grabs──────────┘
   */
  sleep: "awake" | "asleep";
  /** Asked by OPTION_REQ to get WORK_EXCEPTION; others get WORK_FAIL in its place. */
  exceptions: boolean;
  /** The functions it can do, each with the timeout in seconds it registered; 0 for none. */
  readonly abilities: Map<JobFunction, number>;
  /** Jobs it waits for. */
  readonly submitted: Set<Job>;
  /** Jobs it works on. */
  readonly running: Set<Job>;
}

export interface JobLimits {
  /** The most jobs held, queued and running together, and the most seats (submits that wait for the end of one). */
  readonly maxJobs: number;
  /** The most bytes of job data held. */
  readonly maxJobBytes: number;
}

export interface QueueOptions extends JobLimits {
  /** What handles begin with: `H:HOST:`. */
  readonly handlePrefix: string;
  readonly maxFunctions: number;
  /** How many workers may be lost on one job before it fails in place of going to the next one; 0: it fails at once. */
  readonly maxLosses: number;
}
