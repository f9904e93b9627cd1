/** The audit: whatever happened to an agent, its job server and the line between them, nothing is lost, doubled or left over. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, realpathSync } from "node:fs";
import { join } from "node:path";
import type { BuildRecord } from "#/builds/record.ts";
import { lockFolder } from "#/host/lock.ts";
import type { TestAgent } from "./agent.ts";
import { functions, object, type Watched } from "./clients.ts";
import { buildGroups, buildProcesses, controlGroups, descriptors, halfWritten } from "./leftovers.ts";

/**
 * To be put first in a job's script: it notes each run of a uuid in the state directory, and that two ran at once. The lock goes
 * with the last process of the run, however that ends.
 */
export const witness = `mkdir -p ../../../witness
exec 9>>"../../../witness/$LABGEAR_UUID.runs"
flock -n 9 || echo "$LABGEAR_BUILD" >>"../../../witness/$LABGEAR_UUID.twice"
echo "$LABGEAR_BUILD" >&9`;

export interface AuditOptions {
  /** What was asked for, by clients that waited all along. */
  readonly builds: readonly Watched[];
  /** The job server's port, when some builds may still be queued there. */
  readonly queuedAt?: number;
  /** How many numbers may have no record: a build whose agent is killed right after its assignment has none yet. */
  readonly gaps?: number;
  /** Builds were removed by age or number. */
  readonly pruned?: boolean;
  /** What `descriptors()` told of the idle agent earlier. */
  readonly descriptors?: ReturnType<typeof descriptors>;
}

/** Fails when anything is lost, doubled or left over. The agent lives, idle or at work, or has ended. */
export async function audit(agent: TestAgent, options: AuditOptions): Promise<void> {
  const stateDir = realpathSync(agent.stateDir);
  const living = agent.child.exitCode === null && agent.child.signalCode === null;
  if (living && options.descriptors) await idleWith(agent, options.descriptors);
  const running = living ? await runningBuilds(agent) : [];
  const records = readRecords(stateDir);

  for (const build of options.builds) assertEnding(build, records);
  await assertQueued(options, running);
  assertNotTwice(stateDir, records);
  if (!options.pruned) assertNumbers(records, options.gaps ?? 0);

  const unfinished = [...records.values()].filter(({ ended }) => ended === undefined).map(title);
  assert.deepEqual(
    unfinished.filter((build) => !running.includes(build)),
    [],
    "every record has an ending, or its build runs",
  );
  const strangers = buildProcesses(stateDir).filter(({ build }) => !running.includes(build));
  assert.deepEqual(strangers, [], "no process of a build that has ended is left");
  if (running.length === 0) assert.deepEqual(halfWritten(stateDir), [], "no half-written file is left");

  if (living) await onlyGroupsOf(agent, stateDir, running);
  else {
    assert.deepEqual(await controlGroups(stateDir), [], "no control group is left");
    // One that was killed may have died before it noted that.
    const told = options.builds.map((build) =>
      [...records.values()].find(({ uuid }) => uuid === build.asked.unique),
    );
    const owed = options.gaps === undefined ? told.filter((record) => record?.undelivered) : [];
    assert.deepEqual(owed, [], "no ending that a client has is kept for it");
    await using _ = await lockFolder(stateDir);
  }
}

/** The records of all builds below a state directory, by `JOB#NUMBER`. */
export function readRecords(stateDir: string): Map<string, BuildRecord> {
  const folder = join(stateDir, "builds");
  const records = new Map<string, BuildRecord>();
  for (const job of readdirSync(folder)) {
    for (const number of readdirSync(join(folder, job)).filter((name) => /^\d+$/.test(name))) {
      const record = JSON.parse(readFileSync(join(folder, job, number, "build.json"), "utf8")) as BuildRecord;
      assert.equal(title(record), `${job}#${number}`);
      records.set(title(record), record);
    }
  }
  return records;
}

const title = ({ job, number }: BuildRecord): string => `${job}#${number}`;

/** How often a uuid ran, as its `witness` noted. */
export function runsOf(stateDir: string, uuid: string): number[] {
  const file = join(stateDir, "witness", `${uuid}.runs`);
  return readFileSync(file, "utf8").split("\n").filter(Boolean).map(Number);
}

/** What a client got as the end of its build; empty while there is none. */
const endsOf = ({ events }: Watched) => events.filter(({ type }) => type === "complete" || type === "fail");

/** One ending, and it is that of a record of this uuid; or the build was given back, and no record says otherwise. */
function assertEnding(build: Watched, records: ReadonlyMap<string, BuildRecord>): void {
  const name = `${build.asked.function} ${build.asked.unique}`;
  const ends = endsOf(build);
  assert.ok(ends.length <= 1, `${name} has one ending: ${JSON.stringify(ends)}`);
  if (ends.length === 0) return;
  const data = build.events.filter(({ type }) => type === "data" || type === "complete").map(object);
  const told = data.findLast((one) => "number" in one);
  if (told === undefined) {
    assert.equal(ends[0]?.type, "fail", `${name} was given back before it began`);
    return;
  }
  const record = records.get(`${told.name}#${told.number}`);
  if (told.result === undefined) {
    assert.equal(ends[0]?.type, "fail", `${name} has no result`);
    const kind = record?.ending?.kind ?? "lost";
    assert.ok(
      ["infrastructure", "lost"].includes(kind),
      `${name} was given back, but its record says ${kind}`,
    );
    return;
  }
  assert.equal(ends[0]?.type, told.result === "SUCCESS" ? "complete" : "fail", name);
  assert.deepEqual(
    [record?.uuid, record?.result],
    [build.asked.unique, told.result],
    `the record of ${name}`,
  );
}

/** Builds without an ending are still at the job server, which hands them out or lets the agent have them. */
async function assertQueued({ builds, queuedAt }: AuditOptions, running: readonly string[]): Promise<void> {
  const open = builds.filter((build) => endsOf(build).length === 0);
  if (queuedAt === undefined) {
    const names = open.map(({ asked }) => `${asked.function} ${asked.unique}`);
    assert.ok(open.length <= running.length, `every build has an ending: ${names}; running: ${running}`);
    return;
  }
  const known = await functions(queuedAt);
  for (const name of new Set(open.map(({ asked }) => asked.function))) {
    const waiting = open.filter(({ asked }) => asked.function === name).length;
    assert.ok(
      (known.get(name)?.total ?? 0) >= waiting,
      `${waiting} of ${name} have no ending, and aren't queued`,
    );
  }
}

/** No two runs of a job and uuid overlap, by their records and by what they saw themselves; none follows one with a result. */
function assertNotTwice(stateDir: string, records: ReadonlyMap<string, BuildRecord>): void {
  const runs = Map.groupBy(records.values(), ({ job, uuid }) => `${job} ${uuid}`);
  for (const ofOne of runs.values()) {
    const inOrder = ofOne.toSorted((a, b) => a.number - b.number);
    for (const [index, record] of inOrder.entries()) {
      const next = inOrder[index + 1];
      if (!next) continue;
      const apart = record.ended !== undefined && record.ended <= next.assigned;
      assert.ok(apart, `${title(record)} and ${title(next)} are the same uuid, and ran at once`);
      assert.equal(record.result, undefined, `${title(record)} had ended, and ran again as ${title(next)}`);
    }
  }
  const names = readdirSync(stateDir).includes("witness") ? readdirSync(join(stateDir, "witness")) : [];
  assert.deepEqual(
    names.filter((name) => name.endsWith(".twice")),
    [],
    "no uuid ran twice at once",
  );
}

function assertNumbers(records: ReadonlyMap<string, BuildRecord>, gaps: number): void {
  const byJob = Map.groupBy(records.values(), ({ job }) => job);
  let missing = 0;
  for (const [, ofJob] of byJob) {
    missing += Math.max(...ofJob.map(({ number }) => number)) - ofJob.length;
  }
  assert.ok(missing <= gaps, `${missing} numbers have no record: ${[...records.keys()].join(" ")}`);
}

async function runningBuilds(agent: TestAgent): Promise<string[]> {
  const { nodes } = await agent.status();
  const builds = nodes.flatMap(({ executors }) => executors.map(({ build }) => build));
  return builds.filter((build) => build !== undefined).map(({ job, number }) => `${job}#${number}`);
}

/** Resolves when the agent has no more open than it had; each look comes after a command of its own. */
async function idleWith(agent: TestAgent, before: ReturnType<typeof descriptors>): Promise<void> {
  let now = descriptors(agent.child.pid);
  const more = () => (["sockets", "pipes", "files"] as const).some((kind) => now[kind] > before[kind]);
  for (let look = 0; look < 20 && more(); look++) {
    await agent.status();
    now = descriptors(agent.child.pid);
  }
  assert.ok(!more(), `descriptors: ${JSON.stringify(before)} before, ${JSON.stringify(now)} now`);
}

/** Waits until the agent's control groups are those of builds that run: some are made ahead meanwhile. */
async function onlyGroupsOf(agent: TestAgent, stateDir: string, running: readonly string[]): Promise<void> {
  let groups = await buildGroups(stateDir);
  for (let look = 0; look < 20 && groups.length > running.length; look++) {
    await agent.status();
    groups = await buildGroups(stateDir);
  }
  assert.ok(groups.length <= running.length, `no control group is left: ${groups}, running: ${running}`);
}
