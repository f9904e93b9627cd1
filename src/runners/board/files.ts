/** Files to and from a board over its console. */
import type { FileTransfer } from "#/config/model.ts";
import type { BoardRun } from "./board.ts";
import { hooks } from "./hooks.ts";

/** @returns undefined when it is done; else one line that says why not @throws BoardFailure */
export async function put(run: BoardRun, { from, to }: FileTransfer): Promise<string | undefined> {
  const { reservation } = run;
  if (!reservation.console.put) return `a ${reservation.console.kind} console takes no files`;
  const source = await run.files.source(from);
  if (typeof source === "string") return source;
  await using file = source;
  await run.note(`${from} goes to the board as ${to}, ${file.size} bytes`);
  await reservation.run(reservation.console.put(file, to), hooks(run));
  return undefined;
}

/** @returns undefined when it is done; else one line that says why not @throws BoardFailure */
export async function get(run: BoardRun, { from, to }: FileTransfer): Promise<string | undefined> {
  const { reservation } = run;
  if (!reservation.console.get) return `a ${reservation.console.kind} console gives no files`;
  const sink = await run.files.sink(to);
  if (typeof sink === "string") return sink;
  using file = sink;
  await reservation.run(reservation.console.get(from, file), hooks(run));
  await run.note(`${from} came from the board as ${to}, ${file.size} bytes`);
  return undefined;
}
