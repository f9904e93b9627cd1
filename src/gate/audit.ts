/** Who did what, one JSON line each, in STATE/audit/YYYY-MM.jsonl: no secret, no key, no parameter's value. */
import { appendFileSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { reason } from "#/lib/errors.ts";
import type { Log } from "#/lib/log.ts";

export interface AuditEntry {
  readonly event:
    | "submitted"
    | "ended"
    | "stopped"
    | "extended"
    | "refused"
    | "input"
    | "started"
    | "reloaded";
  readonly [field: string]: unknown;
}

export type KeptEntry = AuditEntry & { readonly time: string };

/** Strangers' refusals beyond that are only counted: they must not fill the disk. */
const maxRefusalsAMinute = 120;
const maxRecent = 200;
const keptMonths = 13;
const minuteMs = 60_000;

export class Audit {
  readonly #folder: string;
  readonly #log: Log;
  /** The newest last, for the operators' page. */
  readonly recent: KeptEntry[] = [];
  #minute = 0;
  #refusals = 0;
  #left = 0;
  #month = "";

  /** @throws the file system's error */
  constructor(stateDir: string, log: Log) {
    this.#folder = join(stateDir, "audit");
    this.#log = log;
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
  }

  add(entry: AuditEntry): void {
    const now = new Date();
    if (entry.event === "refused" && !this.#isWanted(now.getTime())) return;
    const kept: KeptEntry = { time: now.toISOString(), ...entry };
    this.recent.push(kept);
    if (this.recent.length > maxRecent) this.recent.shift();
    this.#append(now, kept);
  }

  #isWanted(now: number): boolean {
    const minute = Math.floor(now / minuteMs);
    if (minute !== this.#minute) {
      const left = this.#left;
      [this.#minute, this.#refusals, this.#left] = [minute, 0, 0];
      if (left > 0)
        this.#append(new Date(now), { time: new Date(now).toISOString(), event: "refused", left_out: left });
    }
    this.#refusals += 1;
    if (this.#refusals <= maxRefusalsAMinute) return true;
    this.#left += 1;
    return false;
  }

  #append(now: Date, entry: KeptEntry): void {
    const month = now.toISOString().slice(0, 7);
    try {
      if (month !== this.#month) this.#prune();
      this.#month = month;
      appendFileSync(join(this.#folder, `${month}.jsonl`), `${JSON.stringify(entry)}\n`, { mode: 0o600 });
    } catch (error) {
      this.#log.error(entry, `the audit log can't be written: ${reason(error)}`);
    }
  }

  #prune(): void {
    const months = readdirSync(this.#folder).filter((name) => /^\d{4}-\d{2}\.jsonl$/.test(name));
    for (const name of months.sort().slice(0, -keptMonths)) rmSync(join(this.#folder, name), { force: true });
  }
}
