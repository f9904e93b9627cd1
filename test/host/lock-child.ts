/** Locks the folder argv[2], prints "locked" or the error's code and message, and holds the lock until stdin ends. */
import { lockFolder } from "#/host/lock.ts";

try {
  const lock = await lockFolder(process.argv[2] ?? "");
  process.stdout.write("locked\n");
  for await (const _ of process.stdin);
  await lock[Symbol.asyncDispose]();
} catch (error) {
  const { code, message } = error as NodeJS.ErrnoException;
  process.stdout.write(`${code}: ${message}\n`);
}
