/** Finds the processes that a test's marker names, in their command line, environment or working directory. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** The living processes, other than this one, that carry the marker; one line each. Empty proves that none survived. */
export function processesMarked(marker: string): string[] {
  const found: string[] = [];
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    if (Number(pid) === process.pid) continue;
    const [stat, line, environment] = ["stat", "cmdline", "environ"].map((file) =>
      read(`/proc/${pid}/${file}`),
    );
    if (/^\d+ \(.*\) [ZX]/s.test(stat ?? "")) continue;
    const directory = link(`/proc/${pid}/cwd`);
    if (![line, environment, directory].some((text) => text?.includes(marker))) continue;
    found.push(`${pid} ${line?.replaceAll("\0", " ").trim()} (in ${directory})`);
  }
  return found;
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return undefined;
  }
}

function link(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}
