/** Artifacts: copies what a job's globs name out of its workspace, and lists all that there is to show. */
import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { chmod, copyFile, type FileHandle, lstat, realpath } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { BuildError } from "./errors.ts";
import { makeFolders, openInside } from "./workspace/files.ts";
import { findFiles, quote, Warnings, walk } from "./workspace/find.ts";
import { removeTree } from "./workspace/workspace.ts";

export interface Artifact {
  /** Relative, with "/" between names; none of them odd. */
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  /** Hex. */
  readonly sha256: string;
}

export interface ArtifactLimits {
  readonly files: number;
  /** Of all together. */
  readonly bytes: number;
}

const standard: ArtifactLimits = { files: 1000, bytes: 1024 ** 3 };

/**
 * Copies the files that the globs match to the same paths below a folder, sharing blocks where the file
 * system can. What the job itself put there (by LABGEAR_ARTIFACTS) is listed as well. Only regular files
 * count; links are followed as long as they end inside the workspace. Whatever is over the limits is left
 * out.
 * @param parts.into the folder; made when it isn't there
 * @returns the files, sorted by path, and one line for each thing that was left out
 * @throws BuildError ARTIFACTS when they can't be stored
 */
export async function collectArtifacts(parts: {
  readonly workspace: string;
  readonly globs: readonly string[];
  readonly into: string;
  readonly limits?: Partial<ArtifactLimits>;
}): Promise<{ files: Artifact[]; warnings: string[] }> {
  const limits = { ...standard, ...parts.limits };
  const warnings = new Warnings();
  try {
    const base = await realpath(parts.workspace);
    const into = await makeFolders(await realpath(dirname(parts.into)), [basename(parts.into)]);
    await copyAll(base, parts.globs, into, limits, warnings);
    const files = await inventory(into, limits, warnings);
    return { files, warnings: warnings.lines };
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const full = code === "ENOSPC" || code === "EDQUOT";
    const why = full
      ? `the disk that holds ${parts.into} is full; make room, or lower builds: keep`
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
): Promise<void> {
  const seen = new Set<string>();
  let bytes = 0;
  for (const glob of globs) {
    for await (const path of findFiles(base, glob, warnings)) {
      if (seen.has(path)) continue;
      if (seen.size >= limits.files) {
        warnings.add(
          `${quote(glob)} matches more than the ${limits.files} files that are kept: the rest is left out`,
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
      if (bytes + size > limits.bytes) {
        warnings.add(
          `${quote(path)} is left out: with its ${size} bytes there would be over ${limits.bytes}`,
        );
        continue;
      }
      await copy(file, into, path);
      seen.add(path);
      bytes += size;
    }
  }
}

async function copy(file: FileHandle, into: string, path: string): Promise<void> {
  const names = path.split("/");
  const target = join(await makeFolders(into, names.slice(0, -1)), names.at(-1) ?? "");
  // The job may have put anything there, such as a link to write through.
  await removeTree(target);
  try {
    // By descriptor, so that it is the file that was checked.
    const from = `/proc/self/fd/${file.fd}`;
    await copyFile(from, target, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
    await chmod(target, 0o644);
  } catch (error) {
    await removeTree(target);
    throw error;
  }
}

/** Lists what is in the folder of the artifacts, and removes what can't stay. */
async function inventory(into: string, limits: ArtifactLimits, warnings: Warnings): Promise<Artifact[]> {
  const files: Artifact[] = [];
  let bytes = 0;
  for await (const path of walk(into, "", Number.POSITIVE_INFINITY, warnings)) {
    const at = join(into, path);
    const { size } = await lstat(at);
    const over = files.length >= limits.files || bytes + size > limits.bytes;
    const file = over ? "there are too many, or they are too large" : await openInside(into, path);
    if (typeof file === "string") {
      warnings.add(`the artifact ${quote(path)} is removed: ${file}`);
      await removeTree(at);
      continue;
    }
    await using _ = file;
    const hash = createHash("sha256");
    // To its size and no further, though something may still be writing it.
    const content = file.createReadStream({ autoClose: false, start: 0, end: Math.max(0, size - 1) });
    if (size > 0) for await (const chunk of content) hash.update(chunk);
    files.push({ path, size, sha256: hash.digest("hex") });
    bytes += size;
  }
  return files.sort((a, b) => (a.path < b.path ? -1 : 1));
}
