/** The JSON schema of one device, the entries of `devices`. */
import type { SchemaObject } from "ajv";
import { defaults } from "../defaults.ts";
import type { ConsoleKind, PortConfig } from "../model.ts";

/** Each of them is compared with all others, and no box has as many ports. */
export const mostDevices = 1000;

export const consoleKinds: readonly ConsoleKind[] = ["linux", "u-boot", "micropython", "raw"];

/** A port's type once it has passed the schema: a path or an address, or what finds it and how it is spoken with. */
export type PortDocument =
  | string
  | {
      readonly path?: string;
      readonly "by-id"?: string;
      readonly usb?: string;
      readonly serial?: string;
      readonly location?: string;
      readonly interface?: number;
      readonly url?: string;
      readonly baud?: number;
      readonly flow?: PortConfig["flow"];
    };

/** The entry's type once it has passed the schema. */
export interface DeviceDocument {
  readonly classes: readonly string[];
  readonly port: PortDocument;
  readonly console: ConsoleKind;
  readonly login?: { readonly user: string; readonly "password-file"?: string };
  readonly prompt?: string;
  readonly "autoboot-key"?: string;
  readonly power?: { readonly on?: string; readonly off?: string; readonly cycle?: string } | null;
  readonly reset?: "dtr" | "rts";
  readonly health?: { readonly probe?: string; readonly expect?: string; readonly job?: string } | null;
  readonly "quarantine-after"?: number;
  readonly "boot-timeout"?: string;
}

const port: SchemaObject = {
  type: ["string", "object"],
  kind: "port",
  description:
    "The board's serial port: a path, tcp://HOST:PORT, rfc2217://HOST:PORT, or what finds it, all of which has to fit.",
  additionalProperties: false,
  properties: {
    path: { type: "string", kind: "device-file", description: "A device file, or a link to one." },
    "by-id": { type: "string", kind: "by-id", description: "A name in /dev/serial/by-id." },
    usb: { type: "string", kind: "usb", description: "The USB adapter's VENDOR:PRODUCT, hexadecimal." },
    serial: { type: "string", kind: "usb-serial", description: "The USB adapter's serial number." },
    location: {
      type: "string",
      kind: "location",
      description: "The USB adapter's place, as the system names it: 1-1.4.",
    },
    interface: {
      type: "integer",
      minimum: 0,
      maximum: 255,
      description: "Which of the USB adapter's ports, from 0, when it has several.",
    },
    url: {
      type: "string",
      kind: "port-url",
      description:
        "A console server: tcp://HOST:PORT for the bytes alone, rfc2217://HOST:PORT with speed and control lines.",
    },
    baud: {
      type: "integer",
      minimum: 50,
      maximum: 20_000_000,
      default: defaults.baud,
      description: "The line's speed, in bits per second.",
    },
    flow: {
      enum: ["none", "rtscts", "xonxoff"],
      default: defaults.flow,
      description: "How the board and the box stop one another when they can't keep up.",
    },
  },
};

const power: SchemaObject = {
  type: ["object", "null"],
  description:
    "Shell commands on the host that switch the board's power: on and off, or cycle, or all three.",
  additionalProperties: false,
  dependentRequired: { on: ["off"], off: ["on"] },
  properties: {
    on: { type: "string", kind: "script", description: "Switches it on." },
    off: { type: "string", kind: "script", description: "Switches it off." },
    cycle: {
      type: "string",
      kind: "script",
      description: "Switches it off and on again; absent: off, then on.",
    },
  },
};

const health: SchemaObject = {
  type: ["object", "null"],
  description: "How the board proves that it is there, and is what it should be.",
  additionalProperties: false,
  dependentRequired: { expect: ["probe"] },
  properties: {
    probe: {
      type: "string",
      kind: "command",
      description: "A command on the board's console, which must succeed before the device takes builds.",
    },
    expect: { type: "string", kind: "pattern", description: "A pattern that the probe's output must have." },
    job: { type: "string", kind: "job-name", description: "The job whose success ends a quarantine." },
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
      items: { type: "string", kind: "name" },
      description: "What clients may ask for as a node, beside the device's own name.",
    },
    port,
    console: {
      enum: consoleKinds,
      description: "Who answers on the console; raw: nobody known, so only steps, firmware and run jobs fit.",
    },
    login: {
      type: "object",
      description: "How to log in on a linux console; absent: it has a shell without a login.",
      additionalProperties: false,
      required: ["user"],
      properties: {
        user: { type: "string", kind: "user", description: "Who logs in." },
        "password-file": {
          type: "string",
          kind: "file",
          description:
            "The file with the password, relative to the file that names it; absent: none is asked for.",
        },
      },
    },
    prompt: {
      type: "string",
      kind: "prompt",
      description: "The prompt's text when it isn't a usual one, on linux and u-boot consoles.",
    },
    "autoboot-key": {
      type: "string",
      kind: "keys",
      description: "What to type to stop u-boot's autoboot; absent: a space.",
    },
    power,
    reset: {
      enum: ["dtr", "rts"],
      description:
        "The port's control line that resets the board. Opening the port never does, unless asked.",
    },
    health,
    "quarantine-after": {
      type: "integer",
      minimum: 1,
      maximum: 1000,
      default: defaults.quarantineAfter,
      description: "After how many infrastructure failures in a row the device takes no more builds.",
    },
    "boot-timeout": {
      type: "string",
      kind: "duration",
      default: defaults.bootTimeout,
      description: "How long the board may take from power or reset to its prompt.",
    },
  },
};
