/** Keeps a folder for one process: a name in the kernel's abstract socket space, which no crash can leave behind. */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, realpathSync } from "node:fs";
import { createServer } from "node:net";
import { HostError } from "./errors.ts";

/**
 * Takes the folder, which is made when it isn't there; disposing gives it back.
 * @throws HostError LOCKED when another process has it, UNUSABLE when it can't be made or locked
 */
export async function lockFolder(folder: string): Promise<AsyncDisposable> {
  let path: string;
  try {
    mkdirSync(folder, { recursive: true });
    path = realpathSync(folder);
  } catch (cause) {
    const hint = "choose another with --state-dir, or run as a user who may write there";
    throw new HostError(
      "UNUSABLE",
      `the state directory ${folder} can't be made: ${(cause as Error).message}; ${hint}`,
      {
        cause,
      },
    );
  }
  const server = createServer((socket) => socket.destroy());
  // See unix(7): a name that begins with NUL lives in no file system, and goes with its last holder.
  server.listen(`\0labgear/${createHash("sha256").update(path).digest("hex")}`);
  try {
    await once(server, "listening");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "EADDRINUSE") {
      const message = `the state directory ${folder} can't be locked: ${(cause as Error).message}`;
      throw new HostError("UNUSABLE", message, { cause });
    }
    const message = `another labgear agent uses ${folder}: end it first, or choose another --state-dir`;
    throw new HostError("LOCKED", message, { cause });
  }
  server.unref();
  // Nobody has any business here, so a connection that can't be accepted is no loss.
  server.on("error", () => {});
  return {
    [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())),
  };
}
