/** One entry of `jobs`: what a build does, where it may run, and within which limits. */
import type { SchemaObject } from "ajv";
import { variableProblem } from "#/lib/environment.ts";
import { inWords, shown } from "#/lib/text.ts";
import { parseShare } from "#/lib/units.ts";
import type { At, Finding } from "../errors.ts";
import { bytes, checked, type Kind, kinds, matching, milliseconds } from "../kinds.ts";
import { entries, type Mapping, mapping } from "../merge.ts";
import type { ResolveFile } from "../named-files.ts";
import { devicesOf } from "./device.ts";
import { type FirmwareDocument, type FirmwareWork, firmwareSchema, resolveFirmware } from "./firmware.ts";
import { offeredByHost } from "./host.ts";
import {
  checkInputs,
  type InputConfig,
  type JobInputsDocument,
  jobInputsSchema,
  resolveJobInputs,
} from "./inputs.ts";
import { checkNodes, misfits } from "./job-nodes.ts";
import { type NetworkConfig, type NetworksDocument, networkSchema, resolveNetwork } from "./networks.ts";
import {
  checkSecrets,
  resolveSecrets,
  type SecretConfig,
  type SecretsDocument,
  secretsSchema,
} from "./secrets.ts";
import {
  checkSteps,
  type FileTransfer,
  outsideWorkspace,
  resolveStep,
  type StepConfig,
  type StepDocument,
  stepsSchema,
  transferSchema,
} from "./steps.ts";
import { type Trust, trustOf } from "./trust.ts";

export interface LimitsConfig {
  /** Bytes. */
  readonly memory?: number;
  readonly processes?: number;
  /** In processors: 2 is two whole ones. */
  readonly cpu?: number;
}

/** What a job does. */
export type JobWork =
  /** A shell script on the host; on a device, the device is reserved for it. */
  | { readonly kind: "run"; readonly script: string }
  /** A script on the board, with files copied before and after. */
  | {
      readonly kind: "shell";
      readonly script: string;
      /** The script has a terminal. */
      readonly tty: boolean;
      readonly put: readonly FileTransfer[];
      readonly get: readonly FileTransfer[];
    }
  | { readonly kind: "steps"; readonly steps: readonly StepConfig[] }
  | FirmwareWork;

export interface JobConfig {
  readonly name: string;
  /** Classes or names of nodes that may run it; undefined: every class of the host. */
  readonly nodes?: readonly string[];
  readonly work: JobWork;
  /** power: the job switches on or resets the board itself, so it also runs on one that can't be proved. */
  readonly needs?: "power";
  readonly checkout: boolean;
  readonly timeoutMs: number;
  /** How long it may go without output; undefined: for ever. */
  readonly silenceMs?: number;
  /** Between SIGTERM and SIGKILL. */
  readonly graceMs: number;
  /** Globs inside the workspace. */
  readonly artifacts: readonly string[];
  readonly junit: readonly string[];
  /** What happens to artifacts and reports that are older than the build. */
  readonly stale: "skip" | "keep";
  readonly limits: LimitsConfig;
  /** Names of parameters that become environment variables besides the standard ones. */
  readonly parameters: readonly string[];
  readonly secrets: readonly SecretConfig[];
  /** What it executes: what changes bring, or only the lab's own. */
  readonly trust: Trust;
  readonly inputs: readonly InputConfig[];
  /** Folders that stay from build to build. */
  readonly caches: readonly string[];
  readonly network: NetworkConfig;
  /** What builds on the host see below /dev, such as "dri/renderD128". */
  readonly devices: readonly string[];
  /** Whether builds may trace their processes, and be root in a namespace of their own. */
  readonly debug: boolean;
}

/** The entry once it has passed the schema; the checks make sure that it has exactly one of workOptions. */
export interface JobDocument {
  readonly nodes?: readonly string[];
  readonly needs?: "power";
  readonly checkout?: boolean;
  readonly run?: string;
  readonly shell?: string;
  readonly tty?: boolean;
  readonly put?: readonly FileTransfer[];
  readonly get?: readonly FileTransfer[];
  readonly steps?: readonly StepDocument[];
  readonly firmware?: FirmwareDocument;
  readonly timeout?: string;
  readonly silence?: string;
  readonly grace?: string;
  readonly artifacts?: readonly string[];
  readonly junit?: readonly string[];
  readonly stale?: "skip" | "keep";
  readonly limits?: {
    readonly memory?: string | number;
    readonly processes?: number;
    readonly cpu?: string;
  } | null;
  readonly parameters?: readonly string[];
  readonly trust?: Trust;
  readonly secrets?: SecretsDocument;
  readonly "secrets-with-inputs"?: boolean;
  readonly inputs?: JobInputsDocument;
  readonly caches?: readonly string[];
  readonly network?: "none" | "lab" | "full";
  readonly devices?: readonly string[];
  readonly debug?: boolean;
}

const defaults = { timeout: "2h", grace: "10s", stale: "skip" } as const;

const workOptions = ["run", "shell", "steps", "firmware"] as const;

const share: Kind = {
  expected: "a share of one processor such as 50% or 200%",
  refuse: (text) => (parseShare(text) === undefined ? true : undefined),
};
const cache = matching("the name of a folder, such as ccache", /^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$/);
const node = matching(
  "the path of a device node, such as /dev/ttyUSB0",
  /^\/dev(?:\/(?!\.{1,2}(?:\/|$))\w[\w.:+@-]*)+$/,
);
const glob: Kind = { expected: "a pattern for files, such as build/*.bin", refuse: refuseGlob };
const parameter: Kind = {
  expected: "the name of an environment variable",
  refuse: (name) => {
    const problem = /^.{101}/.test(name) ? "is longer than 100 characters" : variableProblem(name);
    return problem && `${shown(name)} ${problem}`;
  },
};

function refuseGlob(text: string): string | true | undefined {
  if (text === "" || text.includes("\0")) return true;
  // Also inside braces: {..,x}/y and {/etc,x} would lead outside as well.
  const isAbsolute = /^(?:\{(?:[^}]*,)?)*\//.test(text);
  return outsideWorkspace(text, /(?:^|[/{,(|])\.\.(?:$|[/},)|])/.test(text), isAbsolute);
}

const limits: SchemaObject = {
  type: ["object", "null"],
  description: "What one build may use, enforced with a cgroup. Default: 4096 processes, otherwise no limit.",
  additionalProperties: false,
  properties: {
    memory: { type: ["string", "integer"], kind: kinds.size, description: "Memory, such as 4GiB." },
    processes: {
      type: "integer",
      minimum: 1,
      maximum: 4_194_304,
      description: "The number of processes and threads.",
    },
    cpu: { type: "string", kind: share, description: "Processor time; 200% is two whole processors." },
  },
};

export const jobSchema: SchemaObject = {
  type: "object",
  additionalProperties: false,
  properties: {
    nodes: {
      type: "array",
      minItems: 1,
      uniqueItems: true,
      items: { type: "string", kind: kinds.name },
      description:
        "The nodes that may run the job, by name or class: the host and devices. Default: every class of the host.",
    },
    needs: {
      enum: ["power"],
      description:
        "On a device: the job brings the board up itself, by power or reset, and may run on one that doesn't pass its probe.",
    },
    checkout: {
      type: "boolean",
      default: false,
      description:
        "Whether to check out the project first: ZUUL_PROJECT from ZUUL_URL at ZUUL_REF. HEAD must be ZUUL_COMMIT.",
    },
    run: {
      type: "string",
      kind: kinds.script,
      description:
        "The job is this shell script, run on the host in the build's workspace. On a device, it also gets the device's port.",
    },
    shell: {
      type: "string",
      kind: kinds.script,
      description: "The job is this script, run on the board over its console.",
    },
    tty: {
      type: "boolean",
      default: false,
      description:
        "Of shell on linux consoles: whether the script runs on a terminal, as su and sudo may want. Its output and errors are one stream.",
    },
    put: {
      type: "array",
      items: transferSchema("put", "A file of the workspace, and its path on the board."),
      description: "Of shell: files to copy to the board before the script.",
    },
    get: {
      type: "array",
      items: transferSchema("get", "A file of the board, and its path in the workspace."),
      description: "Of shell: files to copy from the board after the script, whether it passed or failed.",
    },
    steps: stepsSchema,
    firmware: firmwareSchema,
    timeout: {
      type: "string",
      kind: kinds.duration,
      default: defaults.timeout,
      description: "How long a build may take. After that it ends as TIMED_OUT.",
    },
    silence: {
      type: "string",
      kind: kinds.duration,
      description:
        "How long a build may go without output. After that it ends as TIMED_OUT. Default: no limit.",
    },
    grace: {
      type: "string",
      kind: kinds.durationOrZero,
      default: defaults.grace,
      description: "How long a build that is being stopped has between SIGTERM and SIGKILL.",
    },
    artifacts: {
      type: "array",
      uniqueItems: true,
      items: { type: "string", kind: glob },
      description: "The files to keep with the build: patterns relative to the workspace.",
    },
    junit: {
      type: "array",
      uniqueItems: true,
      items: { type: "string", kind: glob },
      description: "The JUnit XML reports to show with the build: patterns relative to the workspace.",
    },
    stale: {
      enum: ["skip", "keep"],
      default: defaults.stale,
      description:
        "What to do with artifacts and reports in the workspace that are older than the build: skip them with a warning, or keep them, marked.",
    },
    limits,
    parameters: {
      type: "array",
      uniqueItems: true,
      items: { type: "string", kind: parameter },
      description:
        "The parameters from the client that become environment variables, besides ZUUL_*, LOG_PATH, BASE_LOG_PATH and SWIFT_*.",
    },
    trust: {
      enum: ["changes", "lab"],
      description:
        "What the job executes: what changes bring, or only the lab's own. Default: changes if it has checkout or runs a script of its workspace. Only lab may have secrets.",
    },
    secrets: secretsSchema,
    "secrets-with-inputs": {
      type: "boolean",
      default: false,
      description: "Whether the job may have secrets although clients send it files.",
    },
    inputs: jobInputsSchema,
    caches: {
      type: "array",
      maxItems: 20,
      uniqueItems: true,
      items: { type: "string", kind: cache },
      description:
        "Folders that stay from build to build as $LABGEAR_CACHE/NAME, on each executor and for each trust. All else that a build writes outside of its workspace is gone with it.",
    },
    network: networkSchema,
    devices: {
      type: "array",
      maxItems: 100,
      uniqueItems: true,
      items: { type: "string", kind: node },
      description:
        "The device nodes that builds on the host have: paths below /dev, also folders, such as /dev/dri/renderD128 or /dev/bus/usb. Default: none. On a device, a build has what its user may open.",
    },
    debug: {
      type: "boolean",
      default: false,
      description:
        "Whether builds may trace their processes and be root in a namespace of their own, for gdb, strace, sanitizers and bubblewrap. More of the kernel is open to them then.",
    },
  },
};

/** @param hostNode the host's name as a node */
export function checkJobs(data: Mapping, hostNode: unknown, resolveFile: ResolveFile): Finding[] {
  const devices = devicesOf(data);
  const onDevices = new Set(devices.flatMap(({ name, classes }) => [name, ...classes]));
  const onHost = offeredByHost(data, hostNode);
  const anywhere = onHost && new Set([...onHost, ...onDevices]);
  return entries(data.jobs).flatMap(([name, job]) => {
    const at: At = (message, ...path) => ({ path: ["jobs", name, ...path], message });
    const found = workOptions.filter((option) => option in job);
    const [work, other] = found;
    if (work === undefined) return [at(`expected one of ${inWords(workOptions, "or")}`)];
    if (other !== undefined)
      return [at(`expected only one of ${inWords(workOptions, "or")}, found ${inWords(found)}`)];
    return [
      ...(work === "shell" ? [] : misplacedOptions(job, at)),
      ...(work === "run" ? checkNodes(job, anywhere, "node", at) : checkNodes(job, onDevices, "device", at)),
      ...(work === "run" || "nodes" in job
        ? []
        : [at(`the option nodes is required: ${work} runs on a device, so name one or its class`)]),
      ...checkSteps(job.steps, at),
      ...misfits(job, devices, at),
      ...checkSecrets(job, onDevices, at, resolveFile),
      ...checkInputs(job, at),
      ...(job.network === "lab" && !("lab" in mapping(data.networks))
        ? [at("needs the option networks: { lab: […] }, which says what that is", "network")]
        : []),
    ];
  });
}

function misplacedOptions(job: Mapping, at: At): Finding[] {
  const transfers = ["put", "get"]
    .filter((option) => option in job)
    .map((option) => at(`is an option of shell: in steps, ${option} is a step of its own`, option));
  return "tty" in job ? [at("is an option of shell", "tty"), ...transfers] : transfers;
}

export function resolveJob(
  name: string,
  entry: JobDocument,
  resolveFile: ResolveFile,
  networks: NetworksDocument,
): JobConfig {
  return {
    name,
    ...(entry.nodes && { nodes: entry.nodes }),
    work: resolveWork(entry),
    ...(entry.needs && { needs: entry.needs }),
    checkout: entry.checkout ?? false,
    timeoutMs: milliseconds(entry.timeout ?? defaults.timeout),
    ...(entry.silence !== undefined && { silenceMs: milliseconds(entry.silence) }),
    graceMs: milliseconds(entry.grace ?? defaults.grace),
    artifacts: entry.artifacts ?? [],
    junit: entry.junit ?? [],
    stale: entry.stale ?? defaults.stale,
    limits: resolveLimits(entry.limits ?? {}),
    parameters: entry.parameters ?? [],
    secrets: resolveSecrets(name, entry.secrets ?? {}, resolveFile),
    trust: trustOf(entry),
    inputs: resolveJobInputs(entry.inputs ?? {}),
    caches: entry.caches ?? [],
    network: resolveNetwork(entry.network, networks),
    devices: (entry.devices ?? []).map((path) => path.slice("/dev/".length)),
    debug: entry.debug ?? false,
  };
}

function resolveWork({ run, shell, tty = false, steps, firmware, put = [], get = [] }: JobDocument): JobWork {
  if (run !== undefined) return { kind: "run", script: run };
  if (shell !== undefined) return { kind: "shell", script: shell, tty, put, get };
  if (steps) return { kind: "steps", steps: steps.map(resolveStep) };
  return resolveFirmware(checked(firmware, "a job"));
}

function resolveLimits({ memory, processes, cpu }: NonNullable<JobDocument["limits"]>): LimitsConfig {
  return {
    ...(memory !== undefined && { memory: bytes(memory) }),
    ...(processes !== undefined && { processes }),
    ...(cpu !== undefined && { cpu: checked(parseShare(cpu), cpu) }),
  };
}
