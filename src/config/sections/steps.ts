/** A job's `steps`: what is done on the board's console, and the files that are copied to the board and back. */
import type { SchemaObject } from "ajv";
import { inWords, shown } from "#/lib/text.ts";
import type { At, Finding } from "../errors.ts";
import { checked, type Kind, kinds, matching, milliseconds, pattern } from "../kinds.ts";
import { entries, type Mapping, mapping } from "../merge.ts";
import type { Device } from "./device.ts";
import { baudSchema, cantBeSet, carriesOnlyBytes, needsControlLines } from "./port.ts";

/** A file's path at both ends: in the workspace, and on the board. */
export interface FileTransfer {
  readonly from: string;
  readonly to: string;
}

export type StepAction =
  /** Text for the console; `enter`: followed by a line end. */
  | { readonly kind: "send"; readonly text: string; readonly enter: boolean }
  /** Waits until the console's output matches; a match of `fail` fails the step at once. */
  | { readonly kind: "expect"; readonly pattern: string; readonly fail?: string; readonly timeoutMs: number }
  /** A command on the console, which must end with exit code 0. */
  | { readonly kind: "run"; readonly command: string; readonly timeoutMs: number }
  /** Waits for the console's prompt and logs in, as after a reboot. */
  | { readonly kind: "login"; readonly timeoutMs: number }
  | { readonly kind: "sleep"; readonly durationMs: number }
  | { readonly kind: "control"; readonly line: "dtr" | "rts"; readonly value: boolean }
  | { readonly kind: "break"; readonly durationMs: number }
  /** The port's speed until the build ends. */
  | { readonly kind: "baud"; readonly baud: number }
  | { readonly kind: "power"; readonly action: "on" | "off" | "cycle" }
  | { readonly kind: "reset" }
  /** A shell script on the host, in the workspace; `lend`: it has the port to itself. */
  | { readonly kind: "host"; readonly script: string; readonly lend: boolean }
  /** put: from the workspace to the board; get: back. */
  | { readonly kind: "put" | "get"; readonly from: string; readonly to: string };

export type StepConfig = StepAction & { readonly name?: string };

/** A step once it has passed the schema and the checks: one action, and the options that belong to it. */
export interface StepDocument {
  readonly name?: string;
  readonly send?: string;
  readonly enter?: boolean;
  readonly expect?: string;
  readonly fail?: string;
  readonly run?: string;
  readonly login?: true | null;
  readonly sleep?: string;
  readonly control?: Readonly<Partial<Record<"dtr" | "rts", "on" | "off" | boolean>>>;
  readonly break?: string;
  readonly baud?: number;
  readonly power?: "on" | "off" | "cycle";
  readonly reset?: true | null;
  readonly host?: string;
  readonly lend?: boolean;
  readonly put?: FileTransfer;
  readonly get?: FileTransfer;
  /** Of expect, run and login. */
  readonly timeout?: string;
}

const defaults = { expectTimeout: "30s", runTimeout: "5m", loginTimeout: "2m" };

/** The options, besides `name`, that belong to each action. */
const actions: Readonly<Record<string, readonly string[]>> = {
  send: ["enter"],
  expect: ["timeout", "fail"],
  run: ["timeout"],
  login: ["timeout"],
  sleep: [],
  control: [],
  break: [],
  baud: [],
  power: [],
  reset: [],
  host: ["lend"],
  put: [],
  get: [],
};
const actionOptions: readonly string[] = [...new Set(Object.values(actions).flat())];

const text: Kind = { expected: "text", refuse: () => undefined };
const label = matching("a name on one line, 100 characters at most", /^(?=.*\S)[^\p{C}]{1,100}$/u);
const workspaceFile: Kind = { expected: "the path of a file in the workspace", refuse: refuseWorkspaceFile };
/** A board without folders, such as a micro:bit, has plain file names. */
const boardFile = matching("the path of a file on the board", /^[^\p{Cc}]{0,1000}[^\p{Cc}/]$/u);

function refuseWorkspaceFile(path: string): string | true | undefined {
  if (path === "" || /\p{Cc}/u.test(path) || /(?:^|\/)\.?$/.test(path)) return true;
  return outsideWorkspace(path, path.split("/").includes(".."), path.startsWith("/"));
}

/** @returns the message for a path or a pattern that is absolute, or contains ".." */
export function outsideWorkspace(path: string, isUp: boolean, isAbsolute: boolean): string | undefined {
  if (isAbsolute) return `${shown(path)} must be relative to the workspace`;
  return isUp ? `${shown(path)} must stay inside the workspace: it contains ".."` : undefined;
}

/** @param direction put: from the workspace to the board; get: back */
export function transferSchema(direction: "put" | "get", description: string): SchemaObject {
  const workspace = { type: "string", kind: workspaceFile, description: "The file's path in the workspace." };
  const board = { type: "string", kind: boardFile, description: "The file's path on the board." };
  return {
    type: "object",
    description,
    additionalProperties: false,
    required: ["from", "to"],
    properties: direction === "put" ? { from: workspace, to: board } : { from: board, to: workspace },
  };
}

const line = (description: string): SchemaObject => ({ enum: ["on", "off", true, false], description });

const stepSchema: SchemaObject = {
  type: "object",
  additionalProperties: false,
  properties: {
    name: { type: "string", kind: label, description: "The step's name in the log and the progress." },
    send: { type: "string", kind: text, description: "Types text on the console." },
    enter: {
      type: "boolean",
      default: true,
      description: "Of send: whether to press enter after the text.",
    },
    expect: {
      type: "string",
      kind: pattern,
      description: "Waits until a pattern matches the console's output after the last match.",
    },
    fail: {
      type: "string",
      kind: pattern,
      description: "Of expect: a pattern that fails the step at once.",
    },
    run: {
      type: "string",
      kind: kinds.command,
      description: "Runs a command on the board, which must end with exit code 0.",
    },
    login: {
      enum: [true, null],
      description: "Waits for the console's prompt and logs in if needed, as after a reboot.",
    },
    timeout: {
      type: "string",
      kind: kinds.duration,
      description: `Of expect (default ${defaults.expectTimeout}), run (${defaults.runTimeout}) and login (${defaults.loginTimeout}).`,
    },
    sleep: { type: "string", kind: kinds.duration, description: "Waits for this long." },
    control: {
      type: "object",
      description: "Sets one of the port's control lines.",
      additionalProperties: false,
      minProperties: 1,
      maxProperties: 1,
      properties: { dtr: line("Data terminal ready."), rts: line("Request to send.") },
    },
    break: { type: "string", kind: kinds.duration, description: "Sends a break of this length." },
    baud: {
      ...baudSchema,
      description:
        "Sets the port's speed, in bits per second, until the build ends. The board has to change its own before.",
    },
    power: { enum: ["on", "off", "cycle"], description: "Switches the board's power." },
    reset: {
      enum: [true, null],
      description: "Resets the board with the control lines, as its device says.",
    },
    host: {
      type: "string",
      kind: kinds.script,
      description: "Runs a shell script on the host, in the workspace.",
    },
    lend: {
      type: "boolean",
      default: false,
      description:
        "Of host: whether the script gets the port to itself, as tools that flash through it need.",
    },
    put: transferSchema("put", "Copies a file from the workspace to the board."),
    get: transferSchema("get", "Copies a file from the board to the workspace."),
  },
};

export const stepsSchema: SchemaObject = {
  type: "array",
  minItems: 1,
  maxItems: 1000,
  items: stepSchema,
  description:
    "Steps on the board's console, one after the other until one fails. Each has one action, and a name if you like.",
};

/** @param steps of one job, as the files have them */
export function checkSteps(steps: unknown, at: At): Finding[] {
  return entries(steps).flatMap(([index, step]) =>
    stepProblems(step).map(([message, ...path]) => at(message, "steps", index, ...path)),
  );
}

function stepProblems(step: Mapping): [message: string, ...path: string[]][] {
  const keys = Object.keys(step);
  const found = keys.filter((key) => Object.hasOwn(actions, key));
  const [action, other] = found;
  if (action === undefined) {
    // An unknown key may be a misspelt action, which the schema has reported.
    const isKnown = keys.every((key) => key === "name" || actionOptions.includes(key));
    return isKnown ? [[`expected one of ${inWords(Object.keys(actions), "or")}`]] : [];
  }
  if (other !== undefined) return [[`expected one action in each step, found ${inWords(found)}`]];
  if (step.send === "" && step.enter === false) return [["types nothing: add text, or remove enter: false"]];
  return keys
    .filter((key) => actionOptions.includes(key) && !actions[action]?.includes(key))
    .map((key) => {
      const fitting = Object.keys(actions).filter((name) => actions[name]?.includes(key));
      return [`is an option of ${inWords(fitting)}, not of ${action}`, key];
    });
}

/** @returns why the device can't do the step's action; undefined: it can */
export function stepMisfit(action: string, value: unknown, device: Device): string | undefined {
  const { options, port } = device;
  switch (action) {
    case "run":
    case "login":
      return options.console === "raw" ? "a raw console has no prompt: use send and expect" : undefined;
    case "put":
    case "get":
      return transferMisfit(device);
    case "control":
    case "break":
      return port && carriesOnlyBytes(port) ? needsControlLines(port) : undefined;
    case "baud":
      return port && carriesOnlyBytes(port) ? cantBeSet(port) : undefined;
    case "reset":
      // The schema has refused any value but true and null.
      return options.reset === undefined && (value ?? true) === true
        ? "needs a device with reset: esp32, arduino, dtr or rts"
        : undefined;
    case "power":
      return powerMisfit(value, mapping(options.power));
    default:
      return undefined;
  }
}

/** @returns why files can't be copied to and from the device; undefined: they can */
export function transferMisfit({ options: { console } }: Device): string | undefined {
  return typeof console === "string" && console !== "linux"
    ? `files can be copied over linux consoles only, and this one is ${console}`
    : undefined;
}

function powerMisfit(action: unknown, power: Mapping): string | undefined {
  if (action === "on" || action === "off")
    return action in power ? undefined : `needs a device with power.${action}`;
  if (action !== "cycle") return undefined;
  return "cycle" in power || ("on" in power && "off" in power)
    ? undefined
    : "needs a device with power.cycle";
}

export function resolveStep(step: StepDocument): StepConfig {
  return { ...(step.name !== undefined && { name: step.name }), ...checked(actionOf(step), "a step") };
}

function actionOf(step: StepDocument): StepAction | undefined {
  const timeoutMs = (usual: string): number => milliseconds(step.timeout ?? usual);
  if (step.send !== undefined) return { kind: "send", text: step.send, enter: step.enter ?? true };
  if (step.expect !== undefined) {
    const fail = step.fail === undefined ? {} : { fail: step.fail };
    return { kind: "expect", pattern: step.expect, ...fail, timeoutMs: timeoutMs(defaults.expectTimeout) };
  }
  if (step.run !== undefined)
    return { kind: "run", command: step.run.trimEnd(), timeoutMs: timeoutMs(defaults.runTimeout) };
  if (step.login !== undefined) return { kind: "login", timeoutMs: timeoutMs(defaults.loginTimeout) };
  if (step.sleep !== undefined) return { kind: "sleep", durationMs: milliseconds(step.sleep) };
  if (step.break !== undefined) return { kind: "break", durationMs: milliseconds(step.break) };
  if (step.baud !== undefined) return { kind: "baud", baud: step.baud };
  if (step.control) return controlOf(step.control);
  if (step.power) return { kind: "power", action: step.power };
  if (step.reset !== undefined) return { kind: "reset" };
  if (step.host !== undefined) return { kind: "host", script: step.host, lend: step.lend ?? false };
  if (step.put) return { kind: "put", ...step.put };
  return step.get && { kind: "get", ...step.get };
}

function controlOf({ dtr, rts }: NonNullable<StepDocument["control"]>): StepAction {
  const value = dtr ?? rts;
  return {
    kind: "control",
    line: dtr === undefined ? "rts" : "dtr",
    value: value === true || value === "on",
  };
}
