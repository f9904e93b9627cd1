/** What the schema can't say of jobs. Reads data that the schema may have refused. */

import { didYouMean, inWords, shown } from "#/lib/text.ts";
import { defaults } from "../defaults.ts";
import type { Finding } from "../explain.ts";
import { entries, mapping, texts } from "../unchecked.ts";
import { workOptions } from "./job.ts";
import { type Device, devicesOf } from "./semantics-device.ts";
import { checkSteps } from "./semantics-steps.ts";
import { deviceProblem } from "./semantics-work.ts";

type Mapping = Readonly<Record<string, unknown>>;
/** A mistake of one job, at one of its options. */
export type At = (message: string, ...path: string[]) => Finding;

/** More names than this are not listed in a message. */
const mostOffered = 12;

/** @param host the host's name as a node */
export function checkJobs(data: Mapping, host: unknown): Finding[] {
  const devices = devicesOf(data);
  const onDevices = new Set(devices.flatMap(({ name, classes }) => [name, ...classes]));
  const onHost = offeredByHost(data, host);
  const anywhere = onHost && new Set([...onHost, ...onDevices]);
  return entries(data.jobs).flatMap(([name, job]) => {
    const at: At = (message, ...path) => ({ path: ["jobs", name, ...path], message });
    const works = workOptions.filter((option) => option in job);
    const [work, other] = works;
    if (work === undefined) return [at(`needs one of ${inWords(workOptions)}: what it does`)];
    if (other !== undefined) return [at(`has ${inWords(works)}: a job does one of them`)];
    return [
      ...(work === "shell" ? [] : transfersElsewhere(job, at)),
      ...(work === "run" ? nodeProblems(job, anywhere, "node", at) : []),
      ...(work === "run" ? [] : nodeProblems(job, onDevices, "device", at)),
      ...(work === "run" || "nodes" in job
        ? []
        : [at(`needs the option nodes: ${work} runs on a device, named there by its name or class`)]),
      ...checkSteps(job.steps, at),
      ...misfits(job, devices, at),
    ];
  });
}

function transfersElsewhere(job: Mapping, at: At): Finding[] {
  return ["put", "get"]
    .filter((option) => option in job)
    .map((option) => at(`goes with shell alone; among steps, ${option} is one of them`, option));
}

/** With `auto` among the classes nobody knows yet what the host offers: undefined. */
function offeredByHost(data: Mapping, host: unknown): string[] | undefined {
  const classes = mapping(data.host).classes ?? defaults.classes;
  if (!Array.isArray(classes) || classes.includes("auto")) return undefined;
  return [...classes, host].filter((name) => typeof name === "string");
}

/** @param offered undefined: nobody knows yet */
function nodeProblems(
  job: Mapping,
  offered: ReadonlySet<string> | undefined,
  what: "node" | "device",
  at: At,
): Finding[] {
  if (!offered) return [];
  return texts(job.nodes)
    .filter(([, node]) => !offered.has(node))
    .map(([place, node]) => {
      const hint = didYouMean(node, offered) || ` (${listed([...offered])})`;
      return at(`no ${what} has the name or class ${shown(node)}${hint}`, "nodes", place);
    });
}

function listed(offered: readonly string[]): string {
  if (offered.length === 0) return "there is none";
  const more = offered.length > mostOffered ? ", …" : "";
  return `offered: ${offered.slice(0, mostOffered).map(shown).join(", ")}${more}`;
}

/** What the job does that a device it may run on can't do; of several such devices, the first. */
function misfits(job: Mapping, devices: readonly Device[], at: At): Finding[] {
  const nodes = texts(job.nodes).map(([, node]) => node);
  const mayRun = devices.filter(({ name, classes }) =>
    [name, ...classes].some((node) => nodes.includes(node)),
  );
  const seen = new Map<string, Finding>();
  for (const device of mayRun) {
    for (const { path, message } of deviceProblem(job, device)) {
      const place = path.join(".");
      if (!seen.has(place)) seen.set(place, at(`${message} (the device ${shown(device.name)})`, ...path));
    }
  }
  return [...seen.values()];
}
