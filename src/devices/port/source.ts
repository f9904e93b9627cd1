/** Where a port is: a tty of this box, or a console server. */
import { stat } from "node:fs/promises";
import type { PortAddress, PortConfig, PortMatch } from "#/config/model.ts";
import type { SystemCalls } from "#/host/syscalls.ts";
import { formatAddress } from "#/lib/address.ts";
import { type Discovery, describeMatch } from "../discovery/discovery.ts";
import type { Line, Receive } from "./line.ts";
import { openRfc2217 } from "./rfc2217.ts";
import { openTcp } from "./tcp.ts";
import { openTelnet } from "./telnet-line.ts";
import { openTty } from "./tty.ts";
import { deviceNumber, isPseudoTerminal, TtyIoctl } from "./tty-ioctl.ts";

/** Where a port is at this moment. */
export interface Place {
  /** For people: a device file, or an address. */
  readonly path: string;
  /** For other programs: a device file, or an address that pySerial understands. */
  readonly url: string;
  /** Names the port itself, whatever path leads to it. */
  readonly key: string;
}

export interface Source {
  /** The reason that is shown while it isn't there. */
  readonly absence: string;
  /** @returns undefined if it isn't there. @throws DeviceError PORT_AMBIGUOUS */
  find(): Promise<Place | undefined>;
  /** @throws DeviceError PORT_ABSENT, PORT_BUSY, PORT_REFUSED */
  open(place: Place, receive: Receive, signal: AbortSignal): Promise<Line>;
  /** Calls when find() may have another answer. */
  watch(changed: () => void): Disposable;
}

export function sourceOf(config: PortConfig, discovery: Discovery, calls: SystemCalls | undefined): Source {
  const { address } = config;
  if (address.kind !== "tty") return serverSource(config, address);
  return ttySource(config, address.match, discovery, new TtyIoctl(calls));
}

function ttySource(config: PortConfig, match: PortMatch, discovery: Discovery, calls: TtyIoctl): Source {
  return {
    absence: `no port here has ${describeMatch(match)}: plug it in, or see labgear devices --scan`,
    async find() {
      const path = (await discovery.find(match))?.path;
      return path === undefined ? undefined : { path, url: path, key: await keyOf(path) };
    },
    open: ({ path }, receive) => openTty({ path, config, receive, calls }),
    watch: (changed) => discovery.watch(match, changed),
  };
}

/** A tty's device number, and for a pseudo-terminal its file system, because each container numbers its own. */
async function keyOf(path: string): Promise<string> {
  const { rdev, dev } = await stat(path).catch(() => ({ rdev: 0, dev: 0 }));
  const { major, minor } = deviceNumber(rdev);
  return `tty ${major}:${minor}${isPseudoTerminal(major) ? ` of ${dev}` : ""}`;
}

type ServerAddress = Exclude<PortAddress, { kind: "tty" }>;

/** The address of a console server as pySerial takes it, which has no plain telnet. */
export function serverUrl(address: ServerAddress): string {
  const scheme = address.kind === "tcp" ? "socket" : address.kind;
  return `${scheme}://${formatAddress(address)}`;
}

function serverSource(config: PortConfig, address: ServerAddress): Source {
  const name = formatAddress(address);
  const path = `${address.kind}://${name}`;
  return {
    absence: `${path} wasn't tried yet`,
    find: () => Promise.resolve({ path, url: serverUrl(address), key: `server ${name}` }),
    open: (_, receive, signal) => openServer(config, address, receive, signal),
    // Nothing signals that a server is back: the connection retries.
    watch: () => ({ [Symbol.dispose]() {} }),
  };
}

function openServer(config: PortConfig, address: ServerAddress, receive: Receive, signal: AbortSignal) {
  switch (address.kind) {
    case "tcp":
      return openTcp(address, receive, signal);
    case "telnet":
      return openTelnet(address, receive, signal);
    case "rfc2217":
      return openRfc2217(address, config, receive, signal);
  }
}
