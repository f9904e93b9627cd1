/** What the agent itself remembers over restarts: build numbers, paused nodes and the health of devices, in STATE/state.json. */
import {
  accessSync,
  closeSync,
  constants,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import Conf from "conf";
import { StoreError } from "#/config/errors.ts";
import { quickAjv } from "#/config/quick-ajv.ts";

export interface StateStore {
  /** What was mended on opening, one line each. */
  readonly warnings: readonly string[];
  /**
   * The number of the job's next build, counted from 1; on the disk before it is returned, so never given out twice.
   * @param floor the highest number that the job's builds on disk have: the new one is above it, whatever the store knows
   * @throws StoreError
   */
  readonly nextBuildNumber: (job: string, floor?: number) => number;
  /** Nodes that take no builds, each with the reason. */
  readonly pausedNodes: () => ReadonlyMap<string, string>;
  /** @param reason undefined: the node takes builds again @throws StoreError */
  readonly setPaused: (node: string, reason: string | undefined) => void;
  /** Of devices that aren't as healthy as can be. */
  readonly deviceHealth: () => ReadonlyMap<string, DeviceHealth>;
  /** @throws StoreError */
  readonly setDeviceHealth: (device: string, health: DeviceHealth) => void;
}

export interface DeviceHealth {
  /** Infrastructure failures in a row. */
  readonly failures: number;
  /** Why it is quarantined; absent: it isn't. */
  readonly quarantine?: string;
}

export interface StoreOptions {
  /** For the name of a damaged file. */
  readonly now?: () => Date;
}

type State = Readonly<{
  numbers: Readonly<Record<string, number>>;
  paused: Readonly<Record<string, string>>;
  devices: Readonly<Record<string, DeviceHealth>>;
}>;

/** The same in memory. */
interface Memory {
  readonly numbers: ReadonlyMap<string, number>;
  readonly paused: ReadonlyMap<string, string>;
  readonly devices: ReadonlyMap<string, DeviceHealth>;
}

const schema = {
  numbers: {
    type: "object",
    additionalProperties: { type: "integer", minimum: 0, maximum: Number.MAX_SAFE_INTEGER - 1 },
  },
  paused: { type: "object", additionalProperties: { type: "string" } },
  devices: {
    type: "object",
    additionalProperties: {
      type: "object",
      required: ["failures"],
      additionalProperties: false,
      properties: {
        failures: { type: "integer", minimum: 0, maximum: Number.MAX_SAFE_INTEGER },
        quarantine: { type: "string" },
      },
    },
  },
} as const;

/**
 * Opens the store, for one process at a time; makes the directory where it is missing. A file that is no store is set aside
 * beside it, and a warning says so: the numbers then go on above those of the builds on disk.
 * @throws StoreError UNREADABLE or UNWRITABLE
 */
export function openStore(stateDir: string, { now = () => new Date() }: StoreOptions = {}): StateStore {
  const file = join(stateDir, "state.json");
  const warnings: string[] = [];
  const conf = openOrSetAside(stateDir, file, now, warnings);
  removeHalfWritten(file);
  const { numbers = {}, paused = {}, devices = {} } = conf.store;
  // Memory leads, so that a file taken away or damaged while we run is written anew and no number comes twice.
  let memory: Memory = {
    numbers: new Map(Object.entries(numbers)),
    paused: new Map(Object.entries(paused)),
    devices: new Map(Object.entries(devices)),
  };
  const change = (changed: Partial<Memory>): void => {
    const next = { ...memory, ...changed };
    write(conf, file, next);
    memory = next;
  };

  return {
    warnings,
    nextBuildNumber: (job, floor = 0) => {
      const next = 1 + Math.max(memory.numbers.get(job) ?? 0, floor);
      change({ numbers: new Map(memory.numbers).set(job, next) });
      return next;
    },
    pausedNodes: () => memory.paused,
    setPaused: (node, reason) => change({ paused: changedMap(memory.paused, node, reason) }),
    deviceHealth: () => memory.devices,
    setDeviceHealth: (device, health) => {
      const isWell = health.failures === 0 && health.quarantine === undefined;
      change({ devices: changedMap(memory.devices, device, isWell ? undefined : health) });
    },
  };
}

function changedMap<V>(map: ReadonlyMap<string, V>, key: string, value: V | undefined): Map<string, V> {
  const changed = new Map(map);
  if (value === undefined) changed.delete(key);
  else changed.set(key, value);
  return changed;
}

/** A crash may leave what conf had begun to write: `state.json.tmp-…`. */
function removeHalfWritten(file: string): void {
  const start = `${basename(file)}.tmp-`;
  for (const name of readdirSync(dirname(file))) {
    if (name.startsWith(start)) rmSync(join(dirname(file), name), { force: true });
  }
}

function openOrSetAside(stateDir: string, file: string, now: () => Date, warnings: string[]): Conf<State> {
  const open = (): Conf<State> =>
    new Conf<State>({
      cwd: stateDir,
      configName: "state",
      accessPropertiesByDotNotation: false,
      configFileMode: 0o600,
      schema,
      rootSchema: { additionalProperties: false },
      ajvOptions: quickAjv,
    });
  try {
    mkdirSync(stateDir, { recursive: true });
    accessSync(stateDir, constants.W_OK | constants.X_OK);
  } catch (error) {
    throw storeError(stateDir, error, "UNWRITABLE");
  }
  try {
    return open();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).syscall !== undefined) throw storeError(file, error, "UNREADABLE");
    const aside = `${file}.damaged-${now().toISOString().replaceAll(/[-:]/g, "")}`;
    try {
      renameSync(file, aside);
    } catch (cause) {
      throw storeError(file, cause, "UNWRITABLE");
    }
    const reason = (error as Error).message.split("\n")[0];
    warnings.push(
      `${file} was damaged (${reason}): set aside as ${aside}; build numbers go on above the builds on disk`,
    );
    return open();
  }
}

/**
 * Writes the whole store: conf has it written to a file beside, synced, and renamed over the old one, and we sync
 * the rename. A file-size limit or a full disk can cut the write short without an error there, so its length is compared.
 */
function write(conf: Conf<State>, file: string, { numbers, paused, devices }: Memory): void {
  // fromEntries makes own properties of all names, __proto__ too.
  const state: State = {
    numbers: Object.fromEntries(numbers),
    paused: Object.fromEntries(paused),
    devices: Object.fromEntries(devices),
  };
  const length = Buffer.byteLength(JSON.stringify(state, undefined, "\t"));
  let written: number;
  try {
    conf.store = state;
    syncDirectory(dirname(file));
    written = statSync(file).size;
  } catch (error) {
    throw storeError(file, error, "UNWRITABLE");
  }
  if (written < length) throw new StoreError("FULL", `${file} was cut short: make room on its disk`);
}

function syncDirectory(directory: string): void {
  const descriptor = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function storeError(path: string, cause: unknown, code: "UNWRITABLE" | "UNREADABLE"): StoreError {
  const found = (cause as NodeJS.ErrnoException).code;
  if (found === "ENOSPC" || found === "EDQUOT" || found === "EFBIG") {
    return new StoreError("FULL", `${path} can't be written (${found}): make room on its disk`, { cause });
  }
  const verb = code === "UNWRITABLE" ? "written" : "read";
  const message = `${path} can't be ${verb} (${found ?? (cause as Error).message}): check its owner and mode, or choose another with --state-dir`;
  return new StoreError(code, message, { cause });
}
