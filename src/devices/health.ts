/** A device's health: infrastructure failures in a row, and the quarantine that too many of them cause. */
import type { DeviceConfig } from "#/config/model.ts";
import type { Outcome } from "./reservation.ts";

/** What survives a restart. */
export interface Health {
  /** Infrastructure failures in a row. */
  readonly failures: number;
  /** Why it is quarantined; absent if it isn't. */
  readonly quarantine?: string;
}

export class HealthRecord {
  readonly #config: Pick<DeviceConfig, "quarantineAfter" | "health">;
  readonly #save: (health: Health) => void;
  #health: Health;

  /** @param save keeps it over restarts */
  constructor(
    config: Pick<DeviceConfig, "quarantineAfter" | "health">,
    health: Health,
    save: (health: Health) => void,
  ) {
    this.#config = config;
    this.#health = health;
    this.#save = save;
  }

  get failures(): number {
    return this.#health.failures;
  }

  get quarantine(): string | undefined {
    return this.#health.quarantine;
  }

  /** Ends a quarantine. */
  clear(): void {
    this.#set({ failures: 0 });
  }

  /**
   * Counts the end of a reservation. Too many infrastructure failures in a row quarantine the device; a passed health build
   * ends that.
   * @param job absent if a person had it
   */
  count(outcome: Outcome, job: string | undefined): void {
    const { quarantine, failures } = this.#health;
    if (outcome.kind === "sick") {
      const count = failures + 1;
      const because = `${count} infrastructure failures in a row, the last: ${outcome.reason}`;
      const tooMany = quarantine ?? (count >= this.#config.quarantineAfter ? because : undefined);
      this.#set({ failures: count, ...(tooMany !== undefined && { quarantine: tooMany }) });
    } else if (outcome.kind === "well") {
      const healed = outcome.passed && job !== undefined && job === this.#config.health.job;
      if (quarantine === undefined || healed) this.clear();
    }
  }

  #set(health: Health): void {
    if (health.failures === this.failures && health.quarantine === this.quarantine) return;
    this.#health = health;
    this.#save(health);
  }
}
