/** The root helper: starts builds for the agent, each in a place of its own, and checks all that it is asked for. */
import type { ChildProcess } from "node:child_process";
import { closeSync, constants, fchownSync, fstatSync, openSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import type { Account } from "#/host/accounts.ts";
import { unitOf } from "#/host/outsiders.ts";
import { reason } from "#/lib/errors.ts";
import { signalGroup } from "#/lib/process-group.ts";
import { onlyReach } from "./filter.ts";
import { descriptors, insideMark, startInPlace } from "./place.ts";
import { type Answer, HelperError, Lines, parseStart, type StartRequest } from "./protocol.ts";

export interface HelperOptions {
  /** The agent's state directory, by its real path. */
  readonly stateDir: string;
  /** The user that the agent runs as. */
  readonly agent: Pick<Account, "uid">;
  /** The only users that anything is started as. */
  readonly accounts: readonly Account[];
}

/** open(2): a handle without any right to what it names. Node has no constant for it. */
const pathOnly = 0o10000000;
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
        const request = parseStart(line);
        await start(request, options, children, answer).catch((error: Error) =>
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

async function start(
  request: StartRequest,
  { stateDir, agent, accounts }: HelperOptions,
  children: Set<ChildProcess>,
  answer: (message: Answer) => void,
): Promise<void> {
  const { id } = request;
  const account = accounts.find(({ name }) => name === request.user);
  if (!account) throw refused(`${request.user} is no user for builds`);
  await checkGroup(request, agent);
  using opened = new DisposableStack();
  const keep = (descriptor: number) => opened.adopt(descriptor, closeSync);
  const process = keep(openAgent(request, agent));
  checkScratch(stateDir, request.scratch);
  const output = keep(openOutput(process, request.output, agent, account));
  checkDevices(request);
  if (typeof request.network === "object") onlyReach(request.group, request.network.only);
  const child = startInPlace(request, { account, agent: process, output });
  child.once("error", (error) =>
    answer({ id, state: "failed", why: `the launcher can't be started: ${reason(error)}` }),
  );
  if (child.pid === undefined) return;
  children.add(child);
  answer({ id, state: "started", pid: child.pid });
  const pipes: readonly unknown[] = child.stdio;
  const report = pipes[descriptors.report] as Duplex;
  const reported = readReport(report).then((text) => {
    const why = text.trim() || "no reason given";
    answer(text === insideMark ? { id, state: "inside" } : { id, state: "failed", why });
  });
  child.once("close", (code, signal) => {
    children.delete(child);
    void reported.then(() => answer({ id, state: "ended", code, signal }));
  });
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
async function checkGroup({ group, agent: pid }: StartRequest, agent: Pick<Account, "uid">): Promise<void> {
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
function checkDevices({ devices }: StartRequest): void {
  if (devices === "all") return;
  for (const name of devices) {
    const node = statSync(join("/dev", name), { throwIfNoEntry: false });
    if (!node) throw new HelperError("REFUSED", `the job's device /dev/${name} isn't there`);
    if (!node.isCharacterDevice() && !node.isDirectory())
      throw refused(`/dev/${name} is no character device`);
  }
}

/** Opens the agent's folder in /proc, which stays that of this process, whatever gets its number next. */
function openAgent({ agent: pid }: StartRequest, agent: Pick<Account, "uid">): number {
  const folder = openSync(`/proc/${pid}`, pathOnly | constants.O_DIRECTORY);
  if (fstatSync(folder).uid === agent.uid) return folder;
  closeSync(folder);
  throw refused(`process ${pid} isn't the agent`);
}

/** Opens the agent's pipe for writing, and gives it to the build's user, who opens it again as /dev/stderr. */
function openOutput(process: number, output: number, agent: Pick<Account, "uid">, account: Account): number {
  const found = openSync(`/proc/self/fd/${process}/fd/${output}`, pathOnly);
  try {
    const pipe = fstatSync(found);
    if (!pipe.isFIFO() || ![agent.uid, account.uid].includes(pipe.uid))
      throw refused(`the agent's descriptor ${output} is no pipe of its own`);
    // As a reader too, it can't block; the next open then has one.
    const reader = openSync(`/proc/self/fd/${found}`, constants.O_RDWR);
    try {
      fchownSync(reader, account.uid, account.gid);
      return openSync(`/proc/self/fd/${found}`, constants.O_WRONLY);
    } finally {
      closeSync(reader);
    }
  } finally {
    closeSync(found);
  }
}

function refused(why: string): HelperError {
  return new HelperError("REFUSED", `the helper refuses the start: ${why}`);
}
