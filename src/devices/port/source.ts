/** Where a port's lines come from: a tty of this box, or a console server. */
import { stat } from "node:fs/promises";
import type { PortConfig } from "#/config/model.ts";
import type { SystemCalls } from "#/host/syscalls.ts";
import type { Discovery } from "../discovery/discovery.ts";
import { describeMatch } from "../discovery/match.ts";
import type { Line, Receive } from "./line.ts";
import { openTty } from "./tty.ts";
import { deviceNumber, isPseudoTerminal, TtyCalls } from "./tty-calls.ts";

/** A port as it is to be had at this moment. */
export interface Place {
  /** For people and for other programs: a device file, or an address. */
  readonly path: string;
  /** Names the port itself, whatever path leads to it. */
  readonly key: string;
}

export interface Source {
  /** What is said while it isn't there. */
  readonly absence: string;
  /** @returns undefined: it isn't there. @throws DeviceError PORT_AMBIGUOUS */
  find(): Promise<Place | undefined>;
  /** @throws DeviceError PORT_ABSENT, PORT_BUSY, PORT_REFUSED */
  open(place: Place, receive: Receive, signal: AbortSignal): Promise<Line>;
  /** Calls when looking again may be worth it. */
  watch(changed: () => void): Disposable;
}

export function sourceOf(config: PortConfig, discovery: Discovery, calls: SystemCalls | undefined): Source {
  const { address } = config;
  if (address.kind !== "tty") throw new TypeError("console servers aren't served yet");
  const ttyCalls = new TtyCalls(calls);
  return {
    absence: `no port here has ${describeMatch(address.match)}: plug it in, or see labgear devices --scan`,
    async find() {
      const found = await discovery.find(address.match);
      return found && { path: found.path, key: await keyOf(found.path) };
    },
    open: ({ path }, receive) => openTty({ path, config, receive, calls: ttyCalls }),
    watch: (changed) => discovery.watch(address.match, changed),
  };
}

/** A tty's device number; pseudo-terminals are numbered anew in each container that has its own. */
async function keyOf(path: string): Promise<string> {
  const { rdev, dev } = await stat(path).catch(() => ({ rdev: 0, dev: 0 }));
  const { major, minor } = deviceNumber(rdev);
  return `tty ${major}:${minor}${isPseudoTerminal(major) ? ` of ${dev}` : ""}`;
}
