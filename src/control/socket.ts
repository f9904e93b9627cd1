/** Making the control socket's file: with the right mode, over a dead agent's but never over anything else. */
import { once } from "node:events";
import { lstatSync, mkdirSync, rmSync } from "node:fs";
import { connect, type Server } from "node:net";
import { dirname } from "node:path";
import { ControlError } from "./errors.ts";

/** Of sockaddr_un's 108 bytes, see unix(7), one is the NUL at the end. */
const longestPath = 107;

/**
 * Listens on a socket that its owner and group may use, and nobody else. The file goes when the server is closed.
 * @throws ControlError LISTEN
 */
export async function listenOn(server: Server, file: string): Promise<void> {
  const refuse = (reason: string, cause?: unknown) =>
    new ControlError(
      "LISTEN",
      `the control socket ${file} can't be made: ${reason}; choose another with --control`,
      {
        cause,
      },
    );
  if (Buffer.byteLength(file) > longestPath) throw refuse(`its path is longer than ${longestPath} bytes`);
  try {
    mkdirSync(dirname(file), { recursive: true });
    const found = lstatSync(file, { throwIfNoEntry: false });
    if (found && !found.isSocket()) throw refuse("another file is in its place");
    if (found && (await isDead(file))) rmSync(file);
    // The mode has to be right from the first moment on, not after a chmod.
    const umask = process.umask(0o117);
    try {
      server.listen(file);
    } finally {
      process.umask(umask);
    }
    await once(server, "listening");
  } catch (error) {
    if (error instanceof ControlError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    throw refuse(code === "EADDRINUSE" ? "another agent listens there" : message, error);
  }
}

/** Whether nobody listens on a socket's file; a killed agent leaves the file behind. */
async function isDead(file: string): Promise<boolean> {
  const socket = connect(file);
  try {
    await once(socket, "connect");
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ECONNREFUSED";
  } finally {
    socket.destroy();
  }
}
