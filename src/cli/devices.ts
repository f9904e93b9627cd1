/** `labgear devices`: the boards on serial links; with --scan, what is plugged in. */
import type { Command } from "commander";
import { ManagerCalls } from "#/client/calls.ts";
import { ControlError } from "#/control/errors.ts";
import { Discovery } from "#/devices/discovery/discovery.ts";
import { scanYaml } from "#/devices/discovery/scan.ts";
import { infoFunction } from "#/exchange/functions.ts";
import { type NodeInfo, parseInfo } from "#/exchange/info.ts";
import {
  type BuildEvent,
  describeOutage,
  foldOutages,
  type HistoryEvent,
  type PastOutage,
  whatEnds,
} from "#/lib/board-history.ts";
import { type DeviceStatus, describeLease, type Suspicion } from "#/lib/status.ts";
import { formatElapsed } from "#/lib/units.ts";
import { controlTimeoutMs, findAgent, newCommand, withControl } from "./options.ts";
import { findFunction } from "./registered.ts";
import { findServers, type ServerOptions, withServers } from "./servers.ts";
import { type Cell, type Column, stateCell, table, timeText } from "./table.ts";

export function command(): Command {
  return withServers(
    withControl(
      newCommand(
        "devices [NAME] [OPTIONS]",
        "Lists the boards on serial links, their states and who is using them; of one board, what happened to it.",
      ),
    ),
  )
    .argument(
      "[device]",
      "a board of this box; or another box's name, asked through a job server (default: all of this box)",
    )
    .option("--scan", "print what is plugged in as YAML to paste; needs no agent")
    .option("--json", "print it as JSON")
    .action(async (name: string | undefined, { scan, ...options }: Options) => {
      const output = scan
        ? scanned(options.json)
        : name === undefined
          ? listed(options)
          : ((await oneBoard(name, options)) ?? remote(name, options));
      process.stdout.write(await output);
    });
}

const maxShownBuilds = 10;

/** @returns undefined when the agent here has no such board, or none runs here */
async function oneBoard(name: string, options: Options): Promise<string | undefined> {
  const agent = findAgent(options);
  const request = { timeoutMs: controlTimeoutMs };
  const devices = await agent.json<DeviceStatus[]>("GET", "/devices", request).catch((error: unknown) => {
    if (error instanceof ControlError && error.code === "NO_AGENT") return [];
    throw error;
  });
  const device = devices.find((one) => one.name === name);
  if (!device) return undefined;
  const query = new URLSearchParams({ device: name });
  const events = await agent.json<HistoryEvent[]>("GET", `/devices/history?${query}`, request);
  const outages = foldOutages(events).reverse();
  const builds = events.filter((event) => "build" in event).reverse();
  if (options.json) return `${JSON.stringify({ ...device, outages, builds })}\n`;
  return boardText(device, outages, builds.slice(0, maxShownBuilds));
}

function boardText(
  device: DeviceStatus,
  outages: readonly PastOutage[],
  builds: readonly BuildEvent[],
): string {
  const { name, state, since, outage, who, reason, suspect = [], console, port, path } = device;
  const facts: (readonly [string, Cell | undefined])[] = [
    ["state", stateCell(state)],
    [outage ? "out of order" : "since", timeText(since)],
    ["why", outage ? `${describeOutage(outage)}: ${outage.reason}` : (who ?? reason)],
    ["what ends it", outage && whatEnds(name, outage)],
    ...suspect.map((one) => ["suspect", describeSuspicion(one)] as const),
    ["classes", device.classes.join(" ")],
    ["console", console],
    ["port", path === undefined ? port : `${path} (${port})`],
  ];
  const rows = facts.flatMap(([label, cell]) => (cell === undefined ? [] : [[label, cell]]));
  const past = outages.map((one) => [
    ...[timeText(one.since), one.until === undefined ? "" : lastingOf(one.since, one.until)],
    ...[one.causes.join(" "), `${one.tries || ""}`, one.who ?? "", one.reason],
  ]);
  const endings = builds.map(({ at, build, ending, cause, bootMs, lineErrors = 0 }) => [
    ...[build, ending, timeText(at), cause, bootMs === undefined ? "" : formatElapsed(bootMs)],
    lineErrors > 0 ? `${lineErrors}` : "",
  ]);
  return [
    `${name}\n${table(["", { fit: "wrap" }], rows, { indent: 2 })}`,
    ...(past.length > 0 ? [`\nout of order in 30 days\n${table(outageColumns, past, { indent: 2 })}`] : []),
    ...(endings.length > 0 ? [`\nits last builds\n${table(buildColumns, endings, { indent: 2 })}`] : []),
  ].join("");
}

const buildColumns: readonly Column[] = ["BUILD", "ENDING", "WHEN", "CAUSE", "BOOT", "LINE ERRORS"];
const outageColumns: readonly Column[] = [
  ...["SINCE", "FOR", "CAUSES", "TRIES", "BY"],
  { title: "WHY", fit: "wrap" },
];

function lastingOf(since: string, until: string): string {
  return formatElapsed(Math.max(0, Date.parse(until) - Date.parse(since)));
}

function describeSuspicion({ job, days, failed, builds, siblingFailed, siblingBuilds }: Suspicion): string {
  return `failed ${failed} of ${builds} ${job} in ${days} days, its siblings ${siblingFailed} of ${siblingBuilds}`;
}

interface Options extends ServerOptions {
  readonly scan?: true;
  readonly json?: true;
  readonly control?: string;
}

/** What `info:` says of a box's boards. */
async function remote(box: string, options: Options): Promise<string> {
  const lack = `no box ${box} is connected that says what it has`;
  const name = infoFunction(box);
  await using calls = new ManagerCalls(await findFunction(await findServers(options), name, lack));
  const { nodes } = parseInfo(await calls.call(name, Buffer.alloc(0)));
  const boards = nodes.filter(({ device }) => device);
  if (options.json) return `${JSON.stringify(boards)}\n`;
  if (boards.length === 0) return `${box} has no boards\n`;
  return table(remoteColumns, boards.map(remoteRow));
}

const remoteColumns: readonly Column[] = [
  ...["DEVICE", "STATE", "FOR"],
  { title: "CLASSES", fit: "cut" },
  { title: "WHY", fit: "wrap" },
];

function remoteRow({
  name,
  classes,
  state,
  cause,
  reason = "",
  since = "",
  outage,
  build,
  lease,
}: NodeInfo): Cell[] {
  const begun = Date.parse(since);
  const lasting = Number.isNaN(begun) ? "" : formatElapsed(Math.max(0, Date.now() - begun));
  const tries =
    outage && outage.tries > 0 ? ` (${outage.tries} ${outage.tries === 1 ? "try" : "tries"})` : "";
  const why = lease ? describeLease(lease) : build ? `${build.name}#${build.number}` : `${reason}${tries}`;
  return [name, stateCell(state === "held" ? (cause ?? state) : state), lasting, classes.join(" "), why];
}

async function scanned(json: true | undefined): Promise<string> {
  using discovery = new Discovery();
  const found = await discovery.list({ inUse: true });
  return json ? `${JSON.stringify(found)}\n` : scanYaml(found);
}

async function listed(options: { json?: true; control?: string }): Promise<string> {
  const devices = await findAgent(options).json<DeviceStatus[]>("GET", "/devices", {
    timeoutMs: controlTimeoutMs,
  });
  if (options.json) return `${JSON.stringify(devices)}\n`;
  if (devices.length === 0)
    return "no devices are configured; `labgear devices --scan` shows what is plugged in\n";
  return table(columns, devices.map(row));
}

const columns: readonly Column[] = [
  ...["DEVICE", "STATE", "FOR"],
  { title: "CONSOLE", fit: "drop" },
  { title: "PORT", fit: "drop" },
  { title: "CLASSES", fit: "cut" },
  { title: "WHY", fit: "wrap" },
];

function row({
  name,
  state,
  since,
  console,
  path,
  port,
  classes,
  who,
  reason,
  outage,
}: DeviceStatus): Cell[] {
  const lasting = formatElapsed(Math.max(0, Date.now() - Date.parse(since)));
  const why = outage ? `${describeOutage(outage)}: ${outage.reason}` : (who ?? reason ?? "");
  return [name, stateCell(state), lasting, console, path ?? port, classes.join(" "), why];
}
