/** What the schema can't say of devices. Reads data that the schema may have refused. */

import { didYouMean, inWords, shown } from "#/lib/text.ts";
import type { Finding } from "../explain.ts";
import { isMapping } from "../merge.ts";
import type { ConsoleKind, PortAddress } from "../model.ts";
import type { Path } from "../source.ts";
import { entries, mapping, texts } from "../unchecked.ts";
import { consoleKinds, mostDevices, type PortDocument } from "./device.ts";
import { covers, describePort } from "./port-address.ts";
import { portAddress } from "./resolve-device.ts";

/** What other options of the configuration need to know of a device. */
export interface Device {
  readonly name: string;
  readonly classes: readonly string[];
  readonly options: Readonly<Record<string, unknown>>;
  /** Undefined where the files don't say it, or not well. */
  readonly port: PortAddress | undefined;
}

/** @returns the devices of the merged files, as many as there may be */
export function devicesOf(data: Readonly<Record<string, unknown>>): Device[] {
  return entries(data.devices)
    .slice(0, mostDevices)
    .map(([name, options]) => ({
      name,
      classes: texts(options.classes).map(([, text]) => text),
      options,
      port: portOf(options.port),
    }));
}

function portOf(port: unknown): PortAddress | undefined {
  if (typeof port === "string") return portAddress(port);
  const usable = Object.entries(mapping(port)).filter(
    ([key, value]) => typeof value === (key === "interface" ? "number" : "string"),
  );
  return portAddress(Object.fromEntries(usable) as PortDocument);
}

/** @param host the host's name as a node */
export function checkDevices(data: Readonly<Record<string, unknown>>, host: unknown): Finding[] {
  const devices = devicesOf(data);
  return devices.flatMap((device, index) => {
    const at = (message: string, ...path: string[]): Finding => ({
      path: ["devices", device.name, ...path],
      message,
    });
    return [
      ...(device.name === host ? [at("is the host's own name as a node: give the device another")] : []),
      ...(device.classes.includes("auto")
        ? [at("auto is for the host alone: name the board's class", "classes")]
        : []),
      ...portProblems(device, at),
      ...sharedPort(device, devices.slice(0, index), at),
      ...consoleProblems(device, at),
      ...healthJobProblem(device, mapping(data.jobs), at),
    ];
  });
}

type At = (message: string, ...path: string[]) => Finding;

function portProblems({ options, port }: Device, at: At): Finding[] {
  const given = mapping(options.port);
  const findings: Finding[] = [];
  const finders = ["path", "by-id", "usb", "serial", "location", "interface"].filter((key) => key in given);
  if ("url" in given && finders[0] !== undefined) {
    findings.push(
      at("does not go with url: a console server's port is no tty of this box", "port", finders[0]),
    );
  } else if (isMapping(options.port) && !("url" in given) && !finders.some((key) => key !== "interface")) {
    findings.push(at("needs what finds it: path, by-id, usb, serial, location or url", "port"));
  }
  if (port?.kind === "tcp") {
    const why = "tcp:// carries the bytes alone: use rfc2217://, which has speed and control lines";
    if (options.reset !== undefined) findings.push(at(`can't be done: ${why}`, "reset"));
    if (given.flow !== undefined) findings.push(at(`can't be set: ${why}`, "port", "flow"));
  }
  return findings;
}

/** Two devices must never meet at one port, whatever is plugged in. */
function sharedPort({ port }: Device, earlier: readonly Device[], at: At): Finding[] {
  if (!port) return [];
  for (const other of earlier) {
    if (!other.port) continue;
    const [wider, narrower] = covers(port, other.port) ? [port, other.port] : [other.port, port];
    if (!covers(wider, narrower)) continue;
    const isSame = covers(narrower, wider);
    const message = isSame
      ? `is the port of the device ${shown(other.name)} too: ${describePort(port)}`
      : `may be the port of the device ${shown(other.name)} too: what fits ${describePort(narrower)} fits ${describePort(wider)} as well`;
    return [at(message, "port")];
  }
  return [];
}

/** Options of one kind of console that another one would leave unread. */
function consoleProblems({ options }: Device, at: At): Finding[] {
  const console = consoleKinds.find((kind) => kind === options.console);
  if (!console) return [];
  const consoles: [string[], ConsoleKind[]][] = [
    [["login"], ["linux"]],
    [["prompt"], ["linux", "u-boot"]],
    [["autoboot-key"], ["u-boot"]],
    [
      ["health", "probe"],
      ["linux", "u-boot", "micropython"],
    ],
  ];
  return consoles.flatMap(([path, fitting]) => {
    const value = path.reduce<unknown>((options, key) => mapping(options)[key], options);
    if (value === undefined || fitting.includes(console)) return [];
    return [at(`is for ${inWords(fitting)} consoles, and this one is ${shown(console)}`, ...path)];
  });
}

function healthJobProblem(device: Device, jobs: Readonly<Record<string, unknown>>, at: At): Finding[] {
  const { job } = mapping(device.options.health);
  if (typeof job !== "string") return [];
  const path: Path = ["health", "job"];
  if (!Object.hasOwn(jobs, job)) {
    return [at(`there is no job ${shown(job)}${didYouMean(job, Object.keys(jobs))}`, ...path)];
  }
  const nodes = texts(mapping(jobs[job]).nodes).map(([, node]) => node);
  if ([device.name, ...device.classes].some((name) => nodes.includes(name))) return [];
  return [at(`the job ${shown(job)} may not run on this device: add it to the job's nodes`, ...path)];
}
