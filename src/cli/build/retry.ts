/** Runs a build again that has ended without a result: on another board where there is one. */
import { askServer, isOffered } from "#/client/registered.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { buildFunction } from "#/zuul/functions.ts";
import { askInfo, chooseSibling } from "../transfer/info.ts";
import type { Renderer } from "./events.ts";
import { type Ending, showEnding } from "./follow.ts";
import { type Launch, type Launched, launchBuild } from "./launch.ts";

/** Where builds run: by a job server, or behind a gate. */
export interface BuildPlace {
  launch(launch: Launch, renderer: Renderer): Promise<Launched>;
  /** @returns where to try it again; "none": nobody offers the job any more */
  nextTarget(
    launch: Launch,
    tried: ReadonlySet<string>,
  ): Promise<{ readonly node: string | undefined } | "none">;
}

export function serverPlace(server: ServerAddress): BuildPlace {
  return {
    launch: (launch, renderer) => launchBuild(server, launch, renderer),
    nextTarget: (launch, tried) => nextTarget(server, launch, tried),
  };
}

/** Only such an ending says nothing about what was tested. What somebody has cancelled in the queue isn't wanted any more. */
const isRepeatable = ({ result, left }: Ending): boolean => result === undefined && left === undefined;

/** @returns all attempts, in order; the ending of the last one isn't shown yet */
export async function launchWithRetries(
  place: BuildPlace,
  launch: Launch,
  renderer: Renderer,
  maxRetries: number,
): Promise<[Launched, ...Launched[]]> {
  const first = await place.launch(launch, renderer);
  const attempts: [Launched, ...Launched[]] = [first];
  const tried = new Set<string>();
  for (let last = first; isRepeatable(last.ending) && attempts.length <= maxRetries; attempts.push(last)) {
    if (typeof last.ending.node_name === "string") tried.add(last.ending.node_name);
    const target = await place.nextTarget(launch, tried);
    if (target === "none") break;
    const where = target.node === undefined ? "any node" : target.node;
    const text = `it ended without a result: trying again on ${where}, attempt ${attempts.length + 1} of ${maxRetries + 1}`;
    showEnding(renderer, last.ending);
    renderer.show({ event: "notice", text });
    // Servers and agents know a build by its uuid: this is another one.
    const { ZUUL_UUID: _, ...parameters } = launch.parameters;
    last = await place.launch({ ...launch, ...target, parameters }, renderer);
  }
  return attempts;
}

async function nextTarget(
  server: ServerAddress,
  { job, node }: Launch,
  tried: ReadonlySet<string>,
): Promise<{ readonly node: string | undefined } | "none"> {
  const functions = await askServer(server);
  const offers = (target: string | undefined) => isOffered(functions, buildFunction(job, target));
  const infos = await askInfo(server, functions);
  const sibling = chooseSibling(infos, { job, target: node }, tried, offers);
  if (sibling !== undefined) return { node: sibling };
  return offers(node) ? { node } : "none";
}
