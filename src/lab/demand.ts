/** Which nodes could take a build, and why none of them does. */
import type { AgentInfo, NodeInfo } from "#/exchange/info.ts";

export interface WantedNode {
  readonly job: string;
  /** A class or a name; absent: any node that runs the job. */
  readonly target: string | undefined;
}

/** All nodes that could take the build if they were free. */
export function nodesFor(infos: readonly AgentInfo[], { job, target }: WantedNode): NodeInfo[] {
  return infos.flatMap(({ jobs, nodes }) => {
    const recipe = jobs.find(({ name }) => name === job);
    if (!recipe) return [];
    return nodes.filter((node) => {
      const names = [node.name, ...node.classes];
      const admitted = recipe.nodes ? names.some((name) => recipe.nodes?.includes(name)) : !node.device;
      return admitted && (target === undefined || names.includes(target));
    });
  });
}

/** Of more nodes than that only the number is shown. */
const maxNodes = 4;

/** @returns why none of them takes a build now; undefined when one could */
export function whyNoneIsFree(nodes: readonly NodeInfo[]): string | undefined {
  if (nodes.length === 0 || nodes.some(({ state }) => state === "free")) return undefined;
  const parts = nodes.slice(0, maxNodes).map(describe);
  if (nodes.length > maxNodes) parts.push(`${nodes.length - maxNodes} more`);
  return parts.join("; ");
}

function describe({ name, state, cause, reason, build }: NodeInfo): string {
  if (state === "busy" && build) return `${name} runs ${build.name}#${build.number}`;
  return `${name} is ${cause ?? state}${reason ? ` (${reason})` : ""}`;
}
