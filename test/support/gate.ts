/** A gate that jobs wait at: a FIFO in the state directory, from which each reads a line. */
import { open } from "node:fs/promises";
import { join } from "node:path";
import { execa } from "execa";

/** The line of a job's script that waits. */
export const waitAtGate = "read line < ../../../gate";

export async function makeGate(stateDir: string): Promise<void> {
  await execa("mkfifo", [join(stateDir, "gate")]);
}

/** Lets through all who wait and who come, until it is disposed of; nobody has to be there. */
export async function openGate(stateDir: string): Promise<AsyncDisposable> {
  // For reading too, so that the opening waits for no reader, and what is written stays until somebody reads it.
  const gate = await open(join(stateDir, "gate"), "r+");
  await gate.write("\n".repeat(100));
  return gate;
}
