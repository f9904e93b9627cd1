/** The root helper: starts, signals and ends processes of builds for the agent, and checks all that it is asked for. */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, constants, fchownSync, fstatSync, openSync, statSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import type { Account } from "#/host/accounts.ts";
import { findStarters, outsideProcesses, unitOf } from "#/host/outsiders.ts";
import { describeProcess, isDead, type ProcessStat, readStat, signalProcess } from "#/host/proc.ts";
import { reason } from "#/lib/errors.ts";
import { signalGroup } from "#/lib/process-group.ts";
import { type Folders, handOver, measureTree, type Owner, ownTree } from "./belongings.ts";
import { onlyReach } from "./filter.ts";
import { pathOnly } from "./kernel.ts";
import { asAgentSees, descriptors, insideMark, startInPlace } from "./place.ts";
import {
  type Answer,
  HelperError,
  type HelperRequest,
  Lines,
  type Outsiders,
  type OutsidersRequest,
  type PlaceRequest,
  parseRequest,
  type SignalRequest,
  type StartRequest,
  type Usage,
} from "./protocol.ts";

export interface HelperOptions extends Folders {
  /** The user that the agent runs as. */
  readonly agent: Owner;
  /** The only users that builds are started as. */
  readonly accounts: readonly Account[];
  /** The user that fetches, which gets no place. */
  readonly fetch?: Account | undefined;
}

const maxReportLength = 1000;

/** Serves the agent until it hangs up; what still runs for it is killed then. */
export async function serve(connection: Duplex, options: HelperOptions): Promise<void> {
  const children = new Set<ChildProcess>();
  const answer = (message: Answer) =>
    void (connection.writable && connection.write(`${JSON.stringify(message)}\n`));
  const lines = new Lines();
  try {
    for await (const chunk of connection.setEncoding("utf8")) {
      for (const line of lines.push(chunk)) {
        const request = parseRequest(line);
        await act(request, options, children, answer).catch((error: Error) =>
          answer({ id: request.id, state: "failed", why: error.message }),
        );
      }
    }
  } catch {
    // A connection that breaks, or says what no agent says, is over.
  } finally {
    connection.destroy();
    for (const { pid } of children) if (pid !== undefined) signalGroup(pid, "SIGKILL");
  }
}

async function act(
  request: HelperRequest,
  options: HelperOptions,
  children: Set<ChildProcess>,
  answer: (message: Answer) => void,
): Promise<void> {
  const { id, verb } = request;
  using opened = new DisposableStack();
  const agent = opened.adopt(openAgent(request, options.agent), closeSync);
  if (verb === "start") return await start(request, agent, options, children, answer);
  const users = options.fetch ? [...options.accounts, options.fetch] : options.accounts;
  if (verb === "take") {
    const how = { from: [options.agent, ...users], to: { uid: options.agent.uid, gid: -1 } };
    asAgentSees(agent, (kernel) => handOver(kernel, options, request.belongings, how));
    return answer({ id, state: "done" });
  }
  if (verb === "own") {
    const to = request.user === null ? options.agent : users.find(({ name }) => name === request.user);
    if (!to) throw refused(`${request.user} is no user for builds`);
    const how = { from: [options.agent, ...users], to, isAgent: request.user === null };
    const child = asAgentSees(agent, () => ownTree(options, request.path, how));
    // It may take long; other requests go on.
    void succeeds(child).then(
      () => answer({ id, state: "done" }),
      (error: Error) => answer({ id, state: "failed", why: error.message }),
    );
    return;
  }
  if (verb === "measure") {
    const child = asAgentSees(agent, () => measureTree(options, request.path));
    void usageOf(child).then(
      (usage) => answer({ id, state: "done", usage }),
      (error: Error) => answer({ id, state: "failed", why: error.message }),
    );
    return;
  }
  if (verb === "signal") {
    await checkGroup(request, options.agent);
    for (const stat of await processesIn(request.group)) signalProcess(stat, request.signal);
    return answer({ id, state: "done" });
  }
  answer({ id, state: "done", outsiders: await endOutsiders(request, options) });
}

async function start(
  request: StartRequest,
  process: number,
  options: HelperOptions,
  children: Set<ChildProcess>,
  answer: (message: Answer) => void,
): Promise<void> {
  const { stateDir, agent, accounts, fetch } = options;
  const { id, place, pipes, belongings } = request;
  const known = place === null && fetch ? [...accounts, fetch] : accounts;
  const account = known.find(({ name }) => name === request.user);
  if (!account) throw refused(`${request.user} is no user for builds`);
  await checkGroup(request, agent);
  using opened = new DisposableStack();
  const stdio = pipes.map((descriptor, index) => {
    if (descriptor === null) return "ignore" as const;
    const flags = index === 0 ? constants.O_RDONLY : constants.O_WRONLY;
    return opened.adopt(openPipe(process, descriptor, flags, agent, account), closeSync);
  });
  if (place) {
    checkScratch(stateDir, place.scratch);
    checkDevices(place);
    if (typeof place.network === "object") onlyReach(request.group, place.network.only);
  }
  const child = startInPlace(request, {
    ...{ account, agent: process, stdio },
    handOver: (kernel) => handOver(kernel, options, belongings, { from: [agent, account], to: account }),
  });
  child.once("error", (error) =>
    answer({ id, state: "failed", why: `the launcher can't be started: ${reason(error)}` }),
  );
  if (child.pid === undefined) return;
  children.add(child);
  answer({ id, state: "started", pid: child.pid });
  const report = (child.stdio as readonly unknown[])[descriptors.report] as Duplex;
  const reported = readReport(report).then((text) => {
    const why = text.trim() || "no reason given";
    answer(text === insideMark ? { id, state: "inside" } : { id, state: "failed", why });
  });
  child.once("close", (code, signal) => {
    children.delete(child);
    void reported.then(() => answer({ id, state: "ended", code, signal }));
  });
}

/** Whatever measureTree() has counted. */
async function usageOf(child: ChildProcess): Promise<Usage> {
  const report = child.stdout ? readReport(child.stdout as unknown as Duplex) : "";
  // One that can't be started has an error first.
  const [counted] = await Promise.all([report, once(child, "close")]);
  const [bytes = 0, inodes = 0] = counted.split(" ").map(Number);
  return { bytes, inodes };
}

/** @throws HelperError REFUSED with what it complains about */
async function succeeds(child: ChildProcess): Promise<void> {
  const ended = once(child, "close");
  const complaint = child.stderr ? readReport(child.stderr as unknown as Duplex) : "";
  const [code] = await ended;
  if (code !== 0)
    throw new HelperError("REFUSED", `files can't be handed over: ${(await complaint) || code}`);
}

async function readReport(report: Duplex): Promise<string> {
  let text = "";
  try {
    for await (const chunk of report) text = (text + String(chunk)).slice(0, maxReportLength);
  } catch (error) {
    text += reason(error);
  }
  return text;
}

/** A control group of a build, as the agent makes them below its unit's own. */
async function checkGroup({ group, agent: pid }: StartRequest | SignalRequest, agent: Owner): Promise<void> {
  const unit = (await unitOf(pid)) ?? "";
  const place = group.replace(/^\/sys\/fs\/cgroup(?:\/unified)?/, "");
  const below = place.startsWith(`${unit}/`) ? place.slice(unit.length) : "";
  if (unit === "" || !/^\/labgear-[0-9a-f]{16}\/build-[\w.-]+$/.test(below))
    throw refused(`${group} is no control group of a build`);
  if (statSync(group).uid !== agent.uid) throw refused(`${group} isn't the agent's`);
}

function checkScratch(stateDir: string, scratch: string): void {
  const below = scratch.startsWith(`${stateDir}/scratch/`) ? scratch.slice(stateDir.length + 9) : "";
  if (!/^[^/]+$/.test(below) || below === "." || below === "..")
    throw refused(`${scratch} is no build's folder`);
}

/** No disks: what a node is, its copy is. */
function checkDevices({ devices }: PlaceRequest): void {
  if (devices === "all") return;
  for (const name of devices) {
    const node = statSync(join("/dev", name), { throwIfNoEntry: false });
    if (!node) throw new HelperError("REFUSED", `the job's device /dev/${name} isn't there`);
    if (!node.isCharacterDevice() && !node.isDirectory())
      throw refused(`/dev/${name} is no character device`);
  }
}

/** Opens the agent's folder in /proc, which stays that of this process, whatever gets its number next. */
function openAgent({ agent: pid }: HelperRequest, agent: Owner): number {
  const folder = openSync(`/proc/${pid}`, pathOnly | constants.O_DIRECTORY);
  if (fstatSync(folder).uid === agent.uid) return folder;
  closeSync(folder);
  throw refused(`process ${pid} isn't the agent`);
}

/** Opens a pipe of the agent's, and gives it to the build's user, who opens it again as /dev/stderr. */
function openPipe(
  process: number,
  descriptor: number,
  flags: number,
  agent: Owner,
  account: Account,
): number {
  const found = openSync(`/proc/self/fd/${process}/fd/${descriptor}`, pathOnly);
  try {
    const pipe = fstatSync(found);
    if (!pipe.isFIFO() || ![agent.uid, account.uid].includes(pipe.uid))
      throw refused(`the agent's descriptor ${descriptor} is no pipe of its own`);
    // Open for both ways it can't block; the next open then has its other end.
    const both = openSync(`/proc/self/fd/${found}`, constants.O_RDWR);
    try {
      fchownSync(both, account.uid, account.gid);
      return openSync(`/proc/self/fd/${found}`, flags);
    } finally {
      closeSync(both);
    }
  } finally {
    closeSync(found);
  }
}

/** Those of the group, and of the groups below it that its processes made. */
async function processesIn(group: string): Promise<ProcessStat[]> {
  const read = async (path: string) => (await readFile(path, "utf8").catch(() => "")).split("\n").map(Number);
  const pids = (await read(`${group}/cgroup.procs`)).filter((pid) => pid > 1);
  const stats = pids.map(readStat).filter((stat) => stat !== undefined);
  const entries = await readdir(group, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) {
    if (entry.isDirectory()) stats.push(...(await processesIn(join(group, entry.name))));
  }
  return stats.filter((stat) => !isDead(stat));
}

async function endOutsiders(
  { agent }: OutsidersRequest,
  { accounts, fetch }: HelperOptions,
): Promise<Outsiders> {
  const unit = await unitOf(agent);
  if (unit === undefined) throw refused("the agent has no control group of its own");
  const users = fetch ? [...accounts, fetch] : accounts;
  const killed: Outsiders["killed"][number][] = [];
  for (const { user, stat } of await outsideProcesses(users, unit)) {
    const { pid, command } = await describeProcess(stat);
    if (signalProcess(stat, "SIGKILL")) killed.push({ pid, user, command });
  }
  return { killed, starters: (await findStarters(users)).found };
}

function refused(why: string): HelperError {
  return new HelperError("REFUSED", `the helper refuses the start: ${why}`);
}
