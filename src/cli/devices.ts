/** `labgear devices`: the boards on serial links; with --scan, what is plugged in. */
import type { Command } from "commander";
import { ManagerCalls } from "#/client/calls.ts";
import { Discovery } from "#/devices/discovery/discovery.ts";
import { scanYaml } from "#/devices/discovery/scan.ts";
import { infoFunction } from "#/exchange/functions.ts";
import { type NodeInfo, parseInfo } from "#/exchange/info.ts";
import { describeOutage } from "#/lib/board-history.ts";
import { type DeviceStatus, describeLease } from "#/lib/status.ts";
import { formatElapsed } from "#/lib/units.ts";
import { controlTimeoutMs, findAgent, newCommand, withControl } from "./options.ts";
import { findFunction } from "./registered.ts";
import { findServers, type ServerOptions, withServers } from "./servers.ts";
import { type Cell, type Column, stateCell, table } from "./table.ts";

export function command(): Command {
  return withServers(
    withControl(
      newCommand(
        "devices [BOX] [OPTIONS]",
        "Lists the boards on serial links, their states and who is using them.",
      ),
    ),
  )
    .argument("[box]", "another box, asked through a job server (default: this one, over its control socket)")
    .option("--scan", "print what is plugged in as YAML to paste; needs no agent")
    .option("--json", "print it as JSON")
    .action(async (box: string | undefined, { scan, ...options }: Options) => {
      const output = scan
        ? scanned(options.json)
        : box === undefined
          ? listed(options)
          : remote(box, options);
      process.stdout.write(await output);
    });
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
