/** Keeps a folder for one process: a name in the kernel's abstract socket space, which no crash can leave behind. */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, realpathSync } from "node:fs";
import { createServer } from "node:net";
import { HostError } from "./errors.ts";

/**
 * Takes the folder, which is made when it isn't there; disposing gives it back.
 * @throws HostError LOCKED when another process has it, UNUSABLE when it can't be made
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
    throw new HostError(
      "LOCKED",
      `another labgear agent uses ${folder}: end it first, or choose another --state-dir`,
      {
        cause,
      },
    );
  }
  server.unref();
  return {
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      await closed;
    },
  };
}
