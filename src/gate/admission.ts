/** Whether a rule allows a build, and what is submitted then. Pure: nothing of a request gets further that isn't in the rule. */
import type { AgentInfo, JobInfo } from "#/exchange/info.ts";
import { leaseFunction } from "#/exchange/lease.ts";
import { formatSize } from "#/lib/units.ts";
import { buildFunction } from "#/zuul/functions.ts";
import { Refusal } from "./errors.ts";
import type { BuildRequest } from "./request.ts";
import type { Allowance, Claims, Priority, Rule } from "./rules.ts";

/** A build that a rule allows. */
export interface Admitted {
  readonly function: string;
  readonly node?: string;
  readonly priority: Priority;
  /** The caller's, and those that the gate sets. */
  readonly parameters: Readonly<Record<string, string>>;
  readonly queueMs: number;
  /** By the rule and the job. */
  readonly runMs: number;
  /** The agents that may take it. */
  readonly managers: readonly string[];
}

/** What the rule says of job, node, parameters and inputs, before anybody in the lab is asked. @throws Refusal forbidden */
export function checkAllowed({ allow }: Rule, request: BuildRequest): { readonly node?: string } {
  const { job, parameters, inputs, lease } = request;
  if (lease && allow.leasesMs === undefined) throw forbidden("leases aren't allowed");
  if (!lease && !allow.jobs.some((pattern) => pattern.matches(job)))
    throw forbidden(`the job ${job} isn't allowed`);
  for (const [name, value] of parameters) {
    const pattern = allow.parameters.get(name);
    if (!pattern) throw forbidden(`the parameter ${name} isn't allowed`);
    if (!pattern.matches(value)) throw forbidden(`the parameter ${name} may not have this value`);
  }
  for (const { name, size } of inputs) {
    const maxBytes = allow.inputs.get(name);
    if (maxBytes === undefined) throw forbidden(`the input ${name} isn't allowed`);
    if (size > maxBytes) throw forbidden(`the input ${name} may have ${formatSize(maxBytes)} at most`);
  }
  const node = request.node ?? onlyClass(allow);
  if (node === undefined && lease) throw forbidden("a class of devices has to be named");
  if (node === undefined && allow.classes) throw forbidden("a class of nodes has to be named");
  return { ...(node !== undefined && { node }) };
}

function onlyClass({ classes = [] }: Allowance): string | undefined {
  const [first, ...others] = classes;
  return first && others.length === 0 && !first.source.includes("*") ? first.source : undefined;
}

/**
 * What the agents say of the job: each that may take the build has to be as the rule wants it, because the job server decides which one
 * does.
 * @param infos of the agents on the server that the build goes to
 * @throws Refusal forbidden, unavailable
 */
export function admit(
  { allow }: Rule,
  request: BuildRequest,
  { node }: { readonly node?: string },
  infos: readonly AgentInfo[],
  claims: Claims,
): Admitted {
  const { job } = request;
  const offers = infos.flatMap((info) =>
    info.jobs.filter(({ name }) => name === job).map((one) => ({ info, job: one })),
  );
  const taking = offers.filter((offer) => takes(offer, node));
  if (taking.length === 0)
    throw new Refusal("not-offered", `no node${node === undefined ? "" : ` ${node}`} runs ${job} now`);
  if (
    node !== undefined &&
    allow.classes &&
    !isAllowedNode(
      allow,
      node,
      taking.map(({ info }) => info),
    )
  )
    throw forbidden(`the node ${node} isn't allowed`);
  for (const offer of taking) checkJob(allow, request, offer.job);
  const hasCheckout = taking.some((offer) => offer.job.checkout);
  const timeoutMs = Math.max(...taking.map((offer) => offer.job.timeoutSeconds)) * 1000;
  return {
    function: buildFunction(job, node),
    ...(node !== undefined && { node }),
    priority: lower(request.priority ?? allow.priority, allow.priority),
    parameters: {
      ...Object.fromEntries(request.parameters),
      ...(node !== undefined && { ZUUL_NODE: node }),
      ...(hasCheckout && allow.checkout !== undefined && checkoutParameters(allow.checkout, claims)),
    },
    queueMs: allow.queueMs,
    runMs: Math.min(allow.runMs ?? Number.POSITIVE_INFINITY, timeoutMs),
    managers: taking.map(({ info }) => info.manager),
  };
}

/** @param node a class of devices, or a device's name @throws Refusal forbidden */
export function admitLease(
  { allow }: Rule,
  { priority, lease }: BuildRequest,
  node: string,
  infos: readonly AgentInfo[],
): Admitted {
  const isMeant = ({ device, name, classes }: AgentInfo["nodes"][number]) =>
    device && [name, ...classes].includes(node);
  const offering = infos.filter(({ nodes }) => nodes.some(isMeant));
  if (allow.classes && !isAllowedNode(allow, node, offering))
    throw forbidden(`the node ${node} isn't allowed`);
  const maxMs = allow.leasesMs ?? 0;
  return {
    ...{ function: leaseFunction(node), node, parameters: {}, queueMs: allow.queueMs },
    priority: lower(priority ?? allow.priority, allow.priority),
    runMs: Math.min(lease?.forMs ?? maxMs, maxMs),
    managers: offering.map(({ manager }) => manager),
  };
}

/** What a job server calls it. */
export function functionOf({ job, lease }: BuildRequest, node: string | undefined): string {
  return lease && node !== undefined ? leaseFunction(node) : buildFunction(job, node);
}

function takes({ info, job }: { info: AgentInfo; job: JobInfo }, node: string | undefined): boolean {
  return info.nodes.some(({ name, classes, device }) => {
    const names = [name, ...classes];
    const admitted = job.nodes ? names.some((one) => job.nodes?.includes(one)) : !device;
    return admitted && (node === undefined || names.includes(node));
  });
}

/** By its class, or by the name of a node that has such a class. */
function isAllowedNode({ classes = [] }: Allowance, node: string, infos: readonly AgentInfo[]): boolean {
  const isAllowed = (name: string) => classes.some((pattern) => pattern.matches(name));
  if (isAllowed(node)) return true;
  const named = infos.flatMap(({ nodes }) => nodes.filter(({ name }) => name === node));
  return named.length > 0 && named.every((one) => one.classes.some(isAllowed));
}

function checkJob(allow: Allowance, { inputs }: BuildRequest, job: JobInfo): void {
  if (!allow.trust.includes(job.trust)) throw forbidden(`jobs of trust ${job.trust} aren't allowed`);
  if (job.debug && !allow.debug) throw forbidden("jobs with debug aren't allowed");
  if (job.checkout && allow.checkout === undefined) throw forbidden("jobs with a checkout aren't allowed");
  for (const { name, size } of inputs) {
    const input = job.inputs.find((one) => one.name === name);
    if (!input) throw forbidden(`the job takes no input ${name}`);
    if (size > input.max) throw forbidden(`the job takes ${formatSize(input.max)} as ${name} at most`);
  }
  const missing = job.inputs.find(
    ({ name, optional }) => !optional && !inputs.some((one) => one.name === name),
  );
  if (missing) throw forbidden(`the job needs the input ${missing.name}`);
}

const order: readonly Priority[] = ["low", "normal", "high"];

function lower(asked: Priority, allowed: Priority): Priority {
  return order.indexOf(asked) < order.indexOf(allowed) ? asked : allowed;
}

/** The caller's own repository, ref and commit, by its token alone. Sources: see config.ts, kindOf. */
function checkoutParameters(url: string, claims: Claims): Record<string, string> {
  const text = (name: string) => {
    const value = claims.get(name);
    return typeof value === "string" ? value : undefined;
  };
  const project = text("repository") ?? text("project_path");
  const commit = text("sha");
  const named = text("ref");
  const isSound =
    project !== undefined &&
    /^[\w.-]+(\/[\w.-]+)+$/.test(project) &&
    !project.split("/").some((part) => part.startsWith(".")) &&
    commit !== undefined &&
    /^[0-9a-f]{40,64}$/.test(commit) &&
    named !== undefined &&
    /^[\w./@+#-]+$/.test(named);
  if (!isSound) throw forbidden("the token says no repository, ref and commit to check out");
  // GitLab's has no refs/heads/, and says the kind apart.
  const ref = named.startsWith("refs/")
    ? named
    : `refs/${text("ref_type") === "tag" ? "tags" : "heads"}/${named}`;
  return { ZUUL_URL: url, ZUUL_PROJECT: project, ZUUL_REF: ref, ZUUL_COMMIT: commit };
}

const forbidden = (message: string) => new Refusal("forbidden", message);
