/**
 * Software, board, flaky or infrastructure? Decided from how repeated runs of a failed build ended. Pure.
 *
 * Bayes' rule over a few scenarios for each verdict: how often runs fail on the board and on its sibling, with the inputs that
 * failed and with those that passed last. A verdict is given when its scenarios together are likely enough. That holds at whatever
 * run the investigation stops, unlike a test at a fixed number of runs: J. O. Berger, Statistical Decision Theory and Bayesian
 * Analysis (2nd ed. 1985), §7.7, 'The stopping rule principle'.
 */

export type Verdict = "software" | "board" | "flaky" | "infrastructure";

/** `infrastructure`: without a result, and not by the board's fault. */
export type Outcome = "passed" | "failed" | "infrastructure";

export interface Run {
  readonly on: "board" | "sibling";
  /** Of the failed build, or of the last one that passed. */
  readonly inputs: "failed" | "passed";
  readonly outcome: Outcome;
}

interface Scenario {
  readonly verdict: Verdict;
  readonly weight: number;
  /** How often a run fails. */
  readonly fails: (run: Pick<Run, "on" | "inputs">) => number;
  /** How often a run ends without a result. */
  readonly breaks: number;
}

/** How often a run fails for none of the reasons in question. */
const base = 0.02;
const rareBreaks = 0.0005;

/** How likely each is before anything is repeated: most failed builds are the software's. */
const scenarios: readonly Scenario[] = [
  ...spread("software", 0.4, [0.85, 0.93, 0.99], (rate) => ({
    fails: ({ inputs }) => (inputs === "failed" ? rate : base),
  })),
  ...spread("board", 0.25, [0.5, 0.7, 0.85, 0.97], (rate) => ({
    fails: ({ on }) => (on === "board" ? rate : base),
  })),
  ...spread("flaky", 0.13, [0.1, 0.25, 0.4, 0.55], (rate) => ({ fails: () => rate })),
  ...spread("flaky", 0.12, [0.1, 0.25, 0.4, 0.55], (rate) => ({
    fails: ({ inputs }) => (inputs === "failed" ? rate : base),
  })),
  ...spread("infrastructure", 0.09, [0.05, 0.3, 0.6, 0.9], (breaks) => ({ fails: () => base, breaks })),
  // What all boards share, such as a network or a power supply, fails whatever they run.
  ...spread("infrastructure", 0.01, [0.85, 0.97], (rate) => ({ fails: () => rate })),
];

function spread(
  verdict: Verdict,
  weight: number,
  rates: readonly number[],
  rest: (rate: number) => Pick<Scenario, "fails"> & Partial<Pick<Scenario, "breaks">>,
): Scenario[] {
  return rates.map((rate) => ({
    verdict,
    weight: weight / rates.length,
    breaks: rareBreaks,
    ...rest(rate),
  }));
}

/** How likely a verdict has to be. */
const certainty = 0.97;

export interface Judgement {
  /** Absent: can't tell. */
  readonly verdict?: Verdict;
  /** They add up to 1. */
  readonly likelihoods: Readonly<Record<Verdict, number>>;
}

/**
 * @param first how the investigated build ended: it was chosen because it didn't pass, so only the way it failed counts
 * @param runs its repetitions
 */
export function judge(first: Exclude<Outcome, "passed">, runs: readonly Run[]): Judgement {
  const likelihoods: Record<Verdict, number> = { software: 0, board: 0, flaky: 0, infrastructure: 0 };
  let total = 0;
  for (const scenario of scenarios) {
    const origin = { on: "board", inputs: "failed" } as const;
    const notPassed = 1 - chance(scenario, { ...origin, outcome: "passed" });
    let p = (scenario.weight * chance(scenario, { ...origin, outcome: first })) / notPassed;
    for (const run of runs) p *= chance(scenario, run);
    likelihoods[scenario.verdict] += p;
    total += p;
  }
  const verdicts = Object.keys(likelihoods) as Verdict[];
  for (const verdict of verdicts) likelihoods[verdict] /= total;
  const verdict = verdicts.find((one) => likelihoods[one] >= certainty);
  return { ...(verdict && { verdict }), likelihoods };
}

function chance({ fails, breaks }: Scenario, run: Run): number {
  if (run.outcome === "infrastructure") return breaks;
  const rate = fails(run);
  return (1 - breaks) * (run.outcome === "failed" ? rate : 1 - rate);
}

/** Of all runs together. */
const maxRuns = 32;

/**
 * Which run comes next: each node with each of the inputs in turn, at least once.
 * @param hasPassed whether the inputs of a build that passed can be repeated
 * @returns undefined: the verdict is clear, or more rounds won't make it so
 */
export function nextRun(
  first: Exclude<Outcome, "passed">,
  runs: readonly Run[],
  hasPassed: boolean,
): Pick<Run, "on" | "inputs"> | undefined {
  const kinds = [
    { on: "board", inputs: "failed" },
    { on: "sibling", inputs: "failed" },
    { on: "board", inputs: "passed" },
    { on: "sibling", inputs: "passed" },
  ] as const;
  const counted = kinds
    .filter(({ inputs }) => hasPassed || inputs === "failed")
    .map((kind) => ({
      kind,
      count: runs.filter(({ on, inputs }) => on === kind.on && inputs === kind.inputs).length,
    }));
  const least = Math.min(...counted.map(({ count }) => count));
  if (least >= 1 && judge(first, runs).verdict !== undefined) return undefined;
  return runs.length >= maxRuns ? undefined : counted.find(({ count }) => count === least)?.kind;
}

/** What the sentence names. */
export interface Names {
  readonly board: string;
  readonly sibling: string;
  /** The last build that passed, whose inputs were repeated. */
  readonly passed?: string | undefined;
}

/** One line: the verdict and the counts it rests on. @param why it ended without one */
export function describeVerdict(
  { verdict, likelihoods }: Judgement,
  first: Exclude<Outcome, "passed">,
  runs: readonly Run[],
  { board, sibling, passed }: Names,
  why: string,
): string {
  const of = (wanted: Partial<Run>) => {
    const all = runs.filter((run) =>
      Object.entries(wanted).every(([key, value]) => run[key as keyof Run] === value),
    );
    return `${all.filter(({ outcome }) => outcome !== "passed").length} of ${all.length}`;
  };
  const failing = (on: Run["on"]) => of({ on, inputs: "failed" });
  const both = `${failing("board")} on ${board}, ${failing("sibling")} on ${sibling}`;
  const controls = runs.some(({ inputs }) => inputs === "passed");
  const control = controls
    ? `, ${of({ inputs: "passed" })} with the inputs of ${passed}`
    : "; no build that passed was repeated";
  switch (verdict) {
    case "software":
      return `software: it fails on both (${both}${control})`;
    case "board":
      return `board: ${board} fails ${of({ on: "board" })}, its sibling ${sibling} ${of({ on: "sibling" })}`;
    case "flaky":
      return `flaky: it fails now and then, whichever node it runs on (${both}${control})`;
    case "infrastructure": {
      const broken = runs.filter(({ outcome }) => outcome === "infrastructure").length;
      if (broken > 0)
        return `infrastructure: ${broken} of ${runs.length} runs ended without a result, by no fault of the nodes`;
      return first === "infrastructure"
        ? `infrastructure: it ended without a result, by no fault of its node, and its repetitions fail ${of({})}`
        : `infrastructure: everything fails on both (${both}${control})`;
    }
    default:
      return `can't tell: ${why} (${both}${control}; ${shares(likelihoods)})`;
  }
}

function shares(likelihoods: Judgement["likelihoods"]): string {
  return Object.entries(likelihoods)
    .toSorted(([, a], [, b]) => b - a)
    .slice(0, 2)
    .map(([verdict, p]) => `${verdict} ${Math.round(p * 100)} %`)
    .join(", ");
}
