/** The JSON schema of a job's `steps`, and of the files that go to the board and come back. */
import type { SchemaObject } from "ajv";
import { defaults } from "../defaults.ts";

export interface TransferDocument {
  readonly from: string;
  readonly to: string;
}

/** A step's type once it has passed the schema and the semantic checks: one verb, and what goes with it. */
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
  readonly power?: "on" | "off" | "cycle";
  readonly reset?: true | null;
  readonly host?: string;
  readonly put?: TransferDocument;
  readonly get?: TransferDocument;
  /** Of expect, run and login. */
  readonly timeout?: string;
}

/** Which options, beside `name`, go with each verb. */
export const stepVerbs: Readonly<Record<string, readonly string[]>> = {
  send: ["enter"],
  expect: ["timeout", "fail"],
  run: ["timeout"],
  login: ["timeout"],
  sleep: [],
  control: [],
  break: [],
  power: [],
  reset: [],
  host: [],
  put: [],
  get: [],
};

/** Those of all verbs. */
export const stepOptions: readonly string[] = [...new Set(Object.values(stepVerbs).flat())];

/** @param direction put: from the workspace to the board; get: back */
export function transferSchema(direction: "put" | "get", description: string): SchemaObject {
  const workspace = {
    type: "string",
    kind: "workspace-file",
    description: "A file's path in the workspace.",
  };
  const board = { type: "string", kind: "board-file", description: "A file's path on the board." };
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
    name: { type: "string", kind: "label", description: "What the log and the progress call it." },
    send: { type: "string", kind: "text", description: "Types a text on the console." },
    enter: {
      type: "boolean",
      default: true,
      description: "Of send: whether the enter key follows the text.",
    },
    expect: {
      type: "string",
      kind: "pattern",
      description: "Waits until the console's output, since the last step that took some, matches a pattern.",
    },
    fail: {
      type: "string",
      kind: "pattern",
      description: "Of expect: a pattern that fails the step at once.",
    },
    run: {
      type: "string",
      kind: "command",
      description: "Runs a command on the board, which must end with exit code 0.",
    },
    login: { enum: [true, null], description: "Gets to the console's prompt again, as after a reboot." },
    timeout: {
      type: "string",
      kind: "duration",
      description: `Of expect (default: ${defaults.expectTimeout}), run (${defaults.runTimeout}) and login (${defaults.loginTimeout}).`,
    },
    sleep: { type: "string", kind: "duration", description: "Waits." },
    control: {
      type: "object",
      description: "Sets one of the port's control lines.",
      additionalProperties: false,
      minProperties: 1,
      maxProperties: 1,
      properties: { dtr: line("Data terminal ready."), rts: line("Request to send.") },
    },
    break: { type: "string", kind: "duration", description: "Sends a break of that length." },
    power: { enum: ["on", "off", "cycle"], description: "Switches the board's power." },
    reset: { enum: [true, null], description: "Resets the board by the control line that its device names." },
    host: {
      type: "string",
      kind: "script",
      description: "Runs a shell script on the host, in the workspace.",
    },
    put: transferSchema("put", "Takes a file of the workspace to the board."),
    get: transferSchema("get", "Takes a file of the board to the workspace."),
  },
};

export const stepsSchema: SchemaObject = {
  type: "array",
  minItems: 1,
  maxItems: 1000,
  items: stepSchema,
  description:
    "What is done on the board's console, step by step, until one fails. Each has one verb, and a name if you like.",
};
