/** How much room a file system has. */
import { statfs } from "node:fs/promises";

/** Bytes that this process may still write where the path is; what is reserved for root doesn't count. */
export async function freeSpace(path: string): Promise<number> {
  const { bavail, bsize } = await statfs(path);
  return bavail * bsize;
}
