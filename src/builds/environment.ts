/** A job's environment: a fixed base, the client's parameters that are let in, and our own variables over both. */
import { userInfo } from "node:os";
import { isVariableName, variableProblem } from "#/lib/environment.ts";
import { shown } from "#/lib/text.ts";
import type { Build } from "./build.ts";

export interface JobEnvironment {
  readonly env: Record<string, string>;
  /** Parameters that were left out although the job takes them: `NAME (why)`, one line each, safe to print. */
  readonly refused: string[];
}

/**
 * A string of argv or the environment may have 128 KiB on Linux, with name, "=" and NUL (MAX_ARG_STRLEN,
 * execve(2)).
 */
const maxValue = 100 * 1024;
/** argv and the environment together may have a quarter of the stack's limit: 2 MiB by default (execve(2)). */
const maxTotal = 1024 * 1024;
const maxRefusedNames = 50;

/** Standard parameters of a launch: those of Zuul, and of the log and Swift settings that layouts add. */
const standard = /^(ZUUL_.*|LOG_PATH|BASE_LOG_PATH|SWIFT_.*)$/;

/** Variables of the agent's own environment that jobs inherit. */
const inherited = [
  "TMPDIR",
  "TZ",
  "LC_ALL",
  "http_proxy",
  "https_proxy",
  "ftp_proxy",
  "all_proxy",
  "no_proxy",
];

/** Asked once: it takes a look into /etc/passwd, or over the network. */
let me: { readonly username: string; readonly homedir: string } | undefined;

/**
 * The fixed part of every job's environment. HOME is that of the agent's user, where tools keep caches and keys, not the
 * workspace; PATH is the agent's own (the operator sets it in the unit), or Debian's. Of the agent's other variables a job
 * inherits only locale, time zone, TMPDIR and proxies.
 * @param agent the agent's own environment
 */
export function baseEnvironment(
  agent: Readonly<Record<string, string | undefined>> = process.env,
): Record<string, string> {
  me ??= userInfo();
  const { username, homedir } = me;
  const base: Record<string, string> = {
    PATH: agent.PATH || "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    HOME: agent.HOME || homedir,
    USER: username,
    LOGNAME: username,
    SHELL: "/bin/sh",
    LANG: agent.LANG || "C.UTF-8",
  };
  for (const name of inherited.flatMap((name) => [name, name.toUpperCase()])) {
    const value = agent[name];
    if (value) base[name] = value;
  }
  return base;
}

/** What a job's script knows of its build, by labgear's names and by Jenkins'. */
export function buildVariables(
  { record, artifactsFolder }: Build,
  workspace: string,
): Record<string, string> {
  const { job, number, uuid, url, node, target, labels, executor } = record;
  return {
    LABGEAR_JOB: job,
    LABGEAR_BUILD: String(number),
    LABGEAR_UUID: uuid,
    LABGEAR_URL: url,
    LABGEAR_NODE: node,
    LABGEAR_CLASS: target ?? labels[0] ?? node,
    LABGEAR_WORKSPACE: workspace,
    LABGEAR_ARTIFACTS: artifactsFolder,
    JOB_NAME: job,
    BUILD_NUMBER: String(number),
    BUILD_URL: url,
    NODE_NAME: node,
    WORKSPACE: workspace,
    EXECUTOR_NUMBER: String(executor),
  };
}

/**
 * Builds a job's environment. What is refused here is still in the file that LABGEAR_PARAMETERS names.
 * @param parts.parameters all parameters of the launch; values that weren't strings as JSON
 * @param parts.allowed names that the job lists in addition to the standard ones
 * @param parts.own our variables (`LABGEAR_*`, `JOB_NAME` …), which win
 * @param parts.base see baseEnvironment()
 */
export function jobEnvironment(parts: {
  readonly parameters: ReadonlyMap<string, string>;
  readonly allowed: readonly string[];
  readonly own: Readonly<Record<string, string>>;
  readonly base?: Readonly<Record<string, string>>;
}): JobEnvironment {
  const { parameters, own, base = baseEnvironment() } = parts;
  const allowed = new Set(parts.allowed);
  const fixed = { ...base, ...own };
  let total = Object.entries(fixed).reduce((sum, [name, value]) => sum + size(name, value), 0);
  const env: Record<string, string> = {};
  const refused: string[] = [];
  let left = 0;
  for (const [name, value] of parameters) {
    if (!allowed.has(name) && !standard.test(name)) continue;
    let why = reason(name, value, own);
    if (!why && total + size(name, value) > maxTotal) why = "the environment would be over 1 MiB";
    if (!why) {
      env[name] = value;
      total += size(name, value);
    } else if (refused.length < maxRefusedNames)
      refused.push(`${isVariableName(name) ? name.slice(0, 100) : shown(name, 100)} (${why})`);
    else left += 1;
  }
  if (left > 0) refused.push(`${left} more`);
  return { env: { ...base, ...env, ...own }, refused };
}

function reason(name: string, value: string, own: Readonly<Record<string, string>>): string | undefined {
  const problem = Object.hasOwn(own, name) ? "is set by labgear itself" : variableProblem(name);
  if (problem !== undefined) return problem;
  if (value.includes("\0")) return "contains a NUL";
  // Old bash runs what follows a function in the value of any variable (CVE-2014-6271).
  if (/^\s*\(\)\s*\{/.test(value)) return "looks like an exported shell function";
  if (Buffer.byteLength(value) > maxValue) return "longer than 100 KiB";
  return undefined;
}

/** Bytes that a variable takes: name, "=", value, NUL and a pointer. */
function size(name: string, value: string): number {
  return Buffer.byteLength(name) + Buffer.byteLength(value) + 10;
}
