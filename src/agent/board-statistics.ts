/** Once a day: which of the box's boards fail a job more often than their siblings, on this box and the others. */
import {
  dayMs,
  findFlaky,
  findSuspects,
  jobOf,
  lookOf,
  outcomeOf,
  type TalliedBoard,
  tally,
} from "#/devices/statistics.ts";
import type { NodeInfo } from "#/exchange/info.ts";
import type { LabWatch } from "#/lab/watch.ts";
import type { BuildEvent } from "#/lib/board-history.ts";
import type { Log } from "#/lib/log.ts";
import type { BoardRecord, BoardTally, Suspicion } from "#/lib/status.ts";
import type { Devices } from "./devices.ts";

const checkIntervalMs = 5 * 60_000;
/** After midnight: by then each agent has counted the day before. */
const testDelayMs = 30 * 60_000;
const windowDays = 30;
/** What a person is told of a board's last builds. */
const maxLastBuilds = 20;

export interface FlakyJob {
  readonly job: string;
  readonly class: string;
}

export class BoardStatistics implements AsyncDisposable {
  readonly #manager: string;
  readonly #devices: Devices;
  readonly #lab: LabWatch;
  readonly #log: Log;
  readonly #timer: NodeJS.Timeout;
  /** Midnights (Unix milliseconds) up to which builds are counted, and boards are tested. */
  #counted = 0;
  #tested = 0;
  #tallies: ReadonlyMap<string, readonly BoardTally[]> = new Map();
  #suspects: ReadonlyMap<string, readonly Suspicion[]> = new Map();
  #flaky: readonly FlakyJob[] = [];
  /** Of other boxes, from the last test. */
  #others: readonly NodeInfo[] = [];
  #looking: Promise<void>;

  /** @param manager the agent's own name */
  constructor(manager: string, devices: Devices, lab: LabWatch, log: Log) {
    this.#manager = manager;
    this.#devices = devices;
    this.#lab = lab;
    this.#log = log;
    this.#looking = this.#attempt();
    this.#timer = setInterval(() => {
      this.#looking = this.#looking.then(() => this.#attempt());
    }, checkIntervalMs).unref();
  }

  suspicionsOf(device: string): readonly Suspicion[] {
    return this.#suspects.get(device) ?? [];
  }

  get flaky(): readonly FlakyJob[] {
    return this.#flaky;
  }

  /** For other boxes. */
  talliesOf(device: string): NodeInfo["tallies"] {
    const jobs = this.#tallies.get(device) ?? [];
    if (jobs.length === 0) return undefined;
    return {
      until: new Date(this.#counted).toISOString(),
      jobs: jobs.map(({ job, failed, builds }) => ({
        ...{ job, failed: [failed[7], failed[30]], builds: [builds[7], builds[30]] },
      })),
    };
  }

  /** How a board and its siblings did with a job. @returns undefined: it has no builds that count */
  async recordOf(device: string, job: string): Promise<BoardRecord | undefined> {
    const entry = this.#devices.find(device);
    if (!entry) return undefined;
    const outcomes = (await this.#buildsOf(device, Date.now()))
      .filter((event) => jobOf(event) === job)
      .flatMap((event) => outcomeOf(event) ?? [])
      .slice(-maxLastBuilds);
    if (outcomes.length === 0) return undefined;
    const { classes } = entry.config;
    const siblings = this.#membersOf(classes).filter(({ name, isOwn }) => !isOwn || name !== device);
    const counts = siblings.flatMap(({ tallies }) => tallies.find((one) => one.job === job) ?? []);
    const suspicion = this.suspicionsOf(device).find((one) => one.job === job);
    return {
      ...{ device, job, failed: outcomes.filter((outcome) => outcome === "failed").length },
      builds: outcomes.length,
      siblingFailed: counts.reduce((sum, { failed }) => sum + failed[30], 0),
      siblingBuilds: counts.reduce((sum, { builds }) => sum + builds[30], 0),
      ...(suspicion && { suspicion }),
      flaky: this.#flaky.some((one) => one.job === job && classes.includes(one.class)),
    };
  }

  async #attempt(): Promise<void> {
    try {
      await this.#look();
    } catch (error) {
      this.#log.error({}, `the boards' statistics failed: ${(error as Error).message}`);
    }
  }

  async #look(): Promise<void> {
    const now = Date.now();
    const end = lookOf(now);
    const names = this.#devices.all.map(({ name }) => name);
    if (names.length === 0 || this.#tested === end) return;
    const events = new Map<string, readonly BuildEvent[]>();
    for (const name of names) events.set(name, await this.#buildsOf(name, end));
    this.#tallies = new Map([...events].map(([name, builds]) => [name, tally(builds, end)]));
    this.#counted = end;
    // After a start at once: the siblings that haven't counted yet are missing then.
    if (this.#tested > 0 && now < end + testDelayMs) return;
    if ([...this.#tallies.values()].some((jobs) => jobs.length > 0)) await this.#lab.look();
    this.#others = this.#lab.infos
      .filter(({ manager }) => manager !== this.#manager)
      .flatMap(({ nodes }) => nodes.filter(({ device }) => device));
    this.#test(events, end);
    this.#tested = end;
  }

  #test(events: ReadonlyMap<string, readonly BuildEvent[]>, end: number): void {
    const suspects = new Map<string, Suspicion[]>();
    const flaky: FlakyJob[] = [];
    const classes = new Set(this.#devices.all.flatMap(({ config }) => config.classes));
    for (const name of classes) {
      const members = this.#membersOf([name]);
      const found = findSuspects(members);
      for (const { board, suspicion } of found) {
        if (!board.isOwn) continue;
        const others = (suspects.get(board.name) ?? []).filter(({ job }) => job !== suspicion.job);
        suspects.set(board.name, [...others, suspicion]);
      }
      const own = members.filter(({ isOwn }) => isOwn);
      const boards = own.map((board) => ({ name: board.name, events: events.get(board.name) ?? [] }));
      const suspected = new Set(found.map(({ suspicion }) => suspicion.job));
      flaky.push(...findFlaky(boards, suspected, end).map((job) => ({ job, class: name })));
    }
    for (const [device, [first]] of suspects) {
      if (first && !this.#suspects.has(device))
        this.#log.warn(
          { device, job: first.job },
          `${device} is suspect: it failed ${first.failed} of ${first.builds}`,
        );
    }
    this.#suspects = suspects;
    this.#flaky = flaky;
  }

  /** Boards of this box and of others that have one of the classes, counted up to the same midnight. */
  #membersOf(classes: readonly string[]): (TalliedBoard & { readonly isOwn: boolean })[] {
    const until = new Date(this.#counted).toISOString();
    const isMember = (names: readonly string[]) => names.some((name) => classes.includes(name));
    const own = this.#devices.all.filter(({ config }) => isMember(config.classes));
    const others = this.#others.filter(
      ({ classes, tallies }) => isMember(classes) && tallies?.until === until,
    );
    return [
      ...own.map(({ name }) => ({ name, isOwn: true, tallies: this.#tallies.get(name) ?? [] })),
      ...others.map(({ name, tallies }) => ({
        ...{ name, isOwn: false },
        tallies: (tallies?.jobs ?? []).map(({ job, failed, builds }) => ({
          ...{
            job,
            failed: { 7: failed[0], 30: failed[1] },
            builds: { 7: builds[0], 30: builds[1] },
            causes: {},
          },
        })),
      })),
    ];
  }

  async #buildsOf(device: string, end: number): Promise<BuildEvent[]> {
    const events = (await this.#devices.historyOf(device)?.read(end - windowDays * dayMs)) ?? [];
    return events.filter((event) => "build" in event);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    await this.#looking;
  }
}
