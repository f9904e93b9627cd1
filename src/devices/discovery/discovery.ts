/** Finds the serial ports of this box, and calls when they may have come or gone. */
import { existsSync } from "node:fs";
import { readdir, realpath, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import type { PortMatch } from "#/config/model.ts";
import { DeviceError } from "../errors.ts";
import { FolderWatch } from "./folder-watch.ts";
import { holdersOf, listTtys, readTty, type TtyFacts } from "./sysfs.ts";

/** When to look after a change: at once and again, because udev sets a new port's permissions and links one after another. */
const lookDelaysMs = [10, 200, 1000];

export interface DiscoveryOptions {
  /** Default: /dev. */
  readonly dev?: string;
  /** Where sysfs is mounted; default: /sys. */
  readonly sys?: string;
}

/** A port that is there now. */
export interface FoundPort extends Omit<TtyFacts, "name"> {
  /** The device file itself, not a link to it: /dev/ttyUSB0. */
  readonly path: string;
  /** Its name in /dev/serial/by-id. */
  readonly byId?: string;
  /** The programs that have it open; only with `inUse`. */
  readonly inUse?: readonly string[];
}

interface Watched extends Disposable {
  readonly listeners: Set<() => void>;
}

export class Discovery implements Disposable {
  readonly #dev: string;
  readonly #sys: string;
  /** By folder. */
  readonly #watched = new Map<string, Watched>();
  /** A listing under way, shared by all callers meanwhile. */
  #listing: Promise<FoundPort[]> | undefined;

  constructor({ dev = "/dev", sys = "/sys" }: DiscoveryOptions = {}) {
    this.#dev = dev;
    this.#sys = sys;
  }

  /** All ports with hardware behind them. @param inUse also finds the programs that have them open, which takes longer */
  async list({ inUse = false } = {}): Promise<FoundPort[]> {
    this.#listing ??= this.#list().finally(() => {
      this.#listing = undefined;
    });
    const found = await this.#listing;
    if (!inUse) return found;
    return Promise.all(found.map(async (port) => ({ ...port, inUse: await holdersOf(port.path) })));
  }

  /**
   * @returns undefined if it isn't there
   * @throws DeviceError PORT_AMBIGUOUS if several match
   */
  async find(match: PortMatch): Promise<FoundPort | undefined> {
    const link = match.path ?? (match.byId && join(this.#byId, match.byId));
    if (link === undefined)
      return onlyOne(
        (await this.list()).filter((port) => matches(port, match)),
        match,
      );
    const path = await realpath(link).catch(() => undefined);
    if (path === undefined || !(await stat(path).catch(() => undefined))?.isCharacterDevice())
      return undefined;
    const { name: _, ...facts } = (await readTty(this.#sys, basename(path))) ?? { name: "" };
    const found = { path, ...facts, ...(match.byId !== undefined && { byId: match.byId }) };
    const sameLink =
      match.byId === undefined || match.path === undefined || (await this.#isLinked(match.byId, path));
    return sameLink && matches(found, match) ? found : undefined;
  }

  /** Calls after changes that may concern a match, sometimes also without one. Disposing ends that. */
  watch(match: PortMatch, changed: () => void): Disposable {
    const folders = new Set<string>();
    if (match.path !== undefined && dirname(resolve(match.path)) !== this.#dev)
      folders.add(dirname(resolve(match.path)));
    // udev links every device in `char`. /dev itself reports each write to a device too, which can be often.
    const links = join(this.#dev, "char");
    folders.add(existsSync(links) ? links : this.#dev);
    if (match.byId !== undefined) folders.add(this.#byId);
    for (const folder of folders) this.#watch(folder).listeners.add(changed);
    return {
      [Symbol.dispose]: () => {
        for (const folder of folders) this.#unwatch(folder, changed);
      },
    };
  }

  [Symbol.dispose](): void {
    for (const watched of this.#watched.values()) watched[Symbol.dispose]();
    this.#watched.clear();
  }

  get #byId(): string {
    return join(this.#dev, "serial/by-id");
  }

  #watch(folder: string): Watched {
    const known = this.#watched.get(folder);
    if (known) return known;
    const listeners = new Set<() => void>();
    const timers: NodeJS.Timeout[] = [];
    const notify = () => {
      for (const listener of listeners) listener();
    };
    const watch = new FolderWatch(folder, () => {
      for (const timer of timers.splice(0)) clearTimeout(timer);
      for (const delayMs of lookDelaysMs) timers.push(setTimeout(notify, delayMs).unref());
    });
    const watched = {
      listeners,
      [Symbol.dispose]() {
        watch[Symbol.dispose]();
        for (const timer of timers) clearTimeout(timer);
      },
    };
    this.#watched.set(folder, watched);
    return watched;
  }

  #unwatch(folder: string, listener: () => void): void {
    const watched = this.#watched.get(folder);
    watched?.listeners.delete(listener);
    if (watched?.listeners.size !== 0) return;
    watched[Symbol.dispose]();
    this.#watched.delete(folder);
  }

  async #isLinked(byId: string, path: string): Promise<boolean> {
    return (await realpath(join(this.#byId, byId)).catch(() => undefined)) === path;
  }

  async #list(): Promise<FoundPort[]> {
    const [ttys, links] = await Promise.all([listTtys(this.#sys), this.#links()]);
    const found = await Promise.all(
      ttys.map(async ({ name, ...facts }) => {
        const path = join(this.#dev, name);
        const byId = links.get(path);
        const isThere = (await stat(path).catch(() => undefined)) !== undefined;
        return isThere ? { path, ...facts, ...(byId !== undefined && { byId }) } : undefined;
      }),
    );
    return found.filter((port) => port !== undefined);
  }

  /** The names in by-id, by the device file that they link to. */
  async #links(): Promise<Map<string, string>> {
    const names = await readdir(this.#byId).catch(() => []);
    const pairs = names.map(
      async (name) => [await realpath(join(this.#byId, name)).catch(() => ""), name] as const,
    );
    return new Map(await Promise.all(pairs));
  }
}

/** Compares everything but the path and the by-id name, which find() looks up. */
function matches(port: FoundPort, match: PortMatch): boolean {
  return (["usb", "serial", "location", "interface"] as const).every(
    (key) => match[key] === undefined || match[key] === port[key],
  );
}

/** @throws DeviceError PORT_AMBIGUOUS if there are several */
function onlyOne(ports: readonly FoundPort[], match: PortMatch): FoundPort | undefined {
  if (ports.length < 2) return ports[0];
  const list = ports.slice(0, 8).map((port) => [port.path, ...differences(port)].join(" "));
  const more = ports.length > list.length ? ", …" : "";
  const message = `${ports.length} ports match ${describeMatch(match)}: ${list.join(", ")}${more}; add serial, location or interface`;
  throw new DeviceError("PORT_AMBIGUOUS", message);
}

function differences(port: FoundPort): string[] {
  return (["serial", "location", "interface"] as const).flatMap((key) =>
    port[key] === undefined ? [] : [`${key} ${port[key]}`],
  );
}

/** A match for a message: `usb 0403:6011, interface 2`. */
export function describeMatch(match: PortMatch): string {
  const names = {
    path: "path",
    byId: "by-id",
    usb: "usb",
    serial: "serial",
    location: "location",
    interface: "interface",
  };
  return Object.entries(names)
    .flatMap(([key, name]) => {
      const value = match[key as keyof PortMatch];
      return value === undefined ? [] : [`${name} ${value}`];
    })
    .join(", ");
}
