/** Puts the lab together from what job servers and boxes answer. Pure: the watch asks, and hands the answers in. */
import type { AgentInfo, NodeInfo } from "#/exchange/info.ts";
import type { FunctionStatus } from "#/gearman/client/admin.ts";
import type { LabBoard, LabBox, LabBuild, LabClass, LabQueued, LabServer, LabView } from "#/lib/lab.ts";
import { parseFunction } from "#/zuul/functions.ts";
import { nodesFor, whyNoneIsFree } from "./demand.ts";

/** What is known of a box. */
export interface KnownBox {
  readonly name: string;
  readonly state: LabBox["state"];
  /** Unix time in milliseconds, of its last answer. */
  readonly seen?: number;
  readonly info?: AgentInfo;
}

export interface ServerAnswer extends LabServer {
  readonly functions: readonly FunctionStatus[];
}

export interface LabFacts {
  readonly now: number;
  readonly servers: readonly ServerAnswer[];
  readonly boxes: readonly KnownBox[];
  /** When a function was first seen with a build that waits, by server and function. */
  readonly waitingSince: ReadonlyMap<string, number>;
}

export function waitingKey(server: string, name: string): string {
  return `${server} ${name}`;
}

export function labView({ now, servers, boxes, waitingSince }: LabFacts): LabView {
  const up = boxes.filter(({ state, info }) => state === "up" && info);
  const infos = up.flatMap(({ info }) => info ?? []);
  const queued = servers.flatMap((server) => queuedOn(server, infos, waitingSince, now));
  const order = { away: 0, asked: 1, up: 2 };
  return {
    version: 1,
    time: iso(now),
    servers: servers.map(({ server, error }) => ({ server, ...(error !== undefined && { error }) })),
    boxes: boxes.map(boxOf).sort((a, b) => order[a.state] - order[b.state] || compare(a.name, b.name)),
    classes: classesOf(infos, queued),
    boards: up.flatMap((box) => boardsOf(box)).sort(compareBoards),
    running: up.flatMap((box) => runningOn(box)),
    queued: queued.sort(
      (a, b) =>
        Number(b.orphan) - Number(a.orphan) || compare(a.since, b.since) || compare(a.function, b.function),
    ),
  };
}

const iso = (ms: number): string => new Date(ms).toISOString();
const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

function boxOf({ name, state, seen, info }: KnownBox): LabBox {
  const url = webAddress(info?.url);
  return {
    ...{ name, state },
    ...(seen !== undefined && { seen: iso(seen) }),
    ...(url !== undefined && { url }),
    ...(info && { hostname: info.hostname, programVersion: info.programVersion, life: info.state }),
  };
}

/** A box may answer anything, `javascript:` too. @returns without a slash at its end; undefined: no address of pages */
function webAddress(text: string | undefined): string | undefined {
  if (text === undefined || !URL.canParse(text)) return undefined;
  const { protocol, username, password, href } = new URL(text);
  const isWeb = (protocol === "http:" || protocol === "https:") && username === "" && password === "";
  return isWeb ? href.replace(/\/+$/, "") : undefined;
}

/** Held nodes whose board is well: by a person or by the box. */
const orders: ReadonlySet<string | undefined> = new Set([
  ...["paused", "draining", "leaving", "disk", "box", "failing"],
]);
/** What a board goes through between two builds. */
const passing: ReadonlySet<string | undefined> = new Set(["busy", "proving", "recovering", "opening"]);

function stateOf({ state, cause, device, outage }: NodeInfo): LabBoard["state"] {
  if (state !== "held") return state;
  if (!device || orders.has(cause)) return "held";
  return outage || !passing.has(cause) ? "sick" : "busy";
}

function classesOf(infos: readonly AgentInfo[], queued: readonly LabQueued[]): LabClass[] {
  const classes = new Map<string, { -readonly [K in keyof LabClass]: LabClass[K] }>();
  const entry = (name: string) => {
    const known = classes.get(name) ?? { name, free: 0, busy: 0, sick: 0, held: 0, waiting: 0 };
    classes.set(name, known);
    return known;
  };
  for (const node of infos.flatMap(({ nodes }) => nodes))
    for (const name of new Set(node.classes)) entry(name)[stateOf(node)] += 1;
  for (const { function: name, count, since } of queued) {
    const asked = parseFunction(name);
    if (asked?.kind !== "build" || asked.target === undefined) continue;
    const target = entry(asked.target);
    target.waiting += count;
    if (target.waitingSince === undefined || since < target.waitingSince) target.waitingSince = since;
  }
  return [...classes.values()].sort((a, b) => compare(a.name, b.name));
}

function boardsOf({ name: box, info }: KnownBox): LabBoard[] {
  const url = webAddress(info?.url);
  const devices = info?.nodes.filter(({ device }) => device) ?? [];
  return devices.map((node) => {
    const { name, classes, cause, reason, since, outage, suspect } = node;
    return {
      ...{ box, name, classes, state: stateOf(node) },
      ...(outage ? { cause: outage.cause } : cause !== undefined && { cause }),
      ...(reason !== undefined && { reason }),
      ...(since !== undefined && !Number.isNaN(Date.parse(since)) && { since }),
      ...(outage && outage.tries > 0 && { tries: outage.tries }),
      ...(outage?.who !== undefined && { who: outage.who }),
      ...(suspect && { suspect: describeSuspect(suspect) }),
      ...(url !== undefined && { url: `${url}/devices/${encodeURIComponent(name)}` }),
    };
  });
}

function describeSuspect(suspect: NonNullable<NodeInfo["suspect"]>): string {
  const { job, days, failed, builds, siblingFailed, siblingBuilds } = suspect;
  return `failed ${failed} of ${builds} ${job} in ${days} days, its siblings ${siblingFailed} of ${siblingBuilds}`;
}

function compareBoards(a: LabBoard, b: LabBoard): number {
  const isSick = (board: LabBoard) => Number(board.state === "sick");
  if (isSick(a) !== isSick(b)) return isSick(b) - isSick(a);
  if ((a.suspect === undefined) !== (b.suspect === undefined)) return a.suspect === undefined ? 1 : -1;
  const bySince = isSick(a) ? compare(a.since ?? "", b.since ?? "") : 0;
  return bySince || compare(a.box, b.box) || compare(a.name, b.name);
}

function runningOn({ name: box, info }: KnownBox): LabBuild[] {
  const url = webAddress(info?.url);
  const nodes = info?.nodes ?? [];
  return nodes.flatMap(({ name: node, build }) => {
    if (!build) return [];
    const { name, number } = build;
    const page = url === undefined ? {} : { url: `${url}/builds/${encodeURIComponent(name)}/${number}` };
    return [{ ...{ box, node, name, number }, ...page }];
  });
}

function queuedOn(
  { server, functions }: ServerAnswer,
  infos: readonly AgentInfo[],
  waitingSince: ReadonlyMap<string, number>,
  now: number,
): LabQueued[] {
  return functions.flatMap(({ function: name, total, running, workers }) => {
    const asked = parseFunction(name);
    if (asked?.kind !== "build" || total <= running) return [];
    const nodes = nodesFor(infos, { job: asked.job, target: asked.target });
    const because = whyNoneIsFree(nodes);
    const orphan = workers === 0;
    const nobody = because === undefined ? "no node takes this" : `no node takes this: ${because}`;
    const why = orphan ? nobody : because;
    const since = iso(waitingSince.get(waitingKey(server, name)) ?? now);
    return [
      {
        ...{ server, function: name, count: total - running, since, orphan },
        ...(why !== undefined && { why }),
      },
    ];
  });
}
