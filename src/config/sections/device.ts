/** One entry of `devices`: a board on a serial port. */
import type { SchemaObject } from "ajv";
import { didYouMean, inWords, shown } from "#/lib/text.ts";
import type { At, Finding } from "../errors.ts";
import { type Kind, kinds, matching, milliseconds, pattern } from "../kinds.ts";
import { entries, type Mapping, mapping, texts } from "../merge.ts";
import type { ResolveFile } from "../named-files.ts";
import { checkLogin, type LoginConfig, type LoginDocument, loginSchema, resolveLogin } from "./login.ts";
import {
  checkPort,
  checkSharedPort,
  type PortAddress,
  type PortConfig,
  type PortDocument,
  portSchema,
  readPort,
  resolvePort,
} from "./port.ts";
import {
  checkRecover,
  type FlashDocument,
  type FlashStep,
  type RecoverDocument,
  type RecoverStep,
  recoverSchema,
  resolveFlash,
  resolveRecover,
  restoreSchema,
} from "./recover.ts";

const consoleKinds = ["linux", "u-boot", "barebox", "zephyr", "nuttx", "micropython", "raw"] as const;

/** What answers on the console. */
export type ConsoleKind = (typeof consoleKinds)[number];

interface PowerCommands {
  readonly on?: string;
  readonly off?: string;
  readonly cycle?: string;
}

const resets = ["esp32", "arduino", "dtr", "rts"] as const;

export interface DeviceConfig {
  readonly name: string;
  readonly classes: readonly string[];
  readonly port: PortConfig;
  readonly console: ConsoleKind;
  readonly login?: LoginConfig;
  /** The board's own prompt when it isn't a usual one: its text, or a pattern between slashes. */
  readonly prompt?: string;
  /** What stops the autoboot of u-boot and barebox; undefined: a space, or Ctrl-C. */
  readonly autobootKey?: string;
  /** Commands on the host. */
  readonly power: PowerCommands & { readonly timeoutMs: number };
  /** The control line that resets the board, or the usual circuit that two lines drive. */
  readonly reset?: (typeof resets)[number];
  /** One after the other, each followed by a probe, until it passes. */
  readonly recover?: readonly RecoverStep[];
  /** Flashes a known image before a build of another trust than the last one's. */
  readonly restore?: FlashStep;
  readonly health: {
    /** A command on the board's console. */
    readonly probe?: string;
    /** A pattern that the probe's output must match. */
    readonly expect?: string;
    /** A job whose success ends a quarantine. */
    readonly job?: string;
  };
  /** People and programs may have it for a while; absent: only builds. */
  readonly lease?: { readonly maxMs: number };
  /** The number of infrastructure failures in a row that quarantines it. */
  readonly quarantineAfter: number;
  /** From power or reset to the prompt. */
  readonly bootTimeoutMs: number;
  /** Nothing is typed into a boot before this much silence. */
  readonly bootSilenceMs: number;
}

/** The entry once it has passed the schema. */
export interface DeviceDocument {
  readonly classes: readonly string[];
  readonly port: PortDocument;
  readonly console: ConsoleKind;
  readonly login?: LoginDocument;
  readonly prompt?: string;
  readonly "autoboot-key"?: string;
  readonly power?: (PowerCommands & { readonly timeout?: string }) | null;
  readonly reset?: DeviceConfig["reset"];
  readonly recover?: readonly RecoverDocument[];
  readonly restore?: FlashDocument;
  readonly health?: DeviceConfig["health"] | null;
  readonly lease?: { readonly max: string };
  readonly "quarantine-after"?: number;
  readonly "boot-timeout"?: string;
  readonly "boot-silence"?: string;
}

const defaults = {
  quarantineAfter: 3,
  bootTimeout: "2m",
  powerTimeout: "30s",
  bootSilence: "15s",
};

/** Every device is compared with all others; no box has that many ports. */
export const maxDevices = 1000;

/** Consoles that know a prompt. */
const prompting: ConsoleKind[] = ["linux", "u-boot", "barebox", "zephyr", "nuttx"];
const promptText = matching(
  "the text of a prompt, or a pattern between slashes: one line that isn't blank, 100 characters at most",
  /^(?=.*\S)[^\p{C}]{1,100}$/u,
);
const prompt: Kind = {
  expected: promptText.expected,
  refuse: (text) =>
    promptText.refuse(text) ?? (/^\/.+\/$/.test(text) ? pattern.refuse(text.slice(1, -1)) : undefined),
};
const keys = matching("1 to 32 keys to type", /^.{1,32}$/s);

const power: SchemaObject = {
  type: ["object", "null"],
  description:
    "Shell commands on the host that switch the board's power: on and off, or cycle, or all three.",
  additionalProperties: false,
  dependentRequired: { on: ["off"], off: ["on"] },
  properties: {
    on: { type: "string", kind: kinds.script, description: "Switches the power on." },
    off: { type: "string", kind: kinds.script, description: "Switches the power off." },
    cycle: {
      type: "string",
      kind: kinds.script,
      description: "Switches the power off and on again. Default: off, then on.",
    },
    timeout: {
      type: "string",
      kind: kinds.duration,
      default: defaults.powerTimeout,
      description: "How long each of these commands may take.",
    },
  },
};

const health: SchemaObject = {
  type: ["object", "null"],
  description: "How the board proves that it works and is the right one.",
  additionalProperties: false,
  dependentRequired: { expect: ["probe"] },
  properties: {
    probe: {
      type: "string",
      kind: kinds.command,
      description: "A command on the board's console that must succeed before the device takes builds.",
    },
    expect: { type: "string", kind: pattern, description: "A pattern that the probe's output must match." },
    job: { type: "string", kind: kinds.jobName, description: "The job whose success ends a quarantine." },
  },
};

const lease: SchemaObject = {
  type: "object",
  description:
    "Lets people and programs have the board for a while, through the same queue as builds (labgear lease).",
  additionalProperties: false,
  required: ["max"],
  properties: {
    max: {
      type: "string",
      kind: kinds.duration,
      description: "How long one of them may have it, extensions included.",
    },
  },
};

export const deviceSchema: SchemaObject = {
  type: "object",
  additionalProperties: false,
  required: ["classes", "port", "console"],
  properties: {
    classes: {
      type: "array",
      minItems: 1,
      uniqueItems: true,
      items: { type: "string", kind: kinds.name },
      description: "The classes that clients may ask for, besides the device's own name.",
    },
    port: portSchema,
    console: {
      enum: consoleKinds,
      description:
        "What answers on the console. raw is anything else: it takes only steps, firmware and run jobs.",
    },
    login: loginSchema,
    prompt: {
      type: "string",
      kind: prompt,
      description:
        "The prompt if it isn't a usual one: its text, or a pattern between slashes. Not for micropython and raw consoles.",
    },
    "autoboot-key": {
      type: "string",
      kind: keys,
      description: "What to type to stop the autoboot of u-boot and barebox. Default: a space, or Ctrl-C.",
    },
    power,
    reset: {
      enum: resets,
      description:
        "How the port's control lines reset the board: esp32 and arduino for their usual circuits, dtr or rts for a line that holds the board in reset while it is on. When the port is opened, both lines are set so that the board runs.",
    },
    recover: recoverSchema,
    restore: restoreSchema,
    health,
    lease,
    "quarantine-after": {
      type: "integer",
      minimum: 1,
      maximum: 1000,
      default: defaults.quarantineAfter,
      description: "After this many infrastructure failures in a row the device takes no more builds.",
    },
    "boot-timeout": {
      type: "string",
      kind: kinds.duration,
      default: defaults.bootTimeout,
      description: "How long the board may take from power or reset to its prompt.",
    },
    "boot-silence": {
      type: "string",
      kind: kinds.duration,
      default: defaults.bootSilence,
      description:
        "After a restart nothing is typed on a linux console until a prompt shows or the board has been silent this long.",
    },
  },
};

/** What the checks of other options need to know of a device. */
export interface Device {
  readonly name: string;
  readonly classes: readonly string[];
  readonly options: Mapping;
  /** Undefined: the schema has refused what the files say. */
  readonly port: PortAddress | undefined;
}

/** @returns the devices of the merged files, maxDevices at most */
export function devicesOf(data: Mapping): Device[] {
  return entries(data.devices)
    .slice(0, maxDevices)
    .map(([name, options]) => ({
      name,
      classes: texts(options.classes).map(([, text]) => text),
      options,
      port: readPort(options.port),
    }));
}

/** @param hostNode the host's name as a node */
export function checkDevices(data: Mapping, hostNode: unknown, resolveFile: ResolveFile): Finding[] {
  const devices = devicesOf(data);
  return devices.flatMap((device, index) => {
    const { name, classes, options } = device;
    const at: At = (message, ...path) => ({ path: ["devices", name, ...path], message });
    return [
      ...(name === hostNode ? [at("is also the name of the host's node: choose another one")] : []),
      ...(classes.includes("auto")
        ? [at("auto is for the host only: name the board's class", "classes")]
        : []),
      ...checkPort(options, at),
      ...checkSharedPort(device, devices.slice(0, index), at),
      ...checkConsole(options, at),
      ...checkRecover(options, at),
      ...checkHealthJob(device, mapping(data.jobs), at),
      ...checkLogin(name, options, resolveFile),
    ];
  });
}

/** Options that have no effect on this kind of console. */
function checkConsole(options: Mapping, at: At): Finding[] {
  const console = consoleKinds.find((kind) => kind === options.console);
  if (!console) return [];
  const consoles: [string[], ConsoleKind[]][] = [
    [["login"], ["linux"]],
    [["prompt"], prompting],
    [["autoboot-key"], ["u-boot", "barebox"]],
    [
      ["health", "probe"],
      [...prompting, "micropython"],
    ],
  ];
  return consoles.flatMap(([path, fitting]) => {
    const value = path.reduce<unknown>((options, key) => mapping(options)[key], options);
    if (value === undefined || fitting.includes(console)) return [];
    return [at(`is for ${inWords(fitting)} consoles, and this one is ${shown(console)}`, ...path)];
  });
}

function checkHealthJob(device: Device, jobs: Mapping, at: At): Finding[] {
  const { job } = mapping(device.options.health);
  if (typeof job !== "string") return [];
  if (!Object.hasOwn(jobs, job)) {
    return [at(`there is no job ${shown(job)}${didYouMean(job, Object.keys(jobs))}`, "health", "job")];
  }
  const nodes = texts(mapping(jobs[job]).nodes).map(([, node]) => node);
  if ([device.name, ...device.classes].some((name) => nodes.includes(name))) return [];
  const message = `the job ${shown(job)} can't run on this device: add the device to the job's nodes`;
  return [at(message, "health", "job")];
}

export function resolveDevice(name: string, entry: DeviceDocument, resolveFile: ResolveFile): DeviceConfig {
  const { classes, console, login, reset } = entry;
  const key = entry["autoboot-key"];
  const { timeout, ...commands } = entry.power ?? {};
  return {
    name,
    classes,
    port: resolvePort(entry.port),
    console,
    ...(login && { login: resolveLogin(name, login, resolveFile) }),
    ...(entry.prompt !== undefined && { prompt: entry.prompt }),
    ...(key !== undefined && { autobootKey: key }),
    power: { ...commands, timeoutMs: milliseconds(timeout ?? defaults.powerTimeout) },
    ...(reset && { reset }),
    ...(entry.recover && { recover: entry.recover.map(resolveRecover) }),
    ...(entry.restore && { restore: resolveFlash(entry.restore) }),
    health: entry.health ?? {},
    ...(entry.lease && { lease: { maxMs: milliseconds(entry.lease.max) } }),
    quarantineAfter: entry["quarantine-after"] ?? defaults.quarantineAfter,
    bootTimeoutMs: milliseconds(entry["boot-timeout"] ?? defaults.bootTimeout),
    bootSilenceMs: milliseconds(entry["boot-silence"] ?? defaults.bootSilence),
  };
}
