/** The names of the Gearman functions that Zuul calls: `build:`, `stop:` and `set_description:`. */

export type ZuulFunction =
  /** `build:JOB` or `build:JOB:TARGET`; the target is ZUUL_NODE: a class, or a node's name. */
  | { readonly kind: "build"; readonly job: string; readonly target?: string }
  | { readonly kind: "stop"; readonly manager: string }
  | { readonly kind: "set_description"; readonly manager: string };

/** @param target a class, or a node's name; absent: any node that runs the job */
export function buildFunction(job: string, target?: string): string {
  return target === undefined ? `build:${job}` : `build:${job}:${target}`;
}

export function stopFunction(manager: string): string {
  return `stop:${manager}`;
}

export function managerFunctions(manager: string): Set<string> {
  return new Set([stopFunction(manager), `set_description:${manager}`]);
}

/** @returns undefined for a name that isn't Zuul's, or has more than three parts */
export function parseFunction(name: string): ZuulFunction | undefined {
  const [kind, first, second, ...rest] = name.split(":");
  if (!first || rest.length > 0) return undefined;
  if (kind === "build")
    return second === undefined ? { kind, job: first } : { kind, job: first, target: second };
  if ((kind === "stop" || kind === "set_description") && second === undefined)
    return { kind, manager: first };
  return undefined;
}

/** A job as registration sees it; without `nodes` it runs on every node that is offered. */
export interface OfferedJob {
  readonly name: string;
  readonly nodes?: readonly string[];
}

/** A node as registration sees it. */
export interface OfferingNode {
  readonly name: string;
  readonly classes: readonly string[];
}

/**
 * All `build:` functions that a node registers: for each job that admits it `build:JOB`, one for each of the node's
 * classes that the job admits, and one for the node's own name.
 */
export function nodeFunctions(node: OfferingNode, jobs: Iterable<OfferedJob>): Set<string> {
  const functions = new Set<string>();
  for (const job of jobs) {
    const byName = job.nodes?.includes(node.name) ?? true;
    // A job that names the node doesn't thereby admit the classes that the node shares with others.
    const classes = node.classes.filter((name) => job.nodes?.includes(name) ?? true);
    if (!byName && classes.length === 0) continue;
    functions.add(buildFunction(job.name));
    functions.add(buildFunction(job.name, node.name));
    for (const name of classes) functions.add(buildFunction(job.name, name));
  }
  return functions;
}
