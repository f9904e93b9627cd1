/** `labgear lease --list`: who has which board, as the boxes say. Everything shown comes from outside. */
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { leaseEnd } from "#/lib/status.ts";
import { askServers } from "../registered.ts";
import { table } from "../table.ts";
import { askInfo } from "../transfer/info.ts";

export function leaseTable(rows: readonly (readonly string[])[]): string {
  if (rows.length === 0) return "no board is leased\n";
  return table(["BOARD", "BOX", "UNTIL", "BY", { title: "WHY", fit: "wrap" }], rows.toSorted());
}

/** Rows of all leases. @throws GearmanError when no server answers */
export async function leasesAt(servers: readonly ServerAddress[]): Promise<string[][]> {
  const answers = await askServers(servers);
  const failures = answers.flatMap((answer) => ("error" in answer ? [answer.error] : []));
  const [failure] = failures;
  if (failure && failures.length === answers.length) throw failure;
  const infos = await Promise.all(
    answers.map((answer) => ("functions" in answer ? askInfo(answer.server, answer.functions) : [])),
  );
  // A box is on several servers.
  const boxes = new Map(infos.flat().map((info) => [info.manager, info]));
  return [...boxes.values()].flatMap(({ manager, nodes }) =>
    nodes.flatMap(({ name, lease }) =>
      lease ? [[name, manager, leaseEnd(lease), lease.who, lease.reason]] : [],
    ),
  );
}
