/**
 * Mirrors: where the objects of repositories are fetched to, shared by all executors, and out of every build's reach but for
 * reading. A workspace borrows the objects of its mirror (gitrepository-layout(5), objects/info/alternates).
 */
import { createHash, randomBytes } from "node:crypto";
import { chmod, lstat, mkdir, readdir, realpath, rm, utimes, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Condition } from "#/lib/condition.ts";
import { removeTree } from "../workspace/remove.ts";
import type { Source } from "./source.ts";

/** Whose objects may meet: what a change brought in never reaches a build that executes only the lab's own scripts. */
export type Trust = "changes" | "lab";

const trusts: readonly Trust[] = ["changes", "lab"];

/**
 *     STATE/mirrors/TRUST/SOURCE/GENERATION-RANDOM.git
 *
 * SOURCE is the digest of the URL, password included. Only the agent may list the folders, so that a build can read the mirrors
 * whose random name it has been given, and no others.
 */
export class Mirrors implements AsyncDisposable {
  readonly #folder: string;
  readonly #mirrors = new Map<string, Mirror>();

  readonly #trustAll: string;
  readonly #buildUids: ReadonlySet<number>;

  /** @param buildUids the users that builds run as, if they aren't the agent's own */
  constructor(stateDir: string, buildUids: Iterable<number> = []) {
    this.#folder = join(stateDir, "mirrors");
    this.#trustAll = join(this.#folder, "gitconfig");
    this.#buildUids = new Set(buildUids);
  }

  /**
   * The global configuration for a fetch. git serves no local repository of another user, unless the configuration trusts it
   * (safe.directory, git-config(1)); ours does, as long as no build can have made it or put it there.
   */
  async globalConfig({ url, transport }: Source): Promise<string> {
    if (transport !== "file" || !(await this.#isTrusted(fileURLToPath(url)))) return "/dev/null";
    await makeHidden(this.#folder);
    await writeFile(this.#trustAll, "[safe]\n\tdirectory = *\n");
    await chmod(this.#trustAll, 0o644);
    return this.#trustAll;
  }

  async #isTrusted(repository: string): Promise<boolean> {
    const real = await realpath(repository).catch(() => undefined);
    for (let path = real; path !== undefined; path = dirname(path)) {
      const { uid, mode } = await lstat(path);
      // In a sticky folder nobody can replace what belongs to others.
      const isOpen = (mode & 0o002) !== 0 && (mode & 0o1000) === 0;
      if (isOpen || this.#buildUids.has(uid)) return false;
      if (path === "/") return true;
    }
    return false;
  }

  /** The mirror of a repository, which stays whole until the result is disposed of. */
  borrow(url: string, format: string, trust: Trust): BorrowedMirror {
    const source = createHash("sha256").update(`${format} ${url}`).digest("hex").slice(0, 32);
    const folder = join(this.#folder, trust, source);
    let mirror = this.#mirrors.get(folder);
    if (!mirror) {
      mirror = new Mirror(folder);
      this.#mirrors.set(folder, mirror);
    }
    return new BorrowedMirror(mirror);
  }

  /**
   * The folders of mirrors that nothing borrows, the one unused for longest first.
   * @param before only those last used before that time, in milliseconds since the epoch
   */
  async unused(before = Number.POSITIVE_INFINITY): Promise<string[]> {
    const found: { folder: string; used: number }[] = [];
    for (const trust of trusts) {
      for (const source of await readdir(join(this.#folder, trust)).catch(() => [])) {
        const folder = join(this.#folder, trust, source);
        if (this.#mirrors.get(folder)?.isUsed) continue;
        const used = (await lstat(folder)).mtimeMs;
        if (used < before) found.push({ folder, used });
      }
    }
    return found.sort((a, b) => a.used - b.used).map(({ folder }) => folder);
  }

  /** @returns false when a build has borrowed it meanwhile */
  async remove(folder: string): Promise<boolean> {
    const mirror = this.#mirrors.get(folder) ?? new Mirror(folder);
    this.#mirrors.set(folder, mirror);
    return mirror.remove();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const mirror of this.#mirrors.values()) await mirror.close();
  }
}

/** Clears a mirror up, and leaves it whole when the signal aborts. */
type Tidy = (path: string, signal: AbortSignal) => Promise<void>;

/**
 *     unused ──borrow──▶ borrowed, by one or more ──the last gives it back──▶ tidying ──done, or borrow──▶ unused, borrowed
 *
 * Fetches exclude each other. Objects are pruned only while tidying.
 */
class Mirror {
  readonly folder: string;
  #borrowers = 0;
  #isLocked = false;
  readonly #unlocked = new Condition();
  #tidying = new AbortController();

  constructor(folder: string) {
    this.folder = folder;
  }

  get isUsed(): boolean {
    return this.#borrowers > 0;
  }

  join(): void {
    this.#borrowers += 1;
    this.#tidying.abort();
  }

  leave(tidy: Tidy | undefined): void {
    this.#borrowers -= 1;
    if (this.#borrowers > 0) return;
    this.#tidying = new AbortController();
    const { signal } = this.#tidying;
    const work = async () => {
      const [newest, ...replaced] = await this.#generations();
      for (const name of replaced) await removeTree(join(this.folder, name));
      if (newest) await tidy?.(join(this.folder, newest), signal);
    };
    // It is tried again after the next build.
    void this.exclusively(work, signal).catch(() => {});
  }

  async remove(): Promise<boolean> {
    this.#tidying.abort();
    return this.exclusively(async () => {
      if (!this.isUsed) await removeTree(this.folder);
      return !this.isUsed;
    });
  }

  async close(): Promise<void> {
    this.#tidying.abort();
    await this.exclusively(async () => {});
  }

  /** One at a time. Rejects with the signal's reason if it aborts before the turn comes. */
  async exclusively<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    await this.#unlocked.until(() => this.#lock(), signal);
    try {
      return await work();
    } finally {
      this.#isLocked = false;
      this.#unlocked.wake();
    }
  }

  #lock(): boolean {
    if (this.#isLocked) return false;
    this.#isLocked = true;
    return true;
  }

  /** The newest generation's path; what others borrow of an older one stays as it is. */
  async open(isNew: boolean): Promise<string> {
    for (const folder of [dirname(dirname(this.folder)), dirname(this.folder), this.folder])
      await makeHidden(folder);
    const now = new Date();
    await utimes(this.folder, now, now);
    const [newest] = await this.#generations();
    if (newest !== undefined && !isNew) return join(this.folder, newest);
    const generation = newest === undefined ? 0 : Number.parseInt(newest, 10) + 1;
    const path = join(this.folder, `${generation}-${randomBytes(16).toString("hex")}.git`);
    await mkdir(path);
    await chmod(path, 0o755);
    return path;
  }

  /** The newest first. */
  async #generations(): Promise<string[]> {
    const names = (await readdir(this.folder)).filter((name) => /^\d+-[0-9a-f]{32}\.git$/.test(name));
    return names.sort((a, b) => Number.parseInt(b, 10) - Number.parseInt(a, 10));
  }
}

export class BorrowedMirror implements AsyncDisposable {
  readonly #mirror: Mirror;
  #tidy: Tidy | undefined;

  constructor(mirror: Mirror) {
    this.#mirror = mirror;
    mirror.join();
  }

  /**
   * Waits for other builds' fetches, and keeps them out meanwhile. Rejects with the signal's reason if it aborts before.
   * @param work opens the bare repository, or a new one: an empty folder at first
   * @param tidy what to do once nothing borrows the mirror any more
   */
  fetch<T>(
    work: (open: (isNew: boolean) => Promise<string>) => Promise<T>,
    tidy: Tidy,
    signal?: AbortSignal,
  ): Promise<T> {
    this.#tidy = tidy;
    return this.#mirror.exclusively(() => work((isNew) => this.#mirror.open(isNew)), signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#mirror.leave(this.#tidy);
  }
}

async function makeHidden(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true }).catch(async () => {
    // A build that runs as the agent's user can put a file or a link to nowhere in its place.
    await rm(folder, { force: true });
    await mkdir(folder, { recursive: true });
  });
  await chmod(folder, 0o711);
}
