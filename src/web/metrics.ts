/** Metrics for Prometheus about builds, nodes, devices and the agent itself. */
import { monitorEventLoopDelay } from "node:perf_hooks";
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { Build } from "#/builds/build.ts";
import { durationOf } from "#/builds/record.ts";
import { type AgentView, isConnected } from "./agent-view.ts";

/** In seconds, from quick checks to long test runs. */
const durationBuckets = [1, 5, 15, 60, 180, 600, 1800, 3600, 7200, 14_400];
const stepBuckets = [0.1, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 900, 3600];
const deviceStates = ["absent", "opening", "proving", "ready", "busy", "recovering", "paused", "quarantined"];
const nanosecondsPerMs = 1e6;
const lagResolutionMs = 10;

export class Metrics implements Disposable {
  /** A registry of its own, not the library's global one. */
  readonly #registry = new Registry();
  readonly #delay = monitorEventLoopDelay({ resolution: lagResolutionMs });
  readonly #agent: AgentView;
  readonly #builds: Counter<"job" | "class" | "result">;
  readonly #durations: Histogram<"job" | "class">;
  readonly #steps: Histogram<"job" | "class" | "step">;

  /** @param viewers counts the open event streams */
  constructor(agent: AgentView, viewers: () => number) {
    this.#agent = agent;
    this.#builds = new Counter({
      name: "labgear_builds_total",
      help: "Builds that have ended since the agent started, by result, or by kind of ending if there is no result.",
      labelNames: ["job", "class", "result"],
      registers: [this.#registry],
    });
    this.#durations = new Histogram({
      name: "labgear_build_duration_seconds",
      help: "How long builds ran.",
      labelNames: ["job", "class"],
      buckets: durationBuckets,
      registers: [this.#registry],
    });
    this.#steps = new Histogram({
      name: "labgear_build_step_seconds",
      help: "How long the steps of builds took: checkout, flash, boot, test and others.",
      labelNames: ["job", "class", "step"],
      buckets: stepBuckets,
      registers: [this.#registry],
    });
    agent.builds.on("ended", this.#onEnded);
    this.#addBuilds();
    this.#addNodes();
    this.#addDevices();
    this.#addAgent(viewers);
  }

  get type(): string {
    return this.#registry.contentType;
  }

  text(): Promise<string> {
    // A box that nobody watches needn't wake up a hundred times a second for it.
    this.#delay.enable();
    return this.#registry.metrics();
  }

  readonly #onEnded = ({ record }: Build): void => {
    const { job, target, labels, node, result, ending, steps = [] } = record;
    const buildLabels = { job, class: target ?? labels[0] ?? node };
    this.#builds.inc({ ...buildLabels, result: result ?? ending?.kind ?? "none" });
    const took = durationOf(record);
    if (took !== undefined) this.#durations.observe(buildLabels, took / 1000);
    for (const { name, took } of steps)
      if (took !== undefined) this.#steps.observe({ ...buildLabels, step: name }, took / 1000);
  };

  #addBuilds(): void {
    const { builds } = this.#agent;
    const waiting = () => builds.running.filter(({ state }) => state.phase === "assigned").length;
    this.#gauge(
      "labgear_builds_running",
      "Builds that are running.",
      () => builds.running.length - waiting(),
    );
    this.#gauge("labgear_builds_waiting", "Builds that have been assigned but not started.", waiting);
    this.#gauge("labgear_builds_kept", "Finished builds on disk.", () => builds.finished().length);
    this.#gauge(
      "labgear_undelivered_endings",
      "Finished builds whose clients may not have got the ending.",
      () => builds.undelivered,
    );
  }

  #addNodes(): void {
    const nodes = () => this.#agent.status().nodes;
    this.#gauges("labgear_node_ready", "1 if the node takes builds.", ["node"], (set) => {
      for (const { name, state } of nodes()) set({ node: name }, state === "ready" ? 1 : 0);
    });
    this.#gauges(
      "labgear_node_held",
      "1 for each reason why the node takes no builds.",
      ["node", "reason"],
      (set) => {
        for (const { name, reasons } of nodes())
          for (const reason of reasons) set({ node: name, reason: reason.split(":", 1)[0] ?? "" }, 1);
      },
    );
    this.#gauges("labgear_executors", "Executors of the node.", ["node"], (set) => {
      for (const { name, executors } of nodes()) set({ node: name }, executors.length);
    });
    this.#gauges("labgear_executors_busy", "Executors that are running a build.", ["node"], (set) => {
      for (const { name, executors } of nodes())
        set({ node: name }, executors.filter(({ build }) => build !== undefined).length);
    });
  }

  #addDevices(): void {
    const devices = () => this.#agent.devices();
    this.#gauges("labgear_device_state", "1 if the device is in this state.", ["device", "state"], (set) => {
      for (const { name, state } of devices())
        for (const each of deviceStates) set({ device: name, state: each }, each === state ? 1 : 0);
    });
    this.#gauges("labgear_device_failures", "Infrastructure failures in a row.", ["device"], (set) => {
      for (const { name, failures } of devices()) set({ device: name }, failures);
    });
    this.#gauges(
      "labgear_device_out_of_order_seconds",
      "For how long the device takes no builds, unless a person paused it.",
      ["device", "cause"],
      (set) => {
        for (const { name, outage } of devices())
          if (outage && outage.state !== "paused")
            set({ device: name, cause: outage.cause }, (Date.now() - Date.parse(outage.since)) / 1000);
      },
    );
    this.#gauges(
      "labgear_device_suspect",
      "1 if the board fails the job more often than its siblings do.",
      ["device", "job"],
      (set) => {
        for (const { name, suspect = [] } of devices())
          for (const { job } of suspect) set({ device: name, job }, 1);
      },
    );
    this.#gauges(
      "labgear_job_flaky",
      "1 if the job fails now and then on all boards of the class.",
      ["job", "class"],
      (set) => {
        for (const labels of this.#agent.flaky()) set({ ...labels }, 1);
      },
    );
    const counters = [
      ["received", "labgear_serial_received_bytes_total", "Bytes received from the board."],
      ["sent", "labgear_serial_sent_bytes_total", "Bytes sent to the board."],
      ["errors", "labgear_serial_errors_total", "Characters received with framing or parity errors."],
      ["losses", "labgear_serial_losses_total", "How often the port went away, or characters were lost."],
    ] as const;
    for (const [key, name, help] of counters) {
      this.#counter(name, help, ["device"], (add) => {
        for (const { name: device, counters } of devices()) add({ device }, counters[key]);
      });
    }
  }

  #addAgent(viewers: () => number): void {
    const { name, version } = this.#agent.status();
    this.#gauges("labgear_info", "The agent.", ["name", "version"], (set) => set({ name, version }, 1));
    this.#gauges(
      "labgear_job_server_connected",
      "1 if every connection to the job server is registered.",
      ["server"],
      (set) => {
        for (const link of this.#agent.status().servers)
          set({ server: link.server }, isConnected(link) ? 1 : 0);
      },
    );
    const connections = [
      ["total", "labgear_job_server_connections", "Connections to the job server, with those that are down."],
      [
        "registered",
        "labgear_job_server_connections_registered",
        "Connections that the job server has registered.",
      ],
    ] as const;
    for (const [key, name, help] of connections) {
      this.#gauges(name, help, ["server"], (set) => {
        for (const { server, connections } of this.#agent.status().servers) set({ server }, connections[key]);
      });
    }
    this.#counter(
      "labgear_reconnects_total",
      "Reconnections to job servers, of all connections.",
      [],
      (add) => add({}, this.#agent.counts().reconnects),
    );
    this.#addBox();
    this.#gauge("labgear_viewers", "Open event streams of the pages.", viewers);
    this.#addLag();
    this.#gauge("process_resident_memory_bytes", "Resident memory size in bytes.", () =>
      process.memoryUsage.rss(),
    );
    this.#gauge("process_start_time_seconds", "Start time of the process, in Unix seconds.", () =>
      Math.round(performance.timeOrigin / 1000),
    );
    this.#counter("process_cpu_seconds_total", "User and system CPU time in seconds.", [], (add) => {
      const { user, system } = process.cpuUsage();
      add({}, (user + system) / 1e6);
    });
  }

  #addBox(): void {
    const sizes = [
      ["freeBytes", "labgear_disk_free_bytes", "Bytes that are free for builds at the state directory."],
      ["minFreeBytes", "labgear_disk_min_free_bytes", "Bytes that have to be free: min-free."],
      ["freeInodes", "labgear_disk_free_inodes", "Inodes that are free at the state directory."],
    ] as const;
    for (const [key, name, help] of sizes) {
      this.#gauges(name, help, [], async (set) => {
        const { [key]: size = Number.NaN } = await this.#agent.disk();
        set({}, size);
      });
    }
    this.#gauges(
      "labgear_disk_used_bytes",
      "Bytes on disk by what they are for, each folder as it was measured last: builds, caches, inputs, mirrors, workspaces.",
      ["what"],
      (set) => {
        for (const [what, bytes] of this.#agent.sizes()) set({ what }, bytes);
      },
    );
    const limits = { cpu: "cpu", memory: "memory", processes: "pids" } as const;
    this.#gauges("labgear_limit_enforced", "1 if limits of builds can be enforced.", ["limit"], (set) => {
      const enforced = this.#agent.enforced();
      for (const [limit, controller] of Object.entries(limits))
        set({ limit }, enforced.has(controller) ? 1 : 0);
    });
    this.#gauge(
      "labgear_last_reload_timestamp_seconds",
      "When the configuration was read last, in Unix seconds.",
      () => Math.round(this.#agent.lastReload().at.getTime() / 1000),
    );
    this.#gauge("labgear_last_reload_successful", "1 if it was read then, 0 if it was refused.", () =>
      this.#agent.lastReload().failed ? 0 : 1,
    );
  }

  /** Since the last scrape. Only delays above the resolution of the histogram are lag. */
  #addLag(): void {
    const lag = (delay: number) => (this.#delay.count > 0 ? Math.max(0, delay - lagResolutionMs) / 1000 : 0);
    this.#gauge(
      "labgear_event_loop_lag_p99_seconds",
      "99th percentile of timer delays since the last scrape.",
      () => lag(this.#delay.percentile(99) / nanosecondsPerMs),
    );
    this.#gauge("labgear_event_loop_lag_max_seconds", "Longest timer delay since the last scrape.", () => {
      const longest = lag(this.#delay.max / nanosecondsPerMs);
      this.#delay.reset();
      return longest;
    });
  }

  #gauge(name: string, help: string, value: () => number): void {
    this.#gauges(name, help, [], (set) => set({}, value()));
  }

  /** Collected for each scrape, so removed nodes and devices disappear. */
  #gauges(
    name: string,
    help: string,
    labelNames: readonly string[],
    fill: (set: (labels: Record<string, string>, value: number) => void) => void | Promise<void>,
  ): void {
    new Gauge({
      ...{ name, help, labelNames: [...labelNames], registers: [this.#registry] },
      collect() {
        this.reset();
        return fill((labels, value) => this.set(labels, value));
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
    this.#agent.builds.off("ended", this.#onEnded);
    this.#registry.clear();
  }
}
