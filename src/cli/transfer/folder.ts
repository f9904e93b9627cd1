/** Where fetched files go. Their names come from a build and the folder may come from a change, so neither leads out of it. */
import { createHash } from "node:crypto";
import { constants, createReadStream, type Stats } from "node:fs";
import { type FileHandle, lstat, mkdir, open, rename, rm, stat } from "node:fs/promises";
import { dirname, isAbsolute, join, normalize, sep } from "node:path";
import { shown } from "#/lib/text.ts";
import { CommandError } from "../exit.ts";

/**
 * Names that Windows gives another meaning: streams, devices, other folders, or the same name without its end (Win32, "Naming Files,
 * Paths, and Namespaces"). Superscript digits count as digits, and what follows a device's name doesn't matter.
 */
const notOnWindows =
  /[\\:*?"<>|]|[. ]$|^(con|conin\$|conout\$|clock\$|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]) *(\.|$)/i;
const ignoresCase = ["win32", "darwin"].includes(process.platform);

export class ResultFolder {
  /** What the user vouches for: all of an absolute path, of a relative one where the command runs. */
  readonly #base: string;
  readonly #parts: readonly string[];
  readonly #names = new Set<string>();
  /** Of results that come here, or came: none of them is another one's unfinished file. */
  readonly #reserved: ReadonlySet<string>;

  /**
   * @param path it is created when the first file is
   * @param names all that a build has for it
   */
  constructor(path: string, names: Iterable<string> = []) {
    this.#reserved = new Set(Array.from(names, keyOf));
    const parts = normalize(path).split(sep);
    const isBelow = !isAbsolute(path) && parts[0] !== "..";
    this.#base = isBelow ? "." : path;
    this.#parts = isBelow ? parts.filter((part) => part !== "" && part !== ".") : [];
  }

  /**
   * Opens the file that a result is collected in until it is whole; what an earlier attempt has collected is still in it.
   * @param name parts joined by slashes
   * @throws CommandError usage for a name that leads out of the folder, through a link, or to another result's file
   */
  async open(name: string): Promise<PartialFile> {
    const parts = name.split("/");
    if (parts.some((part) => !isFileName(part))) throw refusal(name, "can't be a file here");
    const key = keyOf(name);
    if (this.#names.has(key))
      throw refusal(name, "has the name of another one, apart from upper and lower case");
    this.#names.add(key);
    await makeFolders(this.#base);
    let folder = this.#base;
    for (const part of [...this.#parts, ...parts.slice(0, -1)]) {
      folder = join(folder, part);
      await mkdir(folder).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== "EEXIST") throw refusal(name, `can't be written (${error.code})`);
      });
      // Not stat: a link would lead out.
      if (!(await lstat(folder)).isDirectory()) throw refusal(name, `${folder} is no folder`);
    }
    let suffix = ".part";
    while (this.#reserved.has(keyOf(name + suffix))) suffix += ".part";
    return await PartialFile.open(join(folder, parts.at(-1) ?? ""), name, suffix);
  }
}

/** Whether a part of a path is a plain name. @internal */
export function isFileName(part: string, platform: NodeJS.Platform = process.platform): boolean {
  return (
    !["", ".", ".."].includes(part) &&
    !part.includes("\0") &&
    !(platform === "win32" && notOnWindows.test(part))
  );
}

/** The same for names of the same file. */
function keyOf(name: string): string {
  return ignoresCase ? name.normalize("NFC").toLowerCase() : name;
}

/** Node's own way never ends below /proc, where a folder that is there can't get another one (ENOENT). */
async function makeFolders(path: string): Promise<void> {
  const make = async () => {
    try {
      await mkdir(path);
    } catch (error) {
      if (!(await stat(path).catch(() => undefined))?.isDirectory()) throw error;
    }
  };
  try {
    await make();
  } catch (error) {
    const above = dirname(path);
    if ((error as NodeJS.ErrnoException).code !== "ENOENT" || above === path) throw error;
    await makeFolders(above);
    await make();
  }
}

/** A file that is collected beside its name, and gets the name when it is whole. */
export class PartialFile implements AsyncDisposable {
  readonly handle: FileHandle;
  /** Bytes that are there already. */
  readonly size: number;
  readonly #partial: string;
  readonly #target: string;

  private constructor(handle: FileHandle, size: number, partial: string, target: string) {
    this.handle = handle;
    this.size = size;
    this.#partial = partial;
    this.#target = target;
  }

  /** @param suffix of the unfinished file's name */
  static async open(target: string, name: string, suffix: string): Promise<PartialFile> {
    const taken = await lstat(target).catch((): undefined => undefined);
    if (taken?.isDirectory()) throw refusal(name, `can't be written: ${target} is a folder`);
    const partial = target + suffix;
    const existing = await lstat(partial).catch((): undefined => undefined);
    if (existing && !isOurs(existing)) throw refusal(name, `${partial} is in its way: remove it`);
    // Windows has no O_NOFOLLOW, and lets only administrators make links.
    const flags = constants.O_RDWR | constants.O_CREAT | (constants.O_NOFOLLOW ?? 0);
    const handle = await open(partial, flags, 0o644).catch((error: NodeJS.ErrnoException) => {
      throw refusal(name, `can't be written (${error.code})`);
    });
    return new PartialFile(handle, (await handle.stat()).size, partial, target);
  }

  /** Whether an earlier attempt has brought the whole of it here already. */
  async isHere(size: number, sha256: string): Promise<boolean> {
    const existing = await lstat(this.#target).catch((): undefined => undefined);
    if (!existing || !isOurs(existing) || existing.size !== size) return false;
    const hash = createHash("sha256");
    try {
      for await (const chunk of createReadStream(this.#target)) hash.update(chunk);
    } catch {
      return false;
    }
    return hash.digest("hex") === sha256;
  }

  /** Gives it its name. A link of that name is replaced, not followed. */
  async finish(): Promise<void> {
    await this.handle.close();
    await rename(this.#partial, this.#target);
  }

  async discard(): Promise<void> {
    await this.handle.close();
    await rm(this.#partial, { force: true });
  }

  /** Closes it; what is in it stays for the next attempt. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.handle.close().catch(() => {});
  }
}

/** A second name of it could be a file elsewhere. */
function isOurs(file: Stats): boolean {
  return file.isFile() && file.nlink === 1;
}

function refusal(name: string, why: string): CommandError {
  return new CommandError("usage", `${shown(name, 200)} ${why}`);
}
