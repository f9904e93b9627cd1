/** Copies the files that a job's globs name out of its workspace, and lists a build's artifacts. */
import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { chmod, copyFile, type FileHandle, lstat, open, realpath } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { BuildError } from "./errors.ts";
import { makeFolders, openInside } from "./workspace/files.ts";
import { findFiles, quote, Warnings, walk } from "./workspace/find.ts";
import { removeTree } from "./workspace/remove.ts";

export interface Artifact {
  /** Relative, with "/" between names for which isName() holds. */
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  /** Hex; absent: a stop left no time to compute it. */
  readonly sha256?: string;
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
 * @param parts.signal its abort ends the copying: the files that are complete by then are listed
 * @returns the files, sorted by path, and a line for each thing that was left out
 * @throws BuildError ARTIFACTS when they can't be stored
 */
export async function collectArtifacts(parts: {
  readonly workspace: string;
  readonly globs: readonly string[];
  readonly into: string;
  readonly limits?: Partial<ArtifactLimits>;
  readonly signal?: AbortSignal;
}): Promise<{ files: Artifact[]; warnings: string[] }> {
  const limits = { ...defaultLimits, ...parts.limits };
  const { signal } = parts;
  const warnings = new Warnings();
  try {
    const base = await realpath(parts.workspace);
    const into = await makeFolders(await realpath(dirname(parts.into)), [basename(parts.into)]);
    await copyAll(base, parts.globs, into, limits, warnings, signal);
    const files = await inventory(into, limits, warnings, signal);
    if (signal?.aborted) warnings.add("the build was stopped; some artifacts are missing");
    return { files, warnings: warnings.lines };
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const full = code === "ENOSPC" || code === "EDQUOT";
    const why = full
      ? `the disk that holds ${parts.into} is full; free some space, or lower builds: keep`
      : message;
    throw new BuildError("ARTIFACTS", `the artifacts can't be stored: ${why}`, { cause });
  }
}

async function copyAll(
  base: string,
  globs: readonly string[],
  into: string,
  limits: ArtifactLimits,
  warnings: Warnings,
  signal: AbortSignal | undefined,
): Promise<void> {
  const seen = new Set<string>();
  let bytes = 0;
  for (const glob of globs) {
    for await (const path of findFiles(base, glob, warnings, signal)) {
      if (signal?.aborted) return;
      if (seen.has(path)) continue;
      if (seen.size >= limits.maxFiles) {
        warnings.add(
          `${quote(glob)} matches more than the ${limits.maxFiles} files that are kept; the rest is left out`,
        );
        break;
      }
      const file = await openInside(base, path);
      if (typeof file === "string") {
        warnings.add(`${quote(path)} is left out: ${file}`);
        continue;
      }
      await using _ = file;
      const { size } = await file.stat();
      if (bytes + size > limits.maxBytes) {
        warnings.add(
          `${quote(path)} is left out: its ${size} bytes would exceed the limit of ${limits.maxBytes} for all artifacts`,
        );
        continue;
      }
      if (!(await copy(file, into, path, signal))) return;
      seen.add(path);
      bytes += size;
    }
  }
}

/** @returns false when the signal ended it; nothing is left of the copy then */
async function copy(
  file: FileHandle,
  into: string,
  path: string,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const names = path.split("/");
  const target = join(await makeFolders(into, names.slice(0, -1)), names.at(-1) ?? "");
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
async function clone(file: FileHandle, target: string): Promise<boolean> {
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
  target: string,
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
  limits: ArtifactLimits,
  warnings: Warnings,
  signal: AbortSignal | undefined,
): Promise<Artifact[]> {
  const files: Artifact[] = [];
  let bytes = 0;
  let looked = 0;
  for await (const path of walk(into, "", Number.POSITIVE_INFINITY, warnings)) {
    // After a stop there is time to list as many files as are kept, not to remove any number of others.
    if (++looked > limits.maxFiles && signal?.aborted) break;
    const at = join(into, path);
    const { size } = await lstat(at);
    const over = files.length >= limits.maxFiles || bytes + size > limits.maxBytes;
    const file = over ? "there are too many artifacts, or they are too large" : await openInside(into, path);
    if (typeof file === "string") {
      warnings.add(`the artifact ${quote(path)} is removed: ${file}`);
      await removeTree(at);
      continue;
    }
    await using _ = file;
    const sha256 = await digest(file, size, signal);
    files.push({ path, size, ...(sha256 !== undefined && { sha256 }) });
    bytes += size;
  }
  return files.sort((a, b) => (a.path < b.path ? -1 : 1));
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
