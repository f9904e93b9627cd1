/** The board that a build failed on, and a sibling of its class. */
import { isOffered } from "#/client/registered.ts";
import type { AgentInfo, NodeInfo } from "#/exchange/info.ts";
import type { FunctionStatus } from "#/gearman/client/admin.ts";
import { whyNoneIsFree } from "#/lab/demand.ts";
import { buildFunction } from "#/zuul/functions.ts";
import { CommandError } from "../exit.ts";
import { chooseSibling } from "../transfer/info.ts";
import type { Original } from "./original.ts";

/**
 * @returns the name of another node of the board's class that takes the job: with inputs one of the same box, which has them
 * @throws CommandError failure when the board takes no builds, or has no sibling
 */
export function findSibling(
  { job, node, target, inputs }: Original,
  manager: string,
  infos: readonly AgentInfo[],
  functions: readonly FunctionStatus[],
): string {
  const isTaking = (name: string) => isOffered(functions, buildFunction(job, name));
  const box = infos.find((info) => info.manager === manager);
  if (!box) throw new CommandError("failure", `${manager} doesn't say which nodes it has`);
  const board = box.nodes.find(({ name }) => name === node);
  if (!board) throw new CommandError("failure", `${manager} has no node ${node} any more`);
  if (board.state === "held" || !isTaking(node))
    throw new CommandError("failure", `${whyHeld(board)}, so the build can't be repeated there`);
  const places = inputs.length > 0 ? [box] : infos;
  const classes = board.classes.filter((name) => target === undefined || target === node || name === target);
  for (const name of classes) {
    const sibling = chooseSibling(places, { job, target: name }, new Set([node]), isTaking);
    if (sibling !== undefined) return sibling;
  }
  const where = inputs.length > 0 ? ` on ${manager}, which has its inputs,` : "";
  throw new CommandError(
    "failure",
    `${node} has no sibling: no other node of class ${classes.join(" or ") || target}${where} takes ${job} now`,
  );
}

function whyHeld(board: NodeInfo): string {
  return board.state === "held"
    ? (whyNoneIsFree([board]) ?? `${board.name} is held`)
    : `${board.name} takes no builds now`;
}
