/**
 * What clients have sent, by its SHA-256: `STATE/inputs/kept/DIGEST`, and beside it who has proved to have it. Only the agent's user
 * reads the folder. A file is there once, however many clients send it; those of another job or trust have to send it all the
 * same, since a digest alone is no proof of having the file.
 */
import { createHash, randomUUID } from "node:crypto";
import { constants, createReadStream } from "node:fs";
import { chmod, copyFile, mkdir, open, readdir, readFile, rename, rm, stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import { replaceFile } from "#/lib/replace-file.ts";
import { removeTree } from "../workspace/remove.ts";
import { Transfer, type TransferTarget } from "./transfer.ts";

interface Kept {
  readonly size: number;
  /** Of jobs and their trust. */
  readonly owners: Set<string>;
  /** Unix milliseconds. */
  used: number;
  /** What stat(2) said when the content was last seen to have its digest, in this process. */
  proved?: string;
}

export class InputCache {
  readonly #folder: string;
  readonly #keepBytes: () => number;
  readonly #kept = new Map<string, Kept>();
  /** How many builds need a digest, here already or not. */
  readonly #pins = new Map<string, number>();
  /** By digest and owner. */
  readonly #transfers = new Map<string, Transfer>();

  private constructor(folder: string, keepBytes: () => number) {
    this.#folder = folder;
    this.#keepBytes = keepBytes;
  }

  /**
   * Finds what an earlier agent kept, and removes what its builds left.
   * @param folder `STATE/inputs`; created if it is missing
   * @throws the file system's error
   */
  static async open(folder: string, keepBytes: () => number): Promise<InputCache> {
    const cache = new InputCache(folder, keepBytes);
    await mkdir(folder, { recursive: true });
    await chmod(folder, 0o711);
    for (const path of [cache.buildsFolder, cache.downloadsFolder]) await removeTree(path);
    await rm(cache.#partial, { recursive: true, force: true });
    for (const path of [cache.#keptFolder, cache.#partial])
      await mkdir(path, { recursive: true, mode: 0o700 });
    for (const name of await readdir(cache.#keptFolder)) {
      if (/^[0-9a-f]{64}$/.test(name)) await cache.#find(name);
      else if (name.includes(".new-")) await rm(join(cache.#keptFolder, name), { force: true });
    }
    return cache;
  }

  get #keptFolder(): string {
    return join(this.#folder, "kept");
  }

  get #partial(): string {
    return join(this.#folder, "partial");
  }

  /** Where running builds find their inputs, in a folder for each. */
  get buildsFolder(): string {
    return join(this.#folder, "builds");
  }

  /** Where downloads run, each in a folder of the user that fetches. */
  get downloadsFolder(): string {
    return join(this.#folder, "downloads");
  }

  async #find(digest: string): Promise<void> {
    const { size, mtimeMs } = await stat(this.#file(digest));
    this.#kept.set(digest, { size, used: mtimeMs, owners: new Set(await this.#readOwners(digest)) });
  }

  async #readOwners(digest: string): Promise<string[]> {
    try {
      const owners: unknown = JSON.parse(await readFile(`${this.#file(digest)}.owners`, "utf8"));
      return Array.isArray(owners) ? owners.filter((owner) => typeof owner === "string") : [];
    } catch {
      // A crash came before it was written: the next client sends the file again.
      return [];
    }
  }

  #file(digest: string): string {
    return join(this.#keptFolder, digest);
  }

  /** Keeps what is or will be here with this digest until it is disposed of. */
  pin(digest: string): Disposable {
    const add = (count: number) => {
      const pins = (this.#pins.get(digest) ?? 0) + count;
      if (pins > 0) this.#pins.set(digest, pins);
      else this.#pins.delete(digest);
    };
    add(1);
    return { [Symbol.dispose]: () => add(-1) };
  }

  /**
   * Whether this owner needn't send it. What this process hasn't seen to have its digest is read first; a damaged file is removed.
   * @throws the file system's error
   */
  async isKnown(digest: string, size: number | undefined, owner: string): Promise<boolean> {
    const kept = this.#kept.get(digest);
    if (!kept?.owners.has(owner) || (size !== undefined && kept.size !== size)) return false;
    return this.#isSound(digest, kept);
  }

  async #isSound(digest: string, kept: Kept): Promise<boolean> {
    const fingerprint = await fingerprintOf(this.#file(digest)).catch(() => undefined);
    if (fingerprint !== undefined && kept.proved === fingerprint) return true;
    if (fingerprint !== undefined && (await digestOf(this.#file(digest))) === digest) {
      kept.proved = fingerprint;
      return true;
    }
    await this.#remove(digest);
    return false;
  }

  /** How large the content of a digest is; undefined: it isn't here. */
  sizeOf(digest: string): number | undefined {
    return this.#kept.get(digest)?.size;
  }

  /**
   * The transfer of a file that is to come, shared by all builds of an owner that want it at the same time.
   * @param alone what came from several builds had another digest: this one has a transfer of its own
   */
  transfer(digest: string, size: number | undefined, owner: string, alone?: string): Transfer {
    const key = `${digest} ${size} ${owner} ${alone ?? ""}`;
    const running = this.#transfers.get(key);
    if (running) return running;
    const transfer = new Transfer({ digest, size, target: () => this.#target(digest, size) });
    this.#transfers.set(key, transfer);
    void transfer.over.then(async (isSound) => {
      this.#transfers.delete(key);
      if (isSound) await this.#own(digest, owner).catch(() => {});
    });
    return transfer;
  }

  /** What is here already is only compared; anything else is written beside, and renamed when it has its digest. */
  async #target(digest: string, size: number | undefined): Promise<TransferTarget | undefined> {
    const kept = this.#kept.get(digest);
    if (kept && kept.size === (size ?? kept.size) && (await this.#isSound(digest, kept))) return undefined;
    const path = join(this.#partial, randomUUID());
    const file = await open(path, "wx", 0o400);
    return {
      file,
      keep: async () => {
        if (!this.#kept.has(digest)) {
          await rename(path, this.#file(digest));
          const proved = await fingerprintOf(this.#file(digest));
          const { size } = await stat(this.#file(digest));
          this.#kept.set(digest, { size, owners: new Set(), used: Date.now(), proved });
        }
        await rm(path, { force: true });
      },
      drop: () => rm(path, { force: true }),
    };
  }

  async #own(digest: string, owner: string): Promise<void> {
    const kept = this.#kept.get(digest);
    if (!kept || kept.owners.has(owner)) return;
    kept.owners.add(owner);
    await replaceFile(`${this.#file(digest)}.owners`, JSON.stringify([...kept.owners]));
  }

  /**
   * Copies what is kept to a file that only the agent's user can read; where the file system can, they share their blocks.
   * @throws the file system's error
   */
  async copy(digest: string, to: string): Promise<void> {
    await copyFile(this.#file(digest), to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
    await chmod(to, 0o400);
    const now = new Date();
    await utimes(this.#file(digest), now, now).catch(() => {});
    const kept = this.#kept.get(digest);
    if (!kept) return;
    kept.used = now.getTime();
    kept.proved = await fingerprintOf(this.#file(digest));
  }

  /** What could go, the least recently used first. */
  get unused(): readonly string[] {
    const free = [...this.#kept].filter(([digest]) => !this.#pins.has(digest));
    return free.sort(([, a], [, b]) => a.used - b.used).map(([digest]) => digest);
  }

  /**
   * Removes what nobody uses, as long as there is more than may be kept.
   * @throws the file system's error
   */
  async prune(): Promise<void> {
    for (const digest of this.unused) {
      const total = [...this.#kept.values()].reduce((sum, { size }) => sum + size, 0);
      if (total <= this.#keepBytes()) return;
      await this.remove(digest);
    }
  }

  /**
   * Removes a file that no build uses; no effect otherwise.
   * @throws the file system's error
   */
  async remove(digest: string): Promise<void> {
    if (!this.#pins.has(digest)) await this.#remove(digest);
  }

  async #remove(digest: string): Promise<void> {
    this.#kept.delete(digest);
    await rm(`${this.#file(digest)}.owners`, { force: true });
    await rm(this.#file(digest), { force: true });
  }
}

async function fingerprintOf(path: string): Promise<string> {
  const { ino, size, mtimeNs } = await stat(path, { bigint: true });
  return `${ino} ${size} ${mtimeNs}`;
}

async function digestOf(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 })) hash.update(chunk);
  return hash.digest("hex");
}
