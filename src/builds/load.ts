/** Reading the builds that are on disk at the start, whatever has become of them. */
import { mkdir, readdir, rename } from "node:fs/promises";
import { join } from "node:path";
import { removeHalfWritten } from "#/lib/replace-file.ts";
import { BuildError } from "./errors.ts";
import { type BuildRecord, readRecord, recordFile, writeRecord } from "./record.ts";
import { quote } from "./workspace/find.ts";
import { removeTree } from "./workspace/workspace.ts";

export interface LoadedBuilds {
  /** Those that had no end; they are recorded as lost now. */
  readonly lost: readonly BuildRecord[];
  /** The highest number that each job has given to a folder, readable or not. */
  readonly highest: ReadonlyMap<string, number>;
  /** A line for each thing that wasn't as it should be. */
  readonly warnings: readonly string[];
}

/**
 * Reads all builds, `FOLDER/JOB/NUMBER/`. One without an end is recorded as lost; a damaged record is set aside; what can't
 * be read, or isn't ours, is left alone.
 * @param folder made when it isn't there
 * @param onBuild is given each build; none is kept here
 * @throws BuildError STORE when the folder can't be used at all
 */
export async function loadBuilds(
  folder: string,
  onBuild: (record: BuildRecord) => void,
): Promise<LoadedBuilds> {
  const lost: BuildRecord[] = [];
  const highest = new Map<string, number>();
  const warnings: string[] = [];
  const attempt = async (path: string, act: () => Promise<void>) => {
    try {
      await act();
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      // A plain file where a folder would be is nobody's concern.
      if (code !== "ENOTDIR") warnings.push(`${quote(path)} is left alone: ${quote(message)}`);
    }
  };
  for (const job of await listJobs(folder)) {
    await attempt(join(folder, job), async () => {
      for (const name of await readdir(join(folder, job))) {
        const place = join(folder, job, name);
        // What a crash left half made (.new-N) or half removed (.old-N) was never, or is no longer, a build.
        if (/^\.(new|old)-/.test(name)) await attempt(place, () => removeTree(place));
        // More digits are no number of ours, and could leave none above them.
        if (!/^[1-9][0-9]{0,14}$/.test(name)) continue;
        const number = Number(name);
        highest.set(job, Math.max(number, highest.get(job) ?? 0));
        await attempt(place, async () => {
          await removeHalfWritten(recordFile(place));
          const record = await readOrSetAside(place, job, number, warnings);
          if (!record) return;
          const unfinished = record.ended === undefined;
          if (unfinished) {
            record.ended = new Date().toISOString();
            record.ending = { kind: "lost", reason: "the agent ended while the build ran" };
            lost.push(record);
          }
          onBuild(record);
          if (unfinished) await writeRecord(place, record);
        });
      }
    });
  }
  return { lost, highest, warnings };
}

async function listJobs(folder: string): Promise<string[]> {
  try {
    await mkdir(folder, { recursive: true });
    return await readdir(folder);
  } catch (cause) {
    const reason = (cause as Error).message;
    throw new BuildError("STORE", `the builds' folder ${folder} can't be used: ${reason}`, { cause });
  }
}

async function readOrSetAside(
  folder: string,
  job: string,
  number: number,
  warnings: string[],
): Promise<BuildRecord | undefined> {
  const file = recordFile(folder);
  try {
    const record = await readRecord(folder);
    if (record.job === job && record.number === number) return record;
    throw new SyntaxError(`it is the record of ${record.job}#${record.number}`);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    await rename(file, `${file}.damaged`);
    warnings.push(
      `${quote(file)} is damaged and was set aside as build.json.damaged: ${quote(error.message)}`,
    );
    return undefined;
  }
}
