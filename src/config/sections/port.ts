/** A device's `port`: how the board's serial port is found, and the settings of the line. */
import type { SchemaObject } from "ajv";
import { formatAddress, parseAddress } from "#/lib/address.ts";
import { shown } from "#/lib/text.ts";
import type { At, Finding } from "../errors.ts";
import { checked, type Kind, matching } from "../kinds.ts";
import { isMapping, type Mapping, mapping } from "../merge.ts";

/** What a tty must be to be the device's port: every key that is given must match. */
export interface PortMatch {
  /** The path of a device file, or of a link to one. */
  readonly path?: string;
  /** A name in /dev/serial/by-id. */
  readonly byId?: string;
  /** The USB device's VENDOR:PRODUCT in lower-case hexadecimal. */
  readonly usb?: string;
  /** The USB device's serial number. */
  readonly serial?: string;
  /** The USB device's location as sysfs names it: 1-1.4. */
  readonly location?: string;
  /** The number of the USB interface, from 0: adapters with several ports have one serial number. */
  readonly interface?: number;
}

export type PortAddress =
  | { readonly kind: "tty"; readonly match: PortMatch }
  /** A console server: `rfc2217` is telnet with speed and control lines, `tcp` and `telnet` carry only the bytes. */
  | { readonly kind: "tcp" | "telnet" | "rfc2217"; readonly host: string; readonly port: number };

export interface PortConfig {
  readonly address: PortAddress;
  /** Bits per second. */
  readonly baud: number;
  readonly flow: "none" | "rtscts" | "xonxoff";
  /** Undefined: none. */
  readonly parity?: "none" | "even" | "odd";
  /** Undefined: one. */
  readonly stopBits?: 1 | 2;
}

/** The option once it has passed the schema: a path or an address, or a mapping with the details. */
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
      readonly parity?: PortConfig["parity"];
      readonly "stop-bits"?: PortConfig["stopBits"];
    };

const defaults = { baud: 115_200, flow: "none" } as const;

const consoleServer = "tcp://HOST:PORT, telnet://HOST:PORT or rfc2217://HOST:PORT";

const portText: Kind = {
  expected: `a path such as /dev/ttyUSB0, ${consoleServer}`,
  refuse: (text) => (parsePort(text) ? undefined : true),
};
const portUrl: Kind = {
  expected: consoleServer,
  refuse: (text) => ((parsePort(text)?.kind ?? "tty") === "tty" ? true : undefined),
};
const deviceFile: Kind = {
  expected: "the path of a device file or of a link to one, such as /dev/ttyUSB0",
  refuse: (text) => (isDevicePath(text) ? undefined : true),
};
const byId = matching(
  "the name of a link in /dev/serial/by-id, without the folder",
  /^(?!\.)[^\p{C}/]{1,255}$/u,
);
const usb = matching("VENDOR:PRODUCT in hexadecimal, such as 0403:6001", /^[0-9A-Fa-f]{4}:[0-9A-Fa-f]{4}$/);
const usbSerial = matching("the serial number of a USB adapter", /^[^\p{C}]{1,255}$/u);
const location = matching(
  "the location of a USB adapter, such as 1-1.4",
  /^\d{1,3}-\d{1,3}(?:\.\d{1,3}){0,6}$/,
);

export const baudSchema: SchemaObject = { type: "integer", minimum: 50, maximum: 20_000_000 };

export const portSchema: SchemaObject = {
  type: ["string", "object"],
  kind: portText,
  description:
    "The board's serial port: a path, tcp://HOST:PORT, telnet://HOST:PORT, rfc2217://HOST:PORT, or a mapping of what must match.",
  additionalProperties: false,
  properties: {
    path: {
      type: "string",
      kind: deviceFile,
      description: "The path of a device file, or of a link to one.",
    },
    "by-id": { type: "string", kind: byId, description: "The name of a link in /dev/serial/by-id." },
    usb: { type: "string", kind: usb, description: "The USB adapter's VENDOR:PRODUCT in hexadecimal." },
    serial: { type: "string", kind: usbSerial, description: "The USB adapter's serial number." },
    location: {
      type: "string",
      kind: location,
      description: "Where the USB adapter is plugged in, as the kernel names it: 1-1.4.",
    },
    interface: {
      type: "integer",
      minimum: 0,
      maximum: 255,
      description: "Which port of a USB adapter with several ports, counted from 0.",
    },
    url: {
      type: "string",
      kind: portUrl,
      description:
        "A console server: rfc2217://HOST:PORT with speed and control lines, or tcp://HOST:PORT or telnet://HOST:PORT for the bytes only.",
    },
    baud: { ...baudSchema, default: defaults.baud, description: "The speed in bits per second." },
    flow: {
      enum: ["none", "rtscts", "xonxoff"],
      default: defaults.flow,
      description: "The flow control.",
    },
    parity: {
      enum: ["none", "even", "odd"],
      default: "none",
      description: "The parity bit of each character.",
    },
    "stop-bits": {
      enum: [1, 2],
      default: 1,
      description: "The stop bits of each character.",
    },
  },
};

/** @returns the address in a `port` that the schema may have refused; undefined where it has none */
export function readPort(port: unknown): PortAddress | undefined {
  if (typeof port === "string") return parsePort(port);
  const usable = Object.entries(mapping(port)).filter(
    ([key, value]) => typeof value === (key === "interface" ? "number" : "string"),
  );
  return portAddress(Object.fromEntries(usable) as PortDocument);
}

/** Checks the port of one device, and what other options of the device need of it. */
export function checkPort(options: Mapping, at: At): Finding[] {
  const given = mapping(options.port);
  const findings: Finding[] = [];
  const matchers = ["path", "by-id", "usb", "serial", "location", "interface"].filter((key) => key in given);
  if ("url" in given && matchers[0] !== undefined) {
    findings.push(
      at("can't be combined with url: the port of a console server is not a tty here", "port", matchers[0]),
    );
  } else if (isMapping(options.port) && !("url" in given) && !matchers.some((key) => key !== "interface")) {
    findings.push(at("expected at least one of path, by-id, usb, serial, location or url", "port"));
  }
  const port = readPort(options.port);
  if (!port || !carriesOnlyBytes(port)) return findings;
  if (options.reset !== undefined) findings.push(at(needsControlLines(port), "reset"));
  for (const key of ["flow", "parity", "stop-bits"])
    if (key in given) findings.push(at(cantBeSet(port), "port", key));
  return findings;
}

/** @returns whether the port has no control lines, break and speed */
export function carriesOnlyBytes({ kind }: PortAddress): boolean {
  return kind === "tcp" || kind === "telnet";
}

export function needsControlLines({ kind }: PortAddress): string {
  return `needs the port's control lines, and ${kind}:// carries only bytes: use rfc2217://`;
}

export function cantBeSet({ kind }: PortAddress): string {
  return `can't be set over ${kind}://, which carries only bytes: use rfc2217://`;
}

interface PortOwner {
  readonly name: string;
  readonly port: PortAddress | undefined;
}

/** No two devices may ever find the same port, whatever is plugged in. */
export function checkSharedPort({ port }: PortOwner, earlier: readonly PortOwner[], at: At): Finding[] {
  if (!port) return [];
  for (const other of earlier) {
    if (!other.port) continue;
    const [wider, narrower] = covers(port, other.port) ? [port, other.port] : [other.port, port];
    if (!covers(wider, narrower)) continue;
    const message = covers(narrower, wider)
      ? `is also the port of the device ${shown(other.name)}: ${describePort(port)}`
      : `may also be the port of the device ${shown(other.name)}: whatever matches ${describePort(narrower)} also matches ${describePort(wider)}`;
    return [at(message, "port")];
  }
  return [];
}

/**
 * @returns whether every port that matches the second address also matches the first: the same console server whatever its
 *   protocol, or a tty by fewer of the same keys
 */
function covers(first: PortAddress, second: PortAddress): boolean {
  if (first.kind !== "tty" || second.kind !== "tty") {
    if (first.kind === "tty" || second.kind === "tty") return false;
    return formatAddress(first).toLowerCase() === formatAddress(second).toLowerCase();
  }
  const keys = comparable(second.match);
  return Object.entries(comparable(first.match)).every(
    ([key, value]) => keys[key as keyof PortMatch] === value,
  );
}

const byIdFolder = "/dev/serial/by-id/";

/** A path in the by-id folder counts as a by-id. */
function comparable(match: PortMatch): PortMatch {
  const { path, ...others } = match;
  if (!path?.startsWith(byIdFolder)) return match;
  const name = path.slice(byIdFolder.length);
  return match.byId === undefined || match.byId === name ? { ...others, byId: name } : match;
}

function describePort(port: PortAddress): string {
  if (port.kind !== "tty") return `${port.kind}://${formatAddress(port)}`;
  return Object.entries(port.match)
    .map(([key, value]) => (key === "path" ? String(value) : `${key === "byId" ? "by-id" : key} ${value}`))
    .join(", ");
}

export function resolvePort(port: PortDocument): PortConfig {
  const { baud, flow, parity, "stop-bits": stopBits } = typeof port === "string" ? {} : port;
  return {
    address: checked(portAddress(port), port),
    baud: baud ?? defaults.baud,
    flow: flow ?? defaults.flow,
    ...(parity && { parity }),
    ...(stopBits && { stopBits }),
  };
}

function portAddress(port: PortDocument): PortAddress | undefined {
  if (typeof port === "string") return parsePort(port);
  if (port.url !== undefined) return parsePort(port.url);
  const { path, "by-id": link, usb: ids, serial, location: place, interface: number } = port;
  const match: PortMatch = {
    ...(path !== undefined && { path }),
    ...(link !== undefined && { byId: link }),
    ...(ids !== undefined && { usb: ids.toLowerCase() }),
    ...(serial !== undefined && { serial }),
    ...(place !== undefined && { location: place }),
    ...(number !== undefined && { interface: number }),
  };
  return Object.keys(match).some((key) => key !== "interface") ? { kind: "tty", match } : undefined;
}

/** @param text the absolute path of a device file, or the address of a console server */
function parsePort(text: string): PortAddress | undefined {
  const [, kind, rest = ""] = /^(tcp|telnet|rfc2217):\/\/(.*?)\/?$/.exec(text) ?? [];
  if (kind === "tcp" || kind === "telnet" || kind === "rfc2217") {
    const address = parseAddress(rest);
    return address && address.port > 0 ? { kind, ...address } : undefined;
  }
  return isDevicePath(text) ? { kind: "tty", match: { path: text } } : undefined;
}

/** An absolute path without "." and "..", so that two can be compared. It may be outside /dev, where labs keep links. */
function isDevicePath(text: string): boolean {
  return /^(?:\/(?!\.{0,2}(?:\/|$))[^\p{C}/]+)+$/u.test(text);
}
