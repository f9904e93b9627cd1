/** The state that a device is in, and the latest that it was in. */
import type { DeviceState, StateEntry } from "./state.ts";

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
