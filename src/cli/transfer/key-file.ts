/** A file with the key of builds, which outlives the command that submits them. */
import { access, link, readFile, rm, writeFile } from "node:fs/promises";
import { BuildKey } from "#/exchange/key.ts";
import { CommandError } from "../exit.ts";

/**
 * The key in a file, with which results can be fetched later where not everybody sees them.
 * @throws CommandError usage
 */
export async function readKey(path: string): Promise<BuildKey> {
  try {
    return BuildKey.import(await readFile(path, "utf8"));
  } catch (cause) {
    throw new CommandError("usage", `--key ${path} can't be read: ${(cause as Error).message}`, { cause });
  }
}

/**
 * The same; makes it where there is none. It is there as a whole or not at all, since CI jobs may share it.
 * @throws CommandError usage
 */
export async function readOrMakeKey(path: string): Promise<BuildKey> {
  const isThere = await access(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => error.code !== "ENOENT",
  );
  if (!isThere) await makeKey(path);
  return await readKey(path);
}

async function makeKey(path: string): Promise<void> {
  const fresh = `${path}.${process.pid}.new`;
  try {
    await writeFile(fresh, BuildKey.generate().export(), { flag: "wx", mode: 0o600 });
    await link(fresh, path);
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code !== "EEXIST")
      throw new CommandError("usage", `--key ${path} can't be made: ${message}`, { cause });
  } finally {
    await rm(fresh, { force: true });
  }
}
