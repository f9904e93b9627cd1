/** Copies the files that a job's globs name out of its workspace, and lists a build's artifacts. */
import { createHash } from "node:crypto";
import { constants, readdirSync, realpathSync } from "node:fs";
import { chmod, copyFile, type FileHandle, lstat, open, realpath, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { reason } from "#/lib/errors.ts";
import { BuildError } from "./errors.ts";
import { makeFolders, openInside } from "./workspace/files.ts";
import { findFiles, quote, Warnings, walk } from "./workspace/find.ts";
import { type BuildPeriod, OldFiles } from "./workspace/period.ts";
import { inside, openBelow, reclaimFolder, removeTree } from "./workspace/remove.ts";

export interface Artifact {
  /** Relative, with "/" between names for which isName() holds. */
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  /** Hex; absent: a stop left no time to compute it. */
  readonly sha256?: string;
  /** It is older than the build, and kept because the job says so. */
  readonly stale?: true;
}

export interface ArtifactLimits {
  readonly maxFiles: number;
  /** All files together. */
  readonly maxBytes: number;
}

/** How much is copied or hashed before the signal is looked at again, in bytes. */
const pieceSize = 1024 * 1024;

const defaultLimits: ArtifactLimits = { maxFiles: 1000, maxBytes: 1024 ** 3 };

/**
 * Copies the files that the globs match to the same paths below a folder; where the file system can, they share their blocks.
 * What the job itself put there (by LABGEAR_ARTIFACTS) is listed as well. Only regular files count; links are followed if
 * they end inside the workspace. Files beyond the limits are left out.
 * @param parts.into the folder; it is created if it is missing
 * @param parts.period of the build; absent: all files are its own
 * @param parts.stale what happens to older files
 * @param parts.own files of our own
 * @param parts.signal its abort ends the copying: the files that are complete by then are listed
 * @returns the files, sorted by path, a line for each thing that was left out, and what of the workspace can't be opened for want of rights
 * @throws BuildError ARTIFACTS when the disk is full or fails; whatever a job did to its folders is a warning
 */
export async function collectArtifacts(parts: {
  readonly workspace: string;
  readonly globs: readonly string[];
  readonly into: string;
  readonly limits?: Partial<ArtifactLimits>;
  readonly period?: BuildPeriod;
  readonly stale?: "skip" | "keep";
  readonly own?: ReadonlyMap<string, string>;
  readonly signal?: AbortSignal;
}): Promise<{ files: Artifact[]; warnings: string[]; denied: ReadonlySet<string> }> {
  const { signal } = parts;
  const warnings = new Warnings();
  let files: Artifact[] = [];
  try {
    const into = makeFolders(realpathSync.native(dirname(parts.into)), [basename(parts.into)]);
    // The job's own, which others look at for as long as the build is kept.
    if (readdirSync(into).length > 0) await reclaimFolder(into);
    const copying = new Copying({ ...parts, into, limits: { ...defaultLimits, ...parts.limits } }, warnings);
    await copying.run();
    // Most builds have none.
    if (readdirSync(into).length > 0) files = await inventory(into, copying, warnings, signal);
  } catch (cause) {
    if (isDiskFailure(cause)) throw notStored(cause, parts.into);
    warnings.add(`no more artifacts can be kept: ${reason(cause)}`);
  }
  if (signal?.aborted) warnings.add(`${cutShort(signal)}; some artifacts are missing`);
  return { files, warnings: warnings.lines, denied: warnings.denied };
}

/** Whether the box is at fault, not what a job did to its files. */
export function isDiskFailure(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (["ENOSPC", "EDQUOT", "EROFS", "EIO"].includes(reason(cause))) return true;
  }
  return false;
}

function notStored(cause: unknown, into: string): BuildError {
  const full = ["ENOSPC", "EDQUOT"].includes(reason(cause));
  const why = full
    ? `the disk that holds ${into} is full; free some space, or lower builds: keep`
    : (cause as Error).message;
  return new BuildError("ARTIFACTS", `the artifacts can't be stored: ${why}`, { cause });
}

/** Why an aborted signal ended the collecting. */
export function cutShort(signal: AbortSignal): string {
  return signal.reason?.name === "TimeoutError"
    ? "it took too long to collect them"
    : "the build was stopped";
}

class Copying {
  readonly #parts: Parameters<typeof collectArtifacts>[0];
  readonly limits: ArtifactLimits;
  readonly #warnings: Warnings;
  readonly #seen = new Set<string>();
  readonly old: OldFiles;
  #bytes = 0;

  constructor(
    parts: Parameters<typeof collectArtifacts>[0] & { limits: ArtifactLimits },
    warnings: Warnings,
  ) {
    this.#parts = parts;
    this.limits = parts.limits;
    this.#warnings = warnings;
    this.old = new OldFiles(parts);
  }

  async run(): Promise<void> {
    const { workspace, globs, into, own = new Map(), signal } = this.#parts;
    for (const [name, content] of own) {
      await removeTree(join(into, name));
      await writeFile(join(into, name), content, { flag: "wx" });
    }
    const base = globs.length > 0 ? await realWorkspace(workspace, this.#warnings) : undefined;
    for (const glob of base === undefined ? [] : globs) {
      if (signal?.aborted) return;
      await this.#copyMatches(base ?? "", glob);
    }
    for (const line of this.old.lines) this.#warnings.add(line);
  }

  async #copyMatches(base: string, glob: string): Promise<void> {
    const { signal } = this.#parts;
    for await (const path of findFiles(base, glob, this.#warnings, signal)) {
      if (signal?.aborted) return;
      if (this.#seen.has(path)) continue;
      if (this.#seen.size >= this.limits.maxFiles) {
        this.#warnings.add(
          `${quote(glob)} matches more than the ${this.limits.maxFiles} files that are kept; the rest is left out`,
        );
        return;
      }
      const why = await this.#copyOne(base, path);
      if (why !== undefined) this.#warnings.add(`${quote(path)} is left out: ${why}`);
    }
  }

  /** @returns why the file is left out; undefined also when the signal ended it */
  async #copyOne(base: string, path: string): Promise<string | undefined> {
    const { into, signal } = this.#parts;
    const file = await openInside(base, path);
    if (file === "EACCES") this.#warnings.deny(path);
    if (typeof file === "string") return file;
    await using _ = file;
    const stat = await file.stat({ bigint: true });
    if (this.old.leavesOut(path, stat)) return undefined;
    const size = Number(stat.size);
    if (this.#bytes + size > this.limits.maxBytes)
      return `its ${size} bytes would exceed the limit of ${this.limits.maxBytes} for all artifacts`;
    try {
      if (!(await copy(file, into, path, signal))) return undefined;
    } catch (error) {
      // A disk of the job's own that fails, such as one it mounted, is its own matter.
      const isOwn = reason(error) === "EIO" && stat.dev !== (await lstat(into, { bigint: true })).dev;
      if (isDiskFailure(error) && !isOwn) throw error;
      return reason(error);
    }
    this.#seen.add(path);
    this.#bytes += size;
    return undefined;
  }
}

/** The workspace as it was given to the job; undefined: the job removed or replaced it, which is a warning. */
export async function realWorkspace(workspace: string, warnings: Warnings): Promise<string | undefined> {
  const real = await realpath(workspace).catch(() => undefined);
  if (real === workspace && (await lstat(real)).isDirectory()) return real;
  warnings.add("the job removed its workspace, and with it what was to be kept");
  return undefined;
}

/** @returns false when the signal ended it; nothing is left of the copy then */
async function copy(
  file: FileHandle,
  into: string,
  path: string,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const names = path.split("/");
  const last = Buffer.from(names.pop() ?? "");
  makeFolders(into, names);
  await using folder = await openBelow(
    into,
    names.map((name) => Buffer.from(name)),
  );
  const target = inside(folder, last);
  // The job may have put a link there, and we would write through it.
  await removeTree(target);
  try {
    const whole = (await clone(file, target)) || (await copyBytes(file, target, signal));
    if (!whole) await removeTree(target);
    return whole;
  } catch (error) {
    await removeTree(target);
    throw error;
  }
}

/** Makes a copy that shares the file's blocks. @returns false where the file system can't */
async function clone(file: FileHandle, target: Buffer): Promise<boolean> {
  // By descriptor: this is the file that was checked.
  const from = `/proc/self/fd/${file.fd}`;
  const how = constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE_FORCE;
  const cloned = await copyFile(from, target, how).then(
    () => true,
    () => false,
  );
  if (cloned) await chmod(target, 0o644);
  return cloned;
}

/** @returns false when the signal ended it */
async function copyBytes(
  file: FileHandle,
  target: Buffer,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  await using copied = await open(target, "wx", 0o644);
  const buffer = Buffer.allocUnsafe(pieceSize);
  for (let at = 0; ; ) {
    if (signal?.aborted) return false;
    const { bytesRead } = await file.read(buffer, 0, pieceSize, at);
    if (bytesRead === 0) return true;
    await copied.writeFile(buffer.subarray(0, bytesRead));
    at += bytesRead;
  }
}

/** Lists the files in the artifacts' folder, and removes everything else. */
async function inventory(
  into: string,
  { limits, old }: Copying,
  warnings: Warnings,
  signal: AbortSignal | undefined,
): Promise<Artifact[]> {
  const files: Artifact[] = [];
  let bytes = 0;
  let looked = 0;
  for await (const { path, bytes: name, problem } of walk(into, "", Number.POSITIVE_INFINITY, warnings)) {
    // After a stop there is time to list as many files as are kept, not to remove any number of others.
    if (++looked > limits.maxFiles && signal?.aborted) break;
    const file = problem ?? (await openInside(into, path));
    await using _ = typeof file === "string" ? undefined : file;
    const size = typeof file === "string" ? 0 : (await file.stat()).size;
    const over = files.length >= limits.maxFiles || bytes + size > limits.maxBytes;
    if (typeof file === "string" || over) {
      const why = over ? "there are too many artifacts, or they are too large" : file;
      warnings.add(`the artifact ${quote(path)} is removed: ${why}`);
      const left = await removeBelow(into, name).catch(reason);
      if (left) warnings.add(`the artifact ${quote(path)} can't be removed: ${left}`);
      continue;
    }
    const sha256 = await digest(file, size, signal);
    const stale = old.has(path);
    files.push({
      path,
      size,
      ...(sha256 !== undefined && { sha256 }),
      ...(stale && { stale: true as const }),
    });
    bytes += size;
  }
  return files.sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** @param path its names are bytes */
async function removeBelow(into: string, path: Buffer): Promise<void> {
  const names: Buffer[] = [];
  let start = 0;
  for (let at = path.indexOf("/"); at >= 0; at = path.indexOf("/", start)) {
    names.push(path.subarray(start, at));
    start = at + 1;
  }
  await using folder = await openBelow(into, names);
  await removeTree(inside(folder, path.subarray(start)));
}

/** Reads the file up to its size, even if something still appends to it. @returns undefined: the signal ended it */
async function digest(
  file: FileHandle,
  size: number,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  const hash = createHash("sha256");
  const buffer = Buffer.allocUnsafe(Math.min(size, pieceSize));
  for (let at = 0; at < size; ) {
    if (signal?.aborted) return undefined;
    const { bytesRead } = await file.read(buffer, 0, Math.min(buffer.length, size - at), at);
    if (bytesRead === 0) break;
    hash.update(buffer.subarray(0, bytesRead));
    at += bytesRead;
  }
  return hash.digest("hex");
}
