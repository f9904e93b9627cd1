/** Locks a folder for one process, by a name in the kernel's abstract socket namespace: no crash leaves it behind. */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, realpathSync } from "node:fs";
import { createServer } from "node:net";
import { HostError } from "./errors.ts";

interface LockOptions {
  /** For messages: which program of labgear it is, and the option that names the folder. */
  readonly program?: string;
  readonly option?: string;
  /** Of a new folder. */
  readonly mode?: number;
}

/**
 * Locks the folder, which is created if it is missing; disposing unlocks it.
 * @throws HostError LOCKED when another process has it, UNUSABLE when it can't be created or locked
 */
export async function lockFolder(
  folder: string,
  { program = "agent", option = "--state-dir", mode }: LockOptions = {},
): Promise<AsyncDisposable> {
  let path: string;
  try {
    mkdirSync(folder, { recursive: true, ...(mode !== undefined && { mode }) });
    path = realpathSync(folder);
  } catch (cause) {
    const hint = `choose another with ${option}, or run as a user who may write there`;
    throw new HostError(
      "UNUSABLE",
      `the state directory ${folder} can't be created: ${(cause as Error).message}; ${hint}`,
      {
        cause,
      },
    );
  }
  const server = createServer((socket) => socket.destroy());
  // A name that begins with NUL is in no file system, and vanishes when its socket is closed. Source: unix(7).
  server.listen(`\0labgear/${createHash("sha256").update(path).digest("hex")}`);
  try {
    await once(server, "listening");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "EADDRINUSE") {
      const message = `the state directory ${folder} can't be locked: ${(cause as Error).message}`;
      throw new HostError("UNUSABLE", message, { cause });
    }
    const message = `another labgear ${program} uses ${folder}: stop it first, or choose another ${option}`;
    throw new HostError("LOCKED", message, { cause });
  }
  server.unref();
  // Nobody needs to connect: an accept error does no harm.
  server.on("error", () => {});
  return {
    [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())),
  };
}
