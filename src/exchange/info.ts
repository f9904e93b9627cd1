/**
 * `info:MANAGER`: what an agent is, and what it does at this moment, in one JSON object of at most 64 KiB. Clients learn from it
 * why no node takes a build, and what a job takes. Keys are added and never change their meaning within a version.
 */
import type { LeaseStatus } from "#/lib/status.ts";
import {
  isCount,
  isLine,
  isObject,
  type JsonObject,
  malformed,
  parseObject,
  throwRefusal,
} from "./message.ts";

export interface NodeInfo {
  readonly name: string;
  readonly classes: readonly string[];
  /** Whether it is a board. */
  readonly device: boolean;
  /** `free`: takes builds; `busy`: has as many as it can; `held`: takes none, for the cause. */
  readonly state: "free" | "busy" | "held";
  /** One word: paused, draining, disk, box, failing, leaving; of a board quarantined, unplugged, sick, busy… */
  readonly cause?: string;
  /** The same in a line for people. */
  readonly reason?: string;
  /** Of the state, where it is known: ISO 8601. */
  readonly since?: string;
  /** Of a board that takes no builds, since `since`: the cause in a word, failed tries to bring it back, who paused it. */
  readonly outage?: { readonly cause: string; readonly tries: number; readonly who?: string };
  /** How the builds of each job on the board ended in 7 and 30 days before a midnight (UTC). */
  readonly tallies?: {
    readonly until: string;
    readonly jobs: readonly {
      readonly job: string;
      readonly failed: readonly [of7: number, of30: number];
      readonly builds: readonly [of7: number, of30: number];
    }[];
  };
  /** It fails a job more often than its siblings do. */
  readonly suspect?: {
    readonly job: string;
    readonly days: number;
    readonly failed: number;
    readonly builds: number;
    readonly siblingFailed: number;
    readonly siblingBuilds: number;
  };
  /** What it runs now; of several the first. */
  readonly build?: { readonly name: string; readonly number: number };
  /** Who has the board and why, while it is leased; `until` is absent before the lease's time begins. */
  readonly lease?: LeaseStatus;
}

export interface JobInfo {
  readonly name: string;
  /** Classes or names; absent: every class of the host. */
  readonly nodes?: readonly string[];
  readonly trust: "changes" | "lab";
  readonly checkout: boolean;
  readonly debug: boolean;
  readonly timeoutSeconds: number;
  readonly inputs: readonly {
    readonly name: string;
    readonly max: number;
    readonly optional: boolean;
    /** Whether it may come from a URL. */
    readonly url: boolean;
  }[];
}

export interface AgentInfo {
  readonly version: 1;
  readonly manager: string;
  readonly program: "labgear";
  readonly programVersion: string;
  readonly hostname: string;
  /** Of its pages. */
  readonly url: string;
  readonly state: "running" | "draining" | "drained" | "stopping" | "stopped";
  /** ISO 8601, of the agent's start. */
  readonly since: string;
  /** The agent's clock, in Unix milliseconds. */
  readonly time: number;
  readonly nodes: readonly NodeInfo[];
  readonly jobs: readonly JobInfo[];
  readonly counts: {
    readonly nodes: number;
    readonly jobs: number;
    readonly executors: number;
    readonly running: number;
    /** Assigned, and waiting for their turn here. */
    readonly waiting: number;
  };
}

const maxInfoBytes = 64 * 1024;

/** Leaves out jobs, then nodes, from their end until it fits; the counts say how many there are. */
export function formatInfo(info: AgentInfo): Buffer {
  const jobs = [...info.jobs];
  const nodes = [...info.nodes];
  for (;;) {
    const bytes = Buffer.from(JSON.stringify({ ...info, nodes, jobs }));
    if (bytes.length <= maxInfoBytes || (jobs.length === 0 && nodes.length === 0)) return bytes;
    const longer = jobs.length > 0 ? jobs : nodes;
    longer.length = Math.floor((longer.length * 3) / 4);
  }
}

/** @throws ExchangeError the agent's refusal, or malformed */
export function parseInfo(answer: Uint8Array): AgentInfo {
  const object = parseObject(answer, maxInfoBytes);
  throwRefusal(object);
  const { nodes, jobs, counts } = object;
  if (object.version !== 1) throw malformed("has another version than 1: update labgear");
  const isSound =
    ["manager", "programVersion", "hostname", "url", "state", "since"].every((key) =>
      isLine(object[key], 4096),
    ) &&
    isCount(object.time) &&
    isList(nodes, isNode) &&
    isList(jobs, isJob) &&
    isObject(counts) &&
    ["nodes", "jobs", "executors", "running", "waiting"].every((key) => isCount(counts[key]));
  if (!isSound) throw malformed("is not what info: answers");
  return object as unknown as AgentInfo;
}

function isNode(node: JsonObject): boolean {
  const { build, outage, tallies, suspect, lease } = node;
  return (
    isLine(node.name, 255) &&
    isTexts(node.classes) &&
    typeof node.device === "boolean" &&
    ["free", "busy", "held"].includes(String(node.state)) &&
    ["cause", "reason", "since"].every((key) => node[key] === undefined || isLine(node[key], 4096)) &&
    (outage === undefined ||
      (isObject(outage) &&
        isLine(outage.cause, 255) &&
        isCount(outage.tries) &&
        (outage.who === undefined || isLine(outage.who, 255)))) &&
    (tallies === undefined ||
      (isObject(tallies) &&
        isLine(tallies.until, 32) &&
        isList(
          tallies.jobs,
          (tally) => isLine(tally.job, 255) && isPair(tally.failed) && isPair(tally.builds),
        ))) &&
    (suspect === undefined ||
      (isObject(suspect) &&
        isLine(suspect.job, 255) &&
        ["days", "failed", "builds", "siblingFailed", "siblingBuilds"].every((key) =>
          isCount(suspect[key]),
        ))) &&
    (build === undefined || (isObject(build) && isLine(build.name, 255) && isCount(build.number))) &&
    (lease === undefined ||
      (isObject(lease) &&
        isLine(lease.who, 255) &&
        isLine(lease.reason, 255) &&
        (lease.until === undefined || isLine(lease.until, 32))))
  );
}

function isJob(job: JsonObject): boolean {
  return (
    isLine(job.name, 255) &&
    (job.nodes === undefined || isTexts(job.nodes)) &&
    ["changes", "lab"].includes(String(job.trust)) &&
    typeof job.checkout === "boolean" &&
    typeof job.debug === "boolean" &&
    isCount(job.timeoutSeconds) &&
    isList(
      job.inputs,
      (input) =>
        isLine(input.name, 64) &&
        isCount(input.max) &&
        typeof input.optional === "boolean" &&
        typeof input.url === "boolean",
    )
  );
}

function isPair(value: unknown): boolean {
  return Array.isArray(value) && value.length === 2 && value.every((entry) => isCount(entry) && entry < 1e6);
}

function isTexts(value: unknown): boolean {
  return Array.isArray(value) && value.every((text) => isLine(text, 255));
}

function isList(value: unknown, isEntry: (entry: JsonObject) => boolean): boolean {
  return Array.isArray(value) && value.every((entry) => isObject(entry) && isEntry(entry));
}
