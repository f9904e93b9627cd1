/** Commands to a running QEMU, over its machine protocol. */
import { connect } from "node:net";
import { createInterface } from "node:readline";
import { bounded } from "../support/servers.ts";

/** Carries out a command without arguments, such as `system_reset`, with a bound. */
export async function qmp(socketPath: string, command: string): Promise<void> {
  const socket = connect(socketPath);
  socket.on("error", () => {});
  try {
    await bounded(converse(socket, command));
  } finally {
    socket.destroy();
  }
}

async function converse(socket: ReturnType<typeof connect>, command: string): Promise<void> {
  const waiting = ["qmp_capabilities", command];
  const say = (execute: string | undefined) => socket.write(`${JSON.stringify({ execute })}\n`);
  for await (const line of createInterface({ input: socket })) {
    const message = JSON.parse(line) as Record<string, unknown>;
    if ("error" in message) throw new Error(`QEMU refused ${command}: ${line}`);
    if (!("QMP" in message || "return" in message)) continue;
    if (waiting.length === 0) return;
    say(waiting.shift());
  }
  throw new Error(`QEMU hung up on ${command}`);
}
