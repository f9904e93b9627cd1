/** The metrics, for Prometheus: what the builds, the nodes, the boards and the agent itself are doing. */
import { monitorEventLoopDelay } from "node:perf_hooks";
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { Build } from "#/builds/build.ts";
import { durationOf } from "#/builds/record.ts";
import { isConnected } from "./app.ts";
import type { Lab } from "./lab.ts";

/** From quick checks to what takes an afternoon, in seconds. */
const durations = [1, 5, 15, 60, 180, 600, 1800, 3600, 7200, 14_400];
const deviceStates = ["absent", "opening", "proving", "ready", "busy", "recovering", "paused", "quarantined"];
/** Nanoseconds in a millisecond. */
const nanoseconds = 1e6;
/** Of the histogram of delays, in milliseconds. */
const resolution = 10;

export class Metrics implements Disposable {
  /** One for each agent, not the library's own for the whole process. */
  readonly #registry = new Registry();
  readonly #delay = monitorEventLoopDelay({ resolution });
  readonly #lab: Lab;
  readonly #builds: Counter<"job" | "class" | "result">;
  readonly #durations: Histogram<"job" | "class">;

  /** @param viewers how many follow events at this moment */
  constructor(lab: Lab, viewers: () => number) {
    this.#lab = lab;
    this.#builds = new Counter({
      name: "labgear_builds_total",
      help: "Builds that have ended since the agent began, by result; without one, by what happened.",
      labelNames: ["job", "class", "result"],
      registers: [this.#registry],
    });
    this.#durations = new Histogram({
      name: "labgear_build_duration_seconds",
      help: "How long builds worked.",
      labelNames: ["job", "class"],
      buckets: durations,
      registers: [this.#registry],
    });
    this.#delay.enable();
    lab.builds.on("ended", this.#onEnded);
    this.#addBuilds();
    this.#addNodes();
    this.#addDevices();
    this.#addAgent(viewers);
  }

  get type(): string {
    return this.#registry.contentType;
  }

  text(): Promise<string> {
    return this.#registry.metrics();
  }

  readonly #onEnded = ({ record }: Build): void => {
    const { job, target, labels, node, result, ending } = record;
    const labelsOf = { job, class: target ?? labels[0] ?? node };
    this.#builds.inc({ ...labelsOf, result: result ?? ending?.kind ?? "none" });
    const took = durationOf(record);
    if (took !== undefined) this.#durations.observe(labelsOf, took / 1000);
  };

  #addBuilds(): void {
    const { builds } = this.#lab;
    const waiting = () => builds.running.filter(({ state }) => state.phase === "assigned").length;
    this.#gauge(
      "labgear_builds_running",
      "Builds that are at work.",
      () => builds.running.length - waiting(),
    );
    this.#gauge("labgear_builds_waiting", "Builds that wait here for their turn.", waiting);
    this.#gauge("labgear_builds_kept", "Finished builds on disk.", () => builds.finished().length);
  }

  #addNodes(): void {
    const nodes = () => this.#lab.status().nodes;
    this.#gauges("labgear_node_ready", "1: the node takes builds.", ["node"], (set) => {
      for (const { name, state } of nodes()) set({ node: name }, state === "ready" ? 1 : 0);
    });
    this.#gauges("labgear_executors", "Executors of the node.", ["node"], (set) => {
      for (const { name, executors } of nodes()) set({ node: name }, executors.length);
    });
    this.#gauges("labgear_executors_busy", "Executors that have a build.", ["node"], (set) => {
      for (const { name, executors } of nodes())
        set({ node: name }, executors.filter(({ build }) => build !== undefined).length);
    });
  }

  #addDevices(): void {
    const devices = () => this.#lab.devices();
    this.#gauges("labgear_device_state", "1: the device is in this state.", ["device", "state"], (set) => {
      for (const { name, state } of devices())
        for (const each of deviceStates) set({ device: name, state: each }, each === state ? 1 : 0);
    });
    this.#gauges("labgear_device_failures", "Infrastructure failures in a row.", ["device"], (set) => {
      for (const { name, failures } of devices()) set({ device: name }, failures);
    });
    const counters = [
      ["received", "labgear_serial_received_bytes_total", "Bytes that came from the board."],
      ["sent", "labgear_serial_sent_bytes_total", "Bytes that were sent to the board."],
      ["errors", "labgear_serial_errors_total", "Errors that the line told of: frames, parity, overruns."],
      ["lost", "labgear_serial_losses_total", "How often the port went away, or bytes were lost."],
    ] as const;
    for (const [key, name, help] of counters) {
      this.#counter(name, help, ["device"], (add) => {
        for (const { name: device, counters } of devices()) add({ device }, counters[key]);
      });
    }
  }

  #addAgent(viewers: () => number): void {
    const { name, version } = this.#lab.status();
    this.#gauges("labgear_info", "The agent.", ["name", "version"], (set) => set({ name, version }, 1));
    this.#gauges("labgear_job_server_connected", "1: its jobs can come.", ["server"], (set) => {
      for (const { server, state } of this.#lab.status().servers) set({ server }, isConnected(state) ? 1 : 0);
    });
    this.#counter(
      "labgear_reconnects_total",
      "Connections to job servers that had to be made again.",
      [],
      (add) => add({}, this.#lab.counts().reconnects),
    );
    this.#gauge("labgear_viewers", "Who follow a console or the overview live.", viewers);
    this.#addLag();
    this.#gauge("process_resident_memory_bytes", "Resident memory.", () => process.memoryUsage.rss());
    this.#gauge("process_start_time_seconds", "When the process began, in Unix time.", () =>
      Math.round(performance.timeOrigin / 1000),
    );
    this.#counter("process_cpu_seconds_total", "Processor time, of user and system.", [], (add) => {
      const { user, system } = process.cpuUsage();
      add({}, (user + system) / 1e6);
    });
  }

  /** Since they were asked for last. What is above the histogram's own resolution is lag. */
  #addLag(): void {
    const lag = (delay: number) => (this.#delay.count > 0 ? Math.max(0, delay - resolution) / 1000 : 0);
    this.#gauge("labgear_event_loop_lag_p99_seconds", "How late one of a hundred timers is.", () =>
      lag(this.#delay.percentile(99) / nanoseconds),
    );
    this.#gauge("labgear_event_loop_lag_max_seconds", "How late the latest timer was.", () => {
      const most = lag(this.#delay.max / nanoseconds);
      this.#delay.reset();
      return most;
    });
  }

  #gauge(name: string, help: string, value: () => number): void {
    this.#gauges(name, help, [], (set) => set({}, value()));
  }

  /** Asked anew each time, so that what has gone isn't told any more. */
  #gauges(
    name: string,
    help: string,
    labelNames: readonly string[],
    fill: (set: (labels: Record<string, string>, value: number) => void) => void,
  ): void {
    new Gauge({
      ...{ name, help, labelNames: [...labelNames], registers: [this.#registry] },
      collect() {
        this.reset();
        fill((labels, value) => this.set(labels, value));
      },
    });
  }

  #counter(
    name: string,
    help: string,
    labelNames: readonly string[],
    fill: (add: (labels: Record<string, string>, value: number) => void) => void,
  ): void {
    new Counter({
      ...{ name, help, labelNames: [...labelNames], registers: [this.#registry] },
      collect() {
        this.reset();
        fill((labels, value) => this.inc(labels, value));
      },
    });
  }

  [Symbol.dispose](): void {
    this.#delay.disable();
    this.#lab.builds.off("ended", this.#onEnded);
    this.#registry.clear();
  }
}
