/** Which builds a list holds: the filters of `/builds`, the API and `labgear builds`. */
import { parseDuration } from "#/lib/units.ts";
import { BuildError } from "./errors.ts";
import type { BuildSummary } from "./record.ts";

/** A filter's name, and what it is compared with. All that are given have to match. */
export const filters = {
  job: "the job's name",
  result: "a result such as FAILURE, or none, lost or running",
  node: "the node or board that it ran on",
  class: "a class or name: what the client asked for, or what the node has",
  uuid: "the build's uuid",
  project: "the change's project",
  branch: "the change's branch",
  change: "the change's number, with or without a patch set: 1234 or 1234,5",
  pipeline: "Zuul's pipeline",
  ref: "the change's ref",
  commit: "a commit, or the beginning of one",
  since: "assigned since then: a time (2026-11-29T08:00Z) or how long ago (2h, 7d)",
  until: "assigned before then, like since",
} as const;

export type FilterName = keyof typeof filters;
export type BuildFilter = Readonly<Partial<Record<FilterName, string>>>;
export const filterNames = Object.keys(filters) as readonly FilterName[];

const maxLength = 500;
const minCommitLength = 4;

/**
 * @param get the value of a parameter; an empty one counts as none
 * @throws BuildError FILTER for a value that can't match any build
 */
export function parseFilter(get: (name: FilterName) => string | null | undefined): BuildFilter {
  const given = filterNames.flatMap((name): [FilterName, string][] => {
    const value = get(name)?.trim();
    return value ? [[name, checked(name, value)]] : [];
  });
  return Object.fromEntries(given);
}

function checked(name: FilterName, value: string): string {
  if (value.length > maxLength) throw wrong(name, `${maxLength} characters at most`);
  if (name === "commit" && !new RegExp(`^[0-9a-f]{${minCommitLength},}$`, "i").test(value))
    throw wrong(name, `${minCommitLength} hexadecimal digits or more`);
  if (name !== "since" && name !== "until") return value;
  const ago = parseDuration(value);
  if (ago === undefined && Number.isNaN(Date.parse(value)))
    throw wrong(name, "a time such as 2026-11-29T08:00Z, or how long ago, such as 2h or 7d");
  const at = ago === undefined ? Date.parse(value) : Date.now() - ago;
  return new Date(Math.max(0, at)).toISOString();
}

function wrong(name: FilterName, expected: string): BuildError {
  return new BuildError("FILTER", `${name} must be ${expected}`);
}

/** @param isRunning such a build has no result yet */
export function matches(build: BuildSummary, isRunning: boolean, filter: BuildFilter): boolean {
  return filterNames.every((name) => {
    const wanted = filter[name];
    return wanted === undefined || tests[name](build, wanted, isRunning);
  });
}

const tests: Record<FilterName, (build: BuildSummary, wanted: string, isRunning: boolean) => boolean> = {
  job: ({ job }, wanted) => job === wanted,
  result: ({ result, ending }, wanted, isRunning) => {
    const words = isRunning ? ["running"] : [result ?? "none", ending?.kind ?? "none"];
    return words.some((word) => word.toLowerCase() === wanted.toLowerCase());
  },
  node: ({ node }, wanted) => node === wanted,
  class: ({ target, labels }, wanted) => target === wanted || labels.includes(wanted),
  uuid: ({ uuid }, wanted) => uuid === wanted,
  project: ({ change }, wanted) => change?.project === wanted,
  branch: ({ change }, wanted) => change?.branch === wanted,
  pipeline: ({ change }, wanted) => change?.pipeline === wanted,
  ref: ({ change }, wanted) => change?.ref === wanted,
  change: ({ change }, wanted) =>
    change?.change !== undefined && [change.change, `${change.change},${change.patchset}`].includes(wanted),
  commit: ({ change }, wanted) => change?.commit?.startsWith(wanted.toLowerCase()) ?? false,
  // Times of records are ISO 8601 in UTC, and compare as text.
  since: ({ assigned }, wanted) => assigned >= wanted,
  until: ({ assigned }, wanted) => assigned < wanted,
};
