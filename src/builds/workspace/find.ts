/**
 * Finds files by globs below a folder in which a job could have left anything: in bounded memory, and never outside of the
 * folder.
 */
import { isUtf8 } from "node:buffer";
import type { Dirent } from "node:fs";
import { opendir, realpath } from "node:fs/promises";
import { isAbsolute, matchesGlob } from "node:path";
import { reason } from "#/lib/errors.ts";
import { shown } from "#/lib/text.ts";
import { isName, secureJoin } from "./files.ts";

/** For one walk. */
const maxEntries = 500_000;
const maxWarnings = 100;
const maxDenied = 1000;

/** Lines for people: 100 at most, then how many more there were. */
export class Warnings {
  /** What can't be opened for want of rights. */
  readonly denied = new Set<string>();
  readonly #lines: string[] = [];
  #more = 0;

  add(line: string): void {
    if (this.#lines.length < maxWarnings) this.#lines.push(line);
    else this.#more += 1;
  }

  /** @param path of what can't be opened */
  deny(path: string): void {
    if (this.denied.size < maxDenied) this.denied.add(path);
  }

  get lines(): string[] {
    return this.#more > 0 ? [...this.#lines, `and ${this.#more} more like these`] : [...this.#lines];
  }
}

/**
 * The files that match a glob, as in `fs.glob` and shells: `*` and `**` don't match names that start with a dot. A glob that
 * names a folder means everything in it. Links to folders aren't followed. (`fs.glob` itself reads whole folders into memory:
 * 60 MB for 300,000 files.)
 * @param base the folder's real path
 * @param warnings gets a line when the glob isn't relative, matches nothing, or there are too many files
 * @param signal its abort ends the search
 * @returns paths relative to base, of everything that isn't a folder
 */
export async function* findFiles(
  base: string,
  glob: string,
  warnings: Warnings,
  signal?: AbortSignal,
): AsyncGenerator<string> {
  const parts = glob.split("/").filter((part) => part !== "" && part !== ".");
  if (isAbsolute(glob) || parts.length === 0 || parts.includes("..") || !parts.every(isName)) {
    warnings.add(`${quote(glob)} is not a glob inside the workspace`);
    return;
  }
  const magic = parts.findIndex((part) => /[*?[\]{}()!@+\\]/.test(part));
  if (magic < 0 && (await isFolder(base, parts.join("/"), warnings))) parts.push("**");
  const pattern = parts.join("/");
  const from = parts.slice(0, magic < 0 ? -1 : magic).join("/");
  const deep = pattern.includes("**") || /[{(][^})]*\//.test(pattern);
  let matches = 0;
  const depth = deep ? Number.POSITIVE_INFINITY : parts.length;
  for await (const { path, problem } of walk(base, from, depth, warnings, signal)) {
    if (!matchesGlob(path, pattern)) continue;
    matches += 1;
    if (problem === undefined) yield path;
    else warnings.add(`${quote(path)} is left out: ${problem}`);
  }
  if (matches === 0 && !signal?.aborted) warnings.add(`${quote(glob)} matches nothing`);
}

export interface Found {
  /** Relative to the base. */
  readonly path: string;
  /** The same as the bytes that the file system has. */
  readonly bytes: Buffer;
  /** Why nothing can be opened by this path. */
  readonly problem?: string;
}

/** In bytes; the system takes 4096, the name at the end included (PATH_MAX). */
const maxFolderPath = 3500;

/**
 * Everything below a folder that isn't a folder, and folders that are nested too deep to look into.
 * @param from where to start, relative to base; "": base itself
 * @param depth the most names that a path has
 */
export async function* walk(
  base: string,
  from: string,
  depth: number,
  warnings: Warnings,
  signal?: AbortSignal,
): AsyncGenerator<Found> {
  if (from !== "" && !(await isFolder(base, from, warnings))) return;
  const folders: Buffer[] = [Buffer.from(from)];
  let looked = 0;
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    try {
      for await (const entry of await opendir(below(base, folder), { encoding: "buffer" as "utf8" })) {
        if (signal?.aborted) return;
        if (++looked > maxEntries) {
          warnings.add(
            `more than ${maxEntries} files and folders in ${quote(from || ".")}: the rest is skipped`,
          );
          return;
        }
        // With this encoding, names are bytes.
        const { name } = entry as unknown as Dirent<Buffer>;
        const bytes = folder.length === 0 ? name : Buffer.concat([folder, Buffer.from("/"), name]);
        const path = bytes.toString();
        if (!entry.isDirectory())
          yield isUtf8(bytes) ? { path, bytes } : { path, bytes, problem: "its name is not UTF-8" };
        else if (below(base, bytes).length > maxFolderPath)
          yield { path, bytes, problem: "it is nested too deep" };
        else if (path.split("/").length < depth) folders.push(bytes);
      }
    } catch (error) {
      if (reason(error) === "EACCES") warnings.deny(folder.toString());
      const name = folder.length > 0 ? quote(folder.toString()) : "the folder itself";
      warnings.add(`${name} can't be read: ${reason(error)}`);
    }
  }
}

function below(base: string, path: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${base}/`), path]);
}

/** Any name as text on one line. */
export function quote(name: string): string {
  return shown(name, 200);
}

/** Whether it is a folder, without a link on the way to it. */
async function isFolder(base: string, relative: string, warnings: Warnings): Promise<boolean> {
  const path = secureJoin(base, relative);
  const deny = (error: unknown) => {
    if (reason(error) === "EACCES") warnings.deny(relative);
    return undefined;
  };
  if (path === undefined || (await realpath(path).catch(deny)) !== path) return false;
  const opened = await opendir(path).catch(deny);
  await opened?.close();
  return opened !== undefined;
}
