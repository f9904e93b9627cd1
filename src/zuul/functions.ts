/** The names of Gearman functions that Zuul's launchers know: `build:`, `stop:` and `set_description:`. */

export type ZuulFunction =
  /** `build:JOB` or `build:JOB:TARGET`; the target is what ZUUL_NODE named: a class, or a node's own name. */
  | { readonly kind: "build"; readonly job: string; readonly target?: string }
  | { readonly kind: "stop"; readonly manager: string }
  | { readonly kind: "set_description"; readonly manager: string };

/** The function of a job, on any node that runs it or on those of one class or name. */
export function buildFunction(job: string, target?: string): string {
  return target === undefined ? `build:${job}` : `build:${job}:${target}`;
}

/** The function that stops builds of a manager. */
export function stopFunction(manager: string): string {
  return `stop:${manager}`;
}

/** The two functions of a manager, which live on a connection of their own. */
export function managerFunctions(manager: string): Set<string> {
  return new Set([stopFunction(manager), `set_description:${manager}`]);
}

/** What a function's name asks for; undefined for names that aren't Zuul's. A name never holds more than three parts. */
export function parseFunction(name: string): ZuulFunction | undefined {
  const [kind, first, second, ...rest] = name.split(":");
  if (!first || rest.length > 0) return undefined;
  if (kind === "build")
    return second === undefined ? { kind, job: first } : { kind, job: first, target: second };
  if ((kind === "stop" || kind === "set_description") && second === undefined)
    return { kind, manager: first };
  return undefined;
}

/** A job as registration sees it: absent `nodes` admits every class of the host. */
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
    // A job that names the node itself doesn't by that admit the classes it shares with other nodes.
    const classes = node.classes.filter((name) => job.nodes?.includes(name) ?? true);
    if (!byName && classes.length === 0) continue;
    functions.add(buildFunction(job.name));
    functions.add(buildFunction(job.name, node.name));
    for (const name of classes) functions.add(buildFunction(job.name, name));
  }
  return functions;
}
