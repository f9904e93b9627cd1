/** The life cycle of a device, and what follows from each state. */
import type { Cause } from "./errors.ts";
import { notLookedFor } from "./port/connection.ts";

/**
 *     absent ──the port is there──▶ opening ──opened──▶ proving ──probe passed──▶ ready
 *                                                        │   ▲                   │   ▲
 *                                            probe failed│   │retry       reserved   │ released, and neither
 *                                                        ▼   │                   ▼   │ in doubt nor to be reset
 *                                                     recovering ◀──released──── busy ┘
 *
 *     ready, proving, recovering, busy ──too many infrastructure failures in a row──▶ quarantined
 *     quarantined ──resume, or a passed health build──▶ proving or ready
 *     any with an open port ──pause──▶ paused ──resume──▶ proving
 *     any ──the port goes away──▶ absent
 *
 * A reservation comes first: whatever happens meanwhile takes effect when it is released.
 */
export type DeviceState =
  /** There is no such port. */
  | { readonly kind: "absent"; readonly reason: string }
  /** The port is there and isn't open yet, or can't be opened. */
  | { readonly kind: "opening"; readonly reason: string }
  /** The board is being probed. */
  | { readonly kind: "proving"; readonly reason: string }
  | { readonly kind: "ready" }
  /** `who` is the title of a build, or a person's command. */
  | { readonly kind: "busy"; readonly who: string }
  /** The board is being reset, or waits for the next probe. `cause`: the last try to bring it back failed. */
  | { readonly kind: "recovering"; readonly reason: string; readonly cause?: Cause | "probe-failed" }
  | { readonly kind: "quarantined"; readonly reason: string }
  /** `by`: a person, or the build whose parameters ask for it. */
  | { readonly kind: "paused"; readonly reason: string; readonly by?: string };

/**
 * What the device offers to job servers. `held`: all its functions, but it takes no build now; `health`: only the job that
 * can end its quarantine; `unproved`: only jobs that bring the board up themselves.
 */
export type Standing = "offered" | "held" | "withdrawn" | "health" | "unproved";

/**
 * @param trusted it passed a probe, and nothing has put that in doubt
 * @param hasHealthJob a job that can end its quarantine
 */
export function standingOf({ kind }: DeviceState, trusted: boolean, hasHealthJob: boolean): Standing {
  switch (kind) {
    case "ready":
    case "busy":
      return "offered";
    case "paused":
      return "held";
    case "proving":
    case "recovering":
      return trusted ? "held" : "unproved";
    case "quarantined":
      return hasHealthJob ? "health" : "withdrawn";
    case "absent":
    case "opening":
      return "withdrawn";
  }
}

/** When the device entered a state. */
export interface StateEntry {
  /** ISO 8601. */
  readonly at: string;
  readonly state: DeviceState["kind"];
  readonly reason?: string;
}

/** Before the port was looked for, and before it is open: neither means that something is wrong. */
export const beingOpened = "its port is being opened";

/** Whether the port's state isn't known yet. */
export function isPlaceholder({ reason }: Extract<DeviceState, { readonly reason: string }>): boolean {
  return reason === notLookedFor || reason === beingOpened;
}

const maxEntries = 50;

/** The current state and the latest ones before it. */
export class StateHistory {
  readonly #entries: StateEntry[] = [];
  #state: DeviceState = { kind: "absent", reason: notLookedFor };

  get state(): DeviceState {
    return this.#state;
  }

  /** The oldest first. */
  get entries(): readonly StateEntry[] {
    return this.#entries;
  }

  /** @returns false if it is in this state already, for the same reason */
  enter(state: DeviceState): boolean {
    const reason = reasonOf(state);
    if (this.#state.kind === state.kind && reason === reasonOf(this.#state)) return false;
    this.#state = state;
    const at = new Date().toISOString();
    this.#entries.push({ at, state: state.kind, ...(reason !== undefined && { reason }) });
    if (this.#entries.length > maxEntries) this.#entries.shift();
    return true;
  }
}

function reasonOf(state: DeviceState): string | undefined {
  return "reason" in state ? state.reason : undefined;
}
