/** `labgear devices`: the boards on serial links; with --scan, what is plugged in. */
import type { Command } from "commander";
import { Discovery } from "#/devices/discovery/discovery.ts";
import { scanYaml } from "#/devices/discovery/scan.ts";
import { describeOutage } from "#/lib/board-history.ts";
import type { DeviceStatus } from "#/lib/status.ts";
import { printable } from "#/lib/text.ts";
import { formatElapsed } from "#/lib/units.ts";
import { controlTimeoutMs, findAgent, newCommand, withControl } from "./options.ts";
import { table } from "./print.ts";

export function command(): Command {
  return withControl(
    newCommand("devices [OPTIONS]", "Lists the boards on serial links, their states and who is using them."),
  )
    .option("--scan", "print what is plugged in as YAML to paste; needs no agent")
    .option("--json", "print it as JSON")
    .action(async ({ scan, ...options }: { scan?: true; json?: true; control?: string }) => {
      process.stdout.write(await (scan ? scanned(options.json) : listed(options)));
    });
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
  const head = ["DEVICE", "STATE", "FOR", "CONSOLE", "PORT", "CLASSES", "WHY"];
  return table([head, ...devices.map(row)]);
}

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
}: DeviceStatus): string[] {
  const lasting = formatElapsed(Math.max(0, Date.now() - Date.parse(since)));
  const why = outage ? `${describeOutage(outage)}: ${outage.reason}` : (who ?? reason ?? "");
  return [name, state, lasting, console, path ?? port, classes.join(" "), printable(why)];
}
