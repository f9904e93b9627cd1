/** The gate's metrics, for Prometheus. */
import { Counter, Gauge, Registry } from "prom-client";
import type { RefusalCode } from "./errors.ts";
import type { GateRecord } from "./store.ts";

export interface Measured {
  readonly openBuilds: () => { readonly queued: number; readonly running: number };
  readonly connections: () => number;
  readonly keyFailures: () => ReadonlyMap<string, number>;
}

export class GateMetrics {
  readonly #registry = new Registry();
  readonly #builds: Counter<"result">;
  readonly #minutes: Counter;
  readonly #refusals: Counter<"code">;
  readonly #requests: Counter<"route">;
  readonly #inputBytes: Counter;

  constructor(measured: Measured) {
    const registers = [this.#registry];
    this.#builds = new Counter({
      ...{ name: "labgear_gate_builds_total", help: "Builds that have ended, by result.", registers },
      labelNames: ["result"],
    });
    this.#minutes = new Counter({
      name: "labgear_gate_minutes_total",
      help: "Minutes that builds took.",
      registers,
    });
    this.#refusals = new Counter({
      ...{ name: "labgear_gate_refusals_total", help: "Requests refused, by why.", registers },
      labelNames: ["code"],
    });
    this.#requests = new Counter({
      ...{ name: "labgear_gate_requests_total", help: "Requests, by route.", registers },
      labelNames: ["route"],
    });
    this.#inputBytes = new Counter({
      ...{ name: "labgear_gate_input_bytes_total", help: "Bytes of inputs passed on.", registers },
    });
    new Gauge({
      ...{ name: "labgear_gate_builds", help: "Builds that wait or run.", registers, labelNames: ["state"] },
      collect() {
        for (const [state, count] of Object.entries(measured.openBuilds())) this.set({ state }, count);
      },
    });
    new Gauge({
      ...{ name: "labgear_gate_connections", help: "Open connections of clients.", registers },
      collect() {
        this.set(measured.connections());
      },
    });
    new Gauge({
      ...{
        name: "labgear_gate_issuer_failures",
        help: "How often an issuer's keys couldn't be had.",
        registers,
      },
      labelNames: ["issuer"],
      collect() {
        for (const [issuer, count] of measured.keyFailures()) this.set({ issuer }, count);
      },
    });
  }

  get type(): string {
    return this.#registry.contentType;
  }

  text(): Promise<string> {
    return this.#registry.metrics();
  }

  ended({ result, minutes = 0 }: GateRecord): void {
    this.#builds.inc({ result: result ?? "none" });
    this.#minutes.inc(minutes);
  }

  refused(code: RefusalCode): void {
    this.#refusals.inc({ code });
  }

  asked(route: string): void {
    this.#requests.inc({ route });
  }

  passed(bytes: number): void {
    this.#inputBytes.inc(bytes);
  }
}
