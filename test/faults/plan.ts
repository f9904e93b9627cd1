/** What one seed says: a job server, builds, and what happens meanwhile. The same for each run of the seed. */
import { seeded } from "../support/random.ts";
import type { BrokerKind } from "./broker.ts";

/** How each job ends when nothing else ends it. */
export const verdicts = {
  pass: "SUCCESS",
  red: "FAILURE",
  fail: "FAILURE",
  killed: "FAILURE",
  late: "TIMED_OUT",
  frozen: "TIMED_OUT",
  wait: "ABORTED",
  daemon: "SUCCESS",
  flood: "SUCCESS",
  copy: "SUCCESS",
  ping: "SUCCESS",
} as const;

export type JobName = keyof typeof verdicts;

export interface PlannedBuild {
  readonly afterMs: number;
  readonly job: JobName;
  /** A client of the test itself, or `labgear build`, which comes back after its job server was lost. */
  readonly client: "test" | "command";
  /** How long the script sleeps. */
  readonly pauseMs: number;
  readonly inputBytes: number;
}

export type Fault =
  | { readonly kind: "cut" | "damage" | "reload" }
  | { readonly kind: "hole"; readonly forMs: number; readonly end: "resume" | "cut" | "half" }
  | { readonly kind: "slow"; readonly latencyMs: number; readonly rate: number; readonly startMs: number }
  | { readonly kind: "refuse"; readonly forMs: number }
  | { readonly kind: "freeze-server"; readonly forMs: number }
  | { readonly kind: "restart-server"; readonly forMs: number }
  | { readonly kind: "kill-agent" | "end-agent"; readonly forMs: number }
  | { readonly kind: "freeze-agent"; readonly forMs: number }
  | { readonly kind: "stop"; readonly build: number }
  | { readonly kind: "kill-client" | "freeze-client"; readonly build: number; readonly forMs: number }
  | { readonly kind: "fill-disk"; readonly forMs: number }
  | { readonly kind: "no-descriptors"; readonly left: number; readonly forMs: number }
  | { readonly kind: "unplug"; readonly forMs: number }
  | { readonly kind: "lease"; readonly forMs: number; readonly isKilled: boolean }
  | { readonly kind: "set-clock"; readonly aheadS: number };

export type World =
  | "line"
  | "server"
  | "agent"
  | "clients"
  | "disk"
  | "descriptors"
  | "board"
  | "clock"
  | "twins";

export interface Plan {
  readonly seed: number;
  readonly world: World;
  readonly server: BrokerKind;
  readonly executors: number;
  readonly builds: readonly PlannedBuild[];
  readonly faults: readonly (Fault & { readonly afterMs: number })[];
}

const worlds: readonly World[] = [
  ...(["line", "line", "line", "line", "server", "server", "server", "agent", "agent", "agent"] as const),
  ...(["clients", "clients", "disk", "descriptors", "board", "board", "board", "clock", "twins"] as const),
];

type Random = (bound: number) => number;

export function planOf(seed: number): Plan {
  // The generator's first numbers are alike for seeds in a row.
  const random = seeded(Math.imul(seed, 0x9e3779b1));
  const pick = <T>(all: readonly T[]): T => all[random(all.length)] as T;
  const world = pick(worlds);
  const server: BrokerKind =
    world === "line" || world === "agent"
      ? pick(["gearmand", "gearmand", "gearmand", "embedded", "embedded", "perl"])
      : pick(["gearmand", "gearmand", "embedded"]);
  const count = 2 + random(4);
  const builds = Array.from({ length: count }, () => plannedBuild(random, world, server));
  const faults = Array.from({ length: 1 + random(4) }, () => ({
    afterMs: random(500),
    ...plannedFault(random, world, server, count),
  }));
  return { seed, world, server, executors: 1 + random(3), builds, faults };
}

const hostJobs: readonly JobName[] = [
  ...([
    "pass",
    "pass",
    "pass",
    "red",
    "fail",
    "killed",
    "late",
    "frozen",
    "wait",
    "daemon",
    "flood",
  ] as const),
];

function plannedBuild(random: Random, world: World, server: BrokerKind): PlannedBuild {
  const pick = <T>(all: readonly T[]): T => all[random(all.length)] as T;
  const job = world === "board" && random(2) === 0 ? "ping" : pick([...hostJobs, "copy", "copy"] as const);
  // The Perl job server knows no WORK_DATA; a client's signatures carry its own clock's time.
  const isPlain = server === "perl" || world === "clock" || world === "twins";
  const mustComeBack = world === "server" || world === "clients" || job === "copy";
  return {
    afterMs: random(400),
    job: isPlain && job === "copy" ? "pass" : job,
    client: !isPlain && (mustComeBack || random(4) === 0) ? "command" : "test",
    pauseMs: random(3) === 0 ? random(1500) : random(200),
    inputBytes: pick([0, 1, 1000, 70_000, 1_500_000]),
  };
}

function plannedFault(random: Random, world: World, server: BrokerKind, builds: number): Fault {
  const pick = <T>(all: readonly T[]): T => all[random(all.length)] as T;
  const forMs = pick([20, 100, 300, 700, 1500]) + random(100);
  const build = random(builds);
  const line: readonly (() => Fault)[] = [
    () => ({ kind: "cut" }),
    () => ({ kind: "damage" }),
    () => ({ kind: "hole", forMs, end: pick(["resume", "cut", "half"]) }),
    () => ({ kind: "slow", latencyMs: random(150), rate: pick([0, 20_000, 200_000]), startMs: random(400) }),
    () => ({ kind: "refuse", forMs }),
    () => ({ kind: "stop", build }),
  ];
  const ofWorld: Record<World, readonly (() => Fault)[]> = {
    line,
    server: [
      () => ({ kind: "freeze-server", forMs }),
      () => ({ kind: "restart-server", forMs }),
      () => ({ kind: "restart-server", forMs }),
      ...line,
    ],
    agent: [
      () => ({ kind: "kill-agent", forMs }),
      () => ({ kind: "kill-agent", forMs }),
      () => ({ kind: "freeze-agent", forMs }),
      () => ({ kind: "end-agent", forMs }),
      () => ({ kind: "reload" }),
      ...line,
    ],
    clients: [
      () => ({ kind: "kill-client", build, forMs }),
      () => ({ kind: "kill-client", build, forMs }),
      () => ({ kind: "freeze-client", build, forMs }),
      ...line,
    ],
    disk: [() => ({ kind: "fill-disk", forMs })],
    descriptors: [() => ({ kind: "no-descriptors", left: random(8), forMs })],
    board: [
      () => ({ kind: "unplug", forMs }),
      () => ({ kind: "lease", forMs, isKilled: server !== "perl" && random(4) === 0 }),
      () => ({ kind: "lease", forMs, isKilled: false }),
      ...line,
    ],
    clock: [() => ({ kind: "set-clock", aheadS: random(20 * 86_400) }), ...line],
    twins: [() => ({ kind: "stop", build }), () => ({ kind: "kill-agent", forMs }), ...line],
  };
  return pick(ofWorld[world])();
}
