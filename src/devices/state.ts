/** The life cycle of a device, and what follows from each state. */

/**
 *     absent ──the port is there──▶ opening ──opened──▶ proving ──it is what it should be──▶ ready
 *       ▲                              ▲                 │   ▲                              │   ▲
 *       └──the port goes: from any─────┘          it isn't   │                        reserved   nothing to doubt,
 *          but busy, quarantined                         ▼   │                              ▼   │ nothing to reset
 *                                                    recovering ◀──────the build's end──── busy ┘
 *                                                        │
 *                                 too many infrastructure failures in a row
 *                                                        ▼
 *                                                   quarantined ──resumed, or a health build passed──▶ opening
 *     any but busy ──pause──▶ paused ──resume──▶ opening
 */
export type DeviceState =
  /** There is no such port. */
  | { readonly kind: "absent"; readonly reason: string }
  /** The port is there and isn't open: it is being opened, or refused. */
  | { readonly kind: "opening"; readonly reason: string }
  /** The board is asked what it is. */
  | { readonly kind: "proving"; readonly reason: string }
  | { readonly kind: "ready" }
  /** `who` is a build's title, or who has it by hand. */
  | { readonly kind: "busy"; readonly who: string }
  /** It is being reset, or waits before it is tried again. */
  | { readonly kind: "recovering"; readonly reason: string }
  | { readonly kind: "quarantined"; readonly reason: string }
  | { readonly kind: "paused"; readonly reason: string };

/**
 * What the device offers to job servers. `held`: all its functions, and it takes no build at this moment; `health`: only the
 * job that can end its quarantine.
 */
export type Standing = "offered" | "held" | "withdrawn" | "health";

/**
 * @param trusted it was proved, and nothing has put that in doubt
 * @param health it has a job that can end a quarantine
 */
export function standingOf({ kind }: DeviceState, trusted: boolean, health: boolean): Standing {
  switch (kind) {
    case "ready":
    case "busy":
      return "offered";
    case "paused":
      return "held";
    case "proving":
    case "recovering":
      return trusted ? "held" : "withdrawn";
    case "quarantined":
      return health ? "health" : "withdrawn";
    case "absent":
    case "opening":
      return "withdrawn";
  }
}

/** A state as it was entered. */
export interface StateEntry {
  /** ISO 8601. */
  readonly at: string;
  readonly state: DeviceState["kind"];
  readonly reason?: string;
}

/** How many states are remembered. */
const most = 50;

export class StateHistory {
  readonly #entries: StateEntry[] = [];
  #state: DeviceState = { kind: "absent", reason: "it wasn't looked for yet" };

  get state(): DeviceState {
    return this.#state;
  }

  /** The oldest first. */
  get entries(): readonly StateEntry[] {
    return this.#entries;
  }

  /** @returns false when it is in this state already, for the same reason */
  enter(state: DeviceState): boolean {
    const reason = reasonOf(state);
    if (this.#state.kind === state.kind && reason === reasonOf(this.#state)) return false;
    this.#state = state;
    const at = new Date().toISOString();
    this.#entries.push({ at, state: state.kind, ...(reason !== undefined && { reason }) });
    if (this.#entries.length > most) this.#entries.shift();
    return true;
  }
}

function reasonOf(state: DeviceState): string | undefined {
  return "reason" in state ? state.reason : undefined;
}
