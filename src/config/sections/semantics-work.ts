/** Whether a device can do what a job wants of it. Reads data that the schema may have refused. */
import type { Finding } from "../explain.ts";
import { entries, mapping } from "../unchecked.ts";
import { consoleKinds } from "./device.ts";
import type { Device } from "./semantics-device.ts";

type Mapping = Readonly<Record<string, unknown>>;

/** @returns what of the job the device can't do, at the job's own options */
export function deviceProblem(job: Mapping, device: Device): Finding[] {
  const { console } = device.options;
  const findings: Finding[] = [];
  if ("shell" in job && console === "raw") {
    findings.push({ path: ["shell"], message: "a raw console runs no scripts: use steps, or name its kind" });
  }
  for (const option of ["put", "get"]) {
    const message = option in job ? noFiles(console) : undefined;
    if (message !== undefined) findings.push({ path: [option], message });
  }
  for (const [place, step] of entries(job.steps)) {
    for (const verb of Object.keys(step)) {
      const message = stepProblem(verb, step[verb], device);
      if (message !== undefined) findings.push({ path: ["steps", place, verb], message });
    }
  }
  return findings;
}

function stepProblem(verb: string, value: unknown, { options, port }: Device): string | undefined {
  switch (verb) {
    case "run":
    case "login":
      return options.console === "raw" ? "a raw console has no prompt: use send and expect" : undefined;
    case "put":
    case "get":
      return noFiles(options.console);
    case "control":
    case "break":
      return port?.kind === "tcp"
        ? "tcp:// carries the bytes alone: use rfc2217://, which has control lines"
        : undefined;
    case "reset":
      // Anything but true, or nothing, the schema has refused.
      return options.reset === undefined && (value ?? true) === true
        ? "needs a device with reset: dtr or rts"
        : undefined;
    case "power":
      return powerProblem(value, mapping(options.power));
    default:
      return undefined;
  }
}

function noFiles(console: unknown): string | undefined {
  return console !== "linux" && consoleKinds.some((kind) => kind === console)
    ? `files go over linux consoles, not over ${String(console)} ones`
    : undefined;
}

function powerProblem(action: unknown, power: Mapping): string | undefined {
  if (action === "on" || action === "off") {
    return action in power ? undefined : `needs a device with power.${action}`;
  }
  if (action !== "cycle") return undefined;
  return "cycle" in power || ("on" in power && "off" in power)
    ? undefined
    : "needs a device with power.cycle";
}
