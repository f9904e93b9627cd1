/** Reads the builds on disk when the agent starts, whatever state they are in. */
import { randomUUID } from "node:crypto";
import { readdirSync, renameSync } from "node:fs";
import { mkdir, readdir, rename } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { jobOfFolder } from "#/lib/job-folder.ts";
import { removeHalfWritten } from "#/lib/replace-file.ts";
import { appendNote } from "./console/log.ts";
import { BuildError } from "./errors.ts";
import { type IndexEntry, isSameStamp, readIndex, type Stamp, stampOf, stampOfRecord } from "./index.ts";
import {
  type BuildRecord,
  type BuildSummary,
  recordFile,
  recordReader,
  summarize,
  writeRecord,
} from "./record.ts";
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

const lostReason = "the agent ended while the build ran";

type RecordReader = Awaited<ReturnType<typeof recordReader>>;

/** How many builds are read before anything else has its turn. */
const batchSize = 500;

/**
 * Reads all builds, `FOLDER/JOB/NUMBER/`, from their records or, where those are as the index knows them, from it. A build
 * without an end is recorded as lost; a damaged record is set aside; what can't be read, or isn't ours, is left alone.
 * @param folder it is created if it is missing
 * @param parts.index the index's file
 * @param parts.onBuild called with each build, and the stamp of its record
 * @param parts.onProgress called again and again while builds are read
 * @throws BuildError STORE when the folder can't be used at all
 */
export async function loadBuilds(
  folder: string,
  {
    index,
    onBuild,
    onProgress,
  }: {
    index: string;
    onBuild: (summary: BuildSummary, stamp?: Stamp) => void;
    onProgress: () => void;
  },
): Promise<LoadedBuilds> {
  const highest = new Map<string, number>();
  const warnings: string[] = [];
  const lost: { readonly place: string; readonly record: BuildRecord }[] = [];
  let read: RecordReader | undefined;
  const jobs = await listFolders(folder, warnings);
  const known = readOrForget(index, warnings);
  for (const jobPart of jobs) {
    const jobPlace = join(folder, jobPart);
    const job = jobOfFolder(jobPart);
    for (const [index, name] of (
      (await attempt(jobPlace, warnings, () => readdirSync(jobPlace))) ?? []
    ).entries()) {
      if (index % batchSize === 0) {
        onProgress();
        await nextTurn();
      }
      // Not join(), which normalizes what it is given: of tens of thousands, that takes time.
      const place = `${jobPlace}/${name}`;
      // A crash leaves half-made (.new-N) and half-removed (.old-…) folders.
      if (/^\.(new|old)-/.test(name)) await attempt(place, warnings, () => removeTree(place));
      // A number with more digits isn't ours, and might leave no higher ones.
      if (!/^[1-9][0-9]{0,14}$/.test(name)) continue;
      const number = Number(name);
      highest.set(job, Math.max(number, highest.get(job) ?? 0));
      const entry = known.get(`${job}#${number}`);
      const stamp = entry && stampOfRecord(place);
      if (stamp && isSameStamp(stamp, entry.stamp)) {
        onBuild(entry.summary, stamp);
        continue;
      }
      read ??= await recordReader();
      const reader = read;
      await attempt(place, warnings, () => {
        removeHalfWritten(recordFile(place));
        const found = readOrSetAside(place, { job, number }, reader, warnings);
        if (!found) return;
        const { record, stat } = found;
        if (record.ended === undefined) lost.push({ place, record });
        else onBuild(summarize(record), stampOf(stat));
      });
    }
  }
  for (const { place, record } of lost) {
    record.ended = new Date().toISOString();
    record.ending = { kind: "lost", reason: lostReason };
    onBuild(record);
    await attempt(place, warnings, async () => {
      await writeRecord(place, record);
      await appendNote(place, lostReason);
    });
  }
  return { lost: lost.map(({ record }) => record), highest, warnings };
}

/** Without an index, every record is read. */
function readOrForget(file: string, warnings: string[]): Map<string, IndexEntry> {
  try {
    return readIndex(file);
  } catch (error) {
    const why = quote((error as Error).message);
    warnings.push(`${quote(file)} can't be used (${why}): every build's record is read instead`);
    return new Map();
  }
}

async function attempt<T>(
  path: string,
  warnings: string[],
  act: () => T | Promise<T>,
): Promise<T | undefined> {
  try {
    return await act();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    // A plain file between the folders does no harm.
    if (code !== "ENOTDIR") warnings.push(`${quote(path)} is left alone: ${quote(message)}`);
    return undefined;
  }
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

function readOrSetAside(
  folder: string,
  { job, number }: { readonly job: string; readonly number: number },
  read: RecordReader,
  warnings: string[],
): ReturnType<RecordReader> | undefined {
  const file = recordFile(folder);
  try {
    const found = read(folder);
    const { record } = found;
    if (record.job === job && record.number === number) return found;
    throw new SyntaxError(`it is the record of ${record.job}#${record.number}`);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    renameSync(file, `${file}.damaged`);
    warnings.push(
      `${quote(file)} is damaged and was set aside as build.json.damaged: ${quote(error.message)}`,
    );
    return undefined;
  }
}
