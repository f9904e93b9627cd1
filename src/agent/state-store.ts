/** What the agent remembers across restarts, in STATE/state.json: build numbers, paused nodes and the health of devices. */
import { constants, mkdirSync, renameSync, statSync } from "node:fs";
import { access, mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { readThroughConf } from "#/config/conf.ts";
import { isMapping } from "#/config/merge.ts";
import { boxFailure } from "#/host/health.ts";
import { CodedError } from "#/lib/errors.ts";
import { removeHalfWritten, replaceFileSync } from "#/lib/replace-file.ts";
import { printable } from "#/lib/text.ts";

export type StoreErrorCode =
  /** The disk, or the quota, is full. */
  | "FULL"
  /** The folder or the file can't be written. */
  | "UNWRITABLE"
  /** The file can't be read. */
  | "UNREADABLE";

/** @internal */
export class StoreError extends CodedError<StoreErrorCode> {
  override readonly name = "StoreError";
}

export interface StateStore {
  /** What was repaired on opening, one line each. */
  readonly warnings: readonly string[];
  /**
   * The number of the job's next build, from 1. It is on the disk before it is returned, so it is never given out twice; while
   * the file can't be written, memory and the build's own folder keep it. While a job's builds come fast, some are reserved at
   * once: a crash then leaves a gap.
   * @param floor the highest number among the job's builds on disk: the new one is above it
   * @throws StoreError FULL
   */
  readonly nextBuildNumber: (job: string, floor?: number) => number;
  /** Writes what couldn't be written before, if anything. @throws StoreError */
  readonly saveRest: () => void;
  /** Gives back the numbers that are reserved; call it after the last build. Never throws: what can't be written leaves a gap. */
  readonly settle: () => void;
  /** The nodes that take no builds, each with the reason. */
  readonly pausedNodes: () => ReadonlyMap<string, string>;
  /** @param reason undefined: the node takes builds again @throws StoreError */
  readonly setPaused: (node: string, reason: string | undefined) => void;
  /** Only devices with failures, in quarantine, or with what a build has left on the board. */
  readonly deviceHealth: () => ReadonlyMap<string, DeviceHealth>;
  /** @throws StoreError */
  readonly setDeviceHealth: (device: string, health: DeviceHealth) => void;
}

export interface DeviceHealth {
  /** Infrastructure failures in a row. */
  readonly failures: number;
  /** Why the device is quarantined; absent: it isn't. */
  readonly quarantine?: string;
  /** Whose job ran on its board last; absent: the board has its known image, or none. */
  readonly trust?: "changes" | "lab";
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

/** The last number that a job's build got. */
interface Given {
  readonly number: number;
  /** By performance.now(). */
  readonly at: number;
  /** How many came fast, one after the other. */
  readonly inRush: number;
}

/** Builds that come sooner after one another are a rush, after so many of them. */
const rushMs = 250;
const minRush = 8;
const reservedAtOnce = 32;

/** State with maps, whose keys can be any name. */
interface Memory {
  readonly numbers: ReadonlyMap<string, number>;
  readonly paused: ReadonlyMap<string, string>;
  readonly devices: ReadonlyMap<string, DeviceHealth>;
}

const schema = {
  type: "object",
  additionalProperties: false,
  properties: {
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
          trust: { enum: ["changes", "lab"] },
        },
      },
    },
  },
} as const;

/**
 * Opens the store, for one process at a time, and makes its folder if it is missing. What is no store, or can't be read, is set
 * aside with a warning: build numbers then continue above those of the builds on disk.
 * @throws StoreError UNREADABLE when the disk can't be read, or UNWRITABLE
 */
export async function openStore(
  stateDir: string,
  { now = () => new Date() }: StoreOptions = {},
): Promise<StateStore> {
  const file = join(stateDir, "state.json");
  try {
    await mkdir(stateDir, { recursive: true });
    await access(stateDir, constants.W_OK | constants.X_OK);
    removeHalfWritten(file);
  } catch (error) {
    throw storeError(stateDir, error, "UNWRITABLE");
  }
  const warnings: string[] = [];
  const { numbers = {}, paused = {}, devices = {} } = readOrSetAside(file, now, warnings);
  // Memory leads: a file that is removed or damaged while the agent runs is written anew, and no number is given out twice.
  let memory: Memory = {
    numbers: new Map(Object.entries(numbers)),
    paused: new Map(Object.entries(paused)),
    devices: new Map(Object.entries(devices)),
  };
  let isSaved = true;
  const change = (changed: Partial<Memory>): void => {
    const next = { ...memory, ...changed };
    write(file, next);
    memory = next;
    isSaved = true;
  };

  const given = new Map<string, Given>();

  return {
    warnings,
    nextBuildNumber: (job, floor = 0) => {
      const last = given.get(job);
      const saved = memory.numbers.get(job) ?? 0;
      const next = 1 + Math.max(last?.number ?? saved, floor);
      const at = performance.now();
      const inRush = last && at - last.at < rushMs ? last.inRush + 1 : 0;
      const reserved = next + (inRush < minRush ? 0 : reservedAtOnce - 1);
      try {
        if (next > saved) change({ numbers: new Map(memory.numbers).set(job, reserved) });
      } catch (error) {
        if (!(error instanceof StoreError) || error.code === "FULL") throw error;
        memory = { ...memory, numbers: new Map(memory.numbers).set(job, next) };
        isSaved = false;
      }
      given.set(job, { number: next, at, inRush });
      return next;
    },
    saveRest: () => {
      if (!isSaved) change({});
    },
    settle: () => {
      const numbers = new Map(memory.numbers);
      for (const [job, { number }] of given) numbers.set(job, number);
      if ([...given].every(([job, { number }]) => memory.numbers.get(job) === number)) return;
      try {
        change({ numbers });
      } catch (error) {
        if (!(error instanceof StoreError)) throw error;
      }
    },
    pausedNodes: () => memory.paused,
    setPaused: (node, reason) => change({ paused: changedMap(memory.paused, node, reason) }),
    deviceHealth: () => memory.devices,
    setDeviceHealth: (device, health) => {
      const { failures, quarantine, trust } = health;
      const isUsual = failures === 0 && quarantine === undefined && trust === undefined;
      change({ devices: changedMap(memory.devices, device, isUsual ? undefined : health) });
    },
  };
}

function changedMap<V>(map: ReadonlyMap<string, V>, key: string, value: V | undefined): Map<string, V> {
  const changed = new Map(map);
  if (value === undefined) changed.delete(key);
  else changed.set(key, value);
  return changed;
}

/** @returns what the file holds; what is no store is set aside, and an empty one takes its place */
function readOrSetAside(file: string, now: () => Date, warnings: string[]): Partial<State> {
  let state: Partial<State> = {};
  try {
    // A pipe would never end.
    if (statSync(file, { throwIfNoEntry: false })?.isFile() === false)
      throw new SyntaxError("it is not a regular file");
    const [error] = readThroughConf(file, schema, (text) => {
      state = parseObject(text);
      return state;
    });
    if (!error) return state;
    throw new SyntaxError(`${error.instancePath} ${error.message}`.trim());
  } catch (error) {
    if (boxFailure(error)) throw storeError(file, error, "UNREADABLE");
    try {
      const aside = setAside(file, now());
      const why = printable((error as Error).message);
      warnings.push(
        `${file} was damaged (${why}) and is now ${aside}; build numbers continue above those of the builds on disk, and paused nodes are ready again`,
      );
      return {};
    } catch (cause) {
      throw storeError(file, cause, "UNWRITABLE");
    }
  }
}

function setAside(file: string, now: Date): string {
  const aside = `${file}.damaged-${now.toISOString().replaceAll(/[-:]/g, "")}`;
  renameSync(file, aside);
  return aside;
}

function parseObject(text: string): Record<string, unknown> {
  const value: unknown = JSON.parse(text);
  if (isMapping(value)) return value;
  throw new SyntaxError("it is not a JSON object");
}

function write(file: string, { numbers, paused, devices }: Memory): void {
  // fromEntries makes own properties of all names, __proto__ too.
  const state: State = {
    numbers: Object.fromEntries(numbers),
    paused: Object.fromEntries(paused),
    devices: Object.fromEntries(devices),
  };
  const text = JSON.stringify(state, undefined, "\t");
  try {
    mkdirSync(dirname(file), { recursive: true });
    try {
      replaceFileSync(file, text, 0o600);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EISDIR") throw error;
      // A build that runs as the agent's user can put a folder there.
      setAside(file, new Date());
      replaceFileSync(file, text, 0o600);
    }
  } catch (error) {
    throw storeError(file, error, "UNWRITABLE");
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
