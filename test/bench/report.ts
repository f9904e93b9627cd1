/** What a bench has measured: a table of ours beside a peer's in the same run, and a JSON file. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";

export interface Row {
  readonly what: string;
  readonly unit: string;
  readonly ours: number;
  /** What `theirs` is of. */
  readonly peer?: string;
  readonly theirs?: number;
}

const out = new URL("../.out/", import.meta.url).pathname;

export class Report {
  readonly #name: string;
  readonly #rows: Row[] = [];
  readonly #loadBefore = loadavg()[0] ?? 0;

  /** @param name of the file below test/.out */
  constructor(name: string) {
    this.#name = name;
  }

  /** Prints the row at once: a bench takes minutes. */
  add(row: Row): void {
    this.#rows.push(row);
    const ratio = row.theirs ? `${(row.ours / row.theirs).toFixed(2)} × ` : "";
    const peer =
      row.peer === undefined ? "" : `  (${ratio}${shown(row.theirs ?? 0)} ${row.unit}, ${row.peer})`;
    console.log(`${row.what.padEnd(58)} ${shown(row.ours).padStart(8)} ${row.unit}${peer}`);
  }

  write(): void {
    const load = { before: this.#loadBefore, after: loadavg()[0] };
    const facts = { date: new Date().toISOString(), processors: cpus().length, load };
    mkdirSync(out, { recursive: true });
    const file = `${out}${this.#name}.json`;
    writeFileSync(file, `${JSON.stringify({ ...facts, rows: this.#rows }, undefined, 2)}\n`);
    console.log(`load ${load.before.toFixed(1)} before, ${(load.after ?? 0).toFixed(1)} after; ${file}`);
  }
}

function shown(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

export function quantile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN;
}

export const median = (values: readonly number[]): number => quantile(values, 0.5);

/** The processor time of a process in seconds, by ticks of 10 ms (proc_pid_stat(5)). */
export function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "latin1")
    .replace(/^.*\) /, "")
    .split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}
