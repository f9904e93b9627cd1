/** Reads the builds on disk when the agent starts, whatever state they are in. */
import { randomUUID } from "node:crypto";
import { mkdir, readdir, rename } from "node:fs/promises";
import { join } from "node:path";
import { jobOfFolder } from "#/lib/job-folder.ts";
import { removeHalfWritten } from "#/lib/replace-file.ts";
import { BuildError } from "./errors.ts";
import { type BuildRecord, readRecord, recordFile, writeRecord } from "./record.ts";
import { quote } from "./workspace/find.ts";
import { removeTree } from "./workspace/remove.ts";

export interface LoadedBuilds {
  /** Builds without an end; they are recorded as lost now. */
  readonly lost: readonly BuildRecord[];
  /** The highest number of each job's folders, readable or not. */
  readonly highest: ReadonlyMap<string, number>;
  /** A line for each thing that was wrong. */
  readonly warnings: readonly string[];
}

/**
 * Reads all builds, `FOLDER/JOB/NUMBER/`. A build without an end is recorded as lost; a damaged record is set aside; what
 * can't be read, or isn't ours, is left alone.
 * @param folder it is created if it is missing
 * @param onBuild called with each build
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
      // A plain file between the folders does no harm.
      if (code !== "ENOTDIR") warnings.push(`${quote(path)} is left alone: ${quote(message)}`);
    }
  };
  for (const jobPart of await listFolders(folder, warnings)) {
    const job = jobOfFolder(jobPart);
    await attempt(join(folder, jobPart), async () => {
      for (const name of await readdir(join(folder, jobPart))) {
        const place = join(folder, jobPart, name);
        // A crash leaves half-made (.new-N) and half-removed (.old-…) folders.
        if (/^\.(new|old)-/.test(name)) await attempt(place, () => removeTree(place));
        // A number with more digits isn't ours, and might leave no higher ones.
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

async function listFolders(folder: string, warnings: string[]): Promise<string[]> {
  try {
    await mkdir(folder, { recursive: true }).catch(async (error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST" && error.code !== "ENOENT") throw error;
      // A file, or a link to nowhere.
      const aside = `${folder}.damaged-${randomUUID()}`;
      await rename(folder, aside);
      warnings.push(`${quote(folder)} was no folder and is now ${quote(aside)}; a new one is made`);
      await mkdir(folder, { recursive: true });
    });
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
