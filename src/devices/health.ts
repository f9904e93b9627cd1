/** A device's health: infrastructure failures in a row, and the quarantine that too many of them cause. */
import type { DeviceConfig, JobConfig } from "#/config/model.ts";
import type { Outcome } from "./reservation.ts";

/** What survives a restart. */
export interface Health {
  /** Infrastructure failures in a row. */
  readonly failures: number;
  /** Why it is quarantined; absent if it isn't. */
  readonly quarantine?: string;
  /** Whose job ran on the board last, if it is restored for others. */
  readonly trust?: JobConfig["trust"];
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

  get trust(): JobConfig["trust"] | undefined {
    return this.#health.trust;
  }

  /** Whose job runs on the board from now on. */
  setTrust(trust: JobConfig["trust"]): void {
    this.#set({ ...this.#health, trust });
  }

  /** Ends a quarantine. */
  clear(): void {
    this.#set({ failures: 0, trust: this.trust });
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
      this.#set({ failures: count, quarantine: tooMany, trust: this.trust });
    } else if (outcome.kind === "well") {
      const healed = outcome.passed && job !== undefined && job === this.#config.health.job;
      if (quarantine === undefined || healed) this.clear();
    }
  }

  #set({ failures, quarantine, trust }: Changed): void {
    if (failures === this.failures && quarantine === this.quarantine && trust === this.trust) return;
    this.#health = { failures, ...(quarantine !== undefined && { quarantine }), ...(trust && { trust }) };
    this.#save(this.#health);
  }
}

type Changed = { readonly [K in keyof Health]: Health[K] | undefined } & Pick<Health, "failures">;
