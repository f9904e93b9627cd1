/**
 * Finds files by globs below a folder that a job could fill with anything: in bounded memory, never out of
 * it.
 */
import { opendir, realpath } from "node:fs/promises";
import { isAbsolute, matchesGlob } from "node:path";
import { reason } from "#/lib/errors.ts";
import { isName, secureJoin } from "./files.ts";

/** Entries looked at for one glob, or in one walk. */
const maxEntries = 500_000;
const maxWarnings = 100;

/** Lines for people, so many at most and then a count. */
export class Warnings {
  readonly #lines: string[] = [];
  #more = 0;

  add(line: string): void {
    if (this.#lines.length < maxWarnings) this.#lines.push(line);
    else this.#more += 1;
  }

  /** All of them, each one line of printable text. */
  get lines(): string[] {
    return this.#more > 0 ? [...this.#lines, `and ${this.#more} more like these`] : [...this.#lines];
  }
}

/**
 * The files that match a glob, as `fs.glob` and shells mean it: `*` and `**` don't match names that start
 * with a dot. A glob that is the name of a folder means all that is in it. Folders that are links aren't gone
 * into. (`fs.glob` itself reads whole folders into memory: 60 MB for 300,000 files.)
 * @param base the folder's real path
 * @param warnings is told when the glob isn't a relative one, matches nothing, or there is too much to look
 * at
 * @param signal ends the search
 * @returns paths relative to base; of regular files, links and whatever else isn't a folder
 */
export async function* findFiles(
  base: string,
  glob: string,
  warnings: Warnings,
  signal?: AbortSignal,
): AsyncGenerator<string> {
  const parts = glob.split("/").filter((part) => part !== "" && part !== ".");
  if (isAbsolute(glob) || parts.length === 0 || parts.includes("..") || !parts.every(isName)) {
    warnings.add(`${quote(glob)} is no glob inside the workspace`);
    return;
  }
  const magic = parts.findIndex((part) => /[*?[\]{}()!@+\\]/.test(part));
  if (magic < 0 && (await isFolder(base, parts.join("/")))) parts.push("**");
  const pattern = parts.join("/");
  const from = parts.slice(0, magic < 0 ? -1 : magic).join("/");
  const deep = pattern.includes("**") || /[{(][^})]*\//.test(pattern);
  let matches = 0;
  const depth = deep ? Number.POSITIVE_INFINITY : parts.length;
  for await (const path of walk(base, from, depth, warnings, signal)) {
    if (!matchesGlob(path, pattern)) continue;
    matches += 1;
    yield path;
  }
  if (matches === 0 && !signal?.aborted) warnings.add(`${quote(glob)} matches nothing`);
}

/**
 * All that isn't a folder, below a folder.
 * @param from where to start, relative to base; "" for base itself
 * @param depth how many names a path may have
 */
export async function* walk(
  base: string,
  from: string,
  depth: number,
  warnings: Warnings,
  signal?: AbortSignal,
): AsyncGenerator<string> {
  if (from !== "" && !(await isFolder(base, from))) return;
  const folders = [from];
  let looked = 0;
  for (let folder = folders.pop(); folder !== undefined; folder = folders.pop()) {
    try {
      for await (const entry of await opendir(folder === "" ? base : `${base}/${folder}`)) {
        if (signal?.aborted) return;
        if (++looked > maxEntries) {
          warnings.add(
            `more than ${maxEntries} files and folders in ${quote(from || ".")}: the rest is not looked at`,
          );
          return;
        }
        const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
        if (!entry.isDirectory()) yield path;
        else if (path.split("/").length < depth) folders.push(path);
      }
    } catch (error) {
      warnings.add(`${quote(folder)} can't be read: ${reason(error)}`);
    }
  }
}

/** A name as text on one line, whatever is in it. */
export function quote(name: string): string {
  const short = name.length > 200 ? `${name.slice(0, 200)}…` : name;
  return JSON.stringify(short).replace(
    /[\u007f-\u009f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/g,
    (odd) => `\\u${odd.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** True for a folder that is really inside, not for one behind a link on the way. */
async function isFolder(base: string, relative: string): Promise<boolean> {
  const path = secureJoin(base, relative);
  if (path === undefined || (await realpath(path).catch(() => "")) !== path) return false;
  const opened = await opendir(path).catch(() => undefined);
  await opened?.close();
  return opened !== undefined;
}
