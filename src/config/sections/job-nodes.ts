/** Whether the nodes of a job exist, and can do what it needs. */
import { didYouMean, shown } from "#/lib/text.ts";
import type { At, Finding } from "../errors.ts";
import { entries, type Mapping, mapping, texts } from "../merge.ts";
import type { Device } from "./device.ts";
import { stepMisfit, transferMisfit } from "./steps.ts";

/** @param offered undefined: not known before the hardware is */
export function checkNodes(
  job: Mapping,
  offered: ReadonlySet<string> | undefined,
  what: "node" | "device",
  at: At,
): Finding[] {
  if (!offered) return [];
  return texts(job.nodes)
    .filter(([, node]) => !offered.has(node))
    .map(([index, node]) => {
      const hint = didYouMean(node, offered) || ` (${listed([...offered])})`;
      return at(`no ${what} has the name or class ${shown(node)}${hint}`, "nodes", index);
    });
}

function listed(offered: readonly string[]): string {
  if (offered.length === 0) return "there is none";
  const maxListed = 12;
  const names = offered.slice(0, maxListed).map((name) => shown(name));
  return `expected one of ${names.join(", ")}${offered.length > maxListed ? ", …" : ""}`;
}

/** What the job needs and one of its devices can't do; for each option, the first such device. */
export function misfits(job: Mapping, devices: readonly Device[], at: At): Finding[] {
  const nodes = texts(job.nodes).map(([, node]) => node);
  const candidates = devices.filter(({ name, classes }) =>
    [name, ...classes].some((node) => nodes.includes(node)),
  );
  const first = new Map<string, Finding>();
  for (const device of candidates) {
    for (const [message, ...path] of misfitsOf(job, device)) {
      const place = path.join(".");
      if (!first.has(place)) first.set(place, at(`${message} (the device ${shown(device.name)})`, ...path));
    }
  }
  return [...first.values()];
}

function misfitsOf(job: Mapping, device: Device): [message: string, ...path: string[]][] {
  const problems: [string | undefined, ...string[]][] = [
    ["needs" in job && !canRestart(device) ? "needs a device with power or reset" : undefined, "needs"],
    ["shell" in job && device.options.console === "raw" ? noScripts : undefined, "shell"],
    [job.tty === true && device.options.console !== "linux" ? "is for linux consoles" : undefined, "tty"],
    ...["put", "get"].map((option): [string | undefined, string] => [
      option in job ? transferMisfit(device) : undefined,
      option,
    ]),
    ...entries(job.steps).flatMap(([index, step]) =>
      Object.keys(step).map((action): [string | undefined, ...string[]] => [
        stepMisfit(action, step[action], device),
        "steps",
        index,
        action,
      ]),
    ),
  ];
  return problems.filter((problem): problem is [string, ...string[]] => problem[0] !== undefined);
}

function canRestart({ options }: Device): boolean {
  const power = mapping(options.power);
  return options.reset !== undefined || "cycle" in power || "off" in power;
}

const noScripts = "a raw console can't run scripts: use steps, or set the console of the device";
