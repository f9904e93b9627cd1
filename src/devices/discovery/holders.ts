/** Finds the processes that have a device file open, as far as this user may see them. */
import { readdir, readFile, readlink } from "node:fs/promises";

/** @returns one "NAME (pid N)" each; this process is left out. A user other than root sees only processes of their own. */
export async function holdersOf(path: string, proc = "/proc"): Promise<string[]> {
  const found: string[] = [];
  for (const pid of await readdir(proc).catch(() => [])) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue;
    if (!(await hasOpen(`${proc}/${pid}/fd`, path))) continue;
    const name = await readFile(`${proc}/${pid}/comm`, "utf8").catch(() => "");
    found.push(`${name.trim().replaceAll(/[^\x20-\x7e]/g, "?") || "a program"} (pid ${pid})`);
  }
  return found;
}

async function hasOpen(folder: string, path: string): Promise<boolean> {
  for (const descriptor of await readdir(folder).catch(() => []))
    if ((await readlink(`${folder}/${descriptor}`).catch(() => "")) === path) return true;
  return false;
}
