/** The folders that each build gets new, and that go with it: its home, /tmp and /var/tmp. */
import { randomUUID } from "node:crypto";
import { chmodSync, mkdirSync, readdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { reason } from "#/lib/errors.ts";
import { buildFolder } from "#/lib/job-folder.ts";
import { BuildError } from "../errors.ts";
import { removeTree } from "./remove.ts";

/** The folders below a build's. */
const scratchFolders = ["home", "tmp", "var-tmp"] as const;

export interface BuildScratch extends AsyncDisposable {
  /** Only the agent gets into it. */
  readonly folder: string;
  /** To be given to the build's user. */
  readonly folders: readonly string[];
}

export function scratchOf(stateDir: string, build: { job: string; number: number }): string {
  return join(stateDir, "scratch", buildFolder(build));
}

/** A build's end doesn't wait until all of it is removed. */
export class Scratch implements AsyncDisposable {
  readonly #stateDir: string;
  readonly #removals = new Set<Promise<void>>();
  readonly #onLeft: (message: string) => void;

  /** @param onLeft called with what can't be removed; the next start tries again */
  constructor(stateDir: string, onLeft: (message: string) => void) {
    this.#stateDir = stateDir;
    this.#onLeft = onLeft;
  }

  /** @throws BuildError WORKSPACE */
  create(build: { job: string; number: number }): BuildScratch {
    const folder = scratchOf(this.#stateDir, build);
    const folders = scratchFolders.map((name) => join(folder, name));
    try {
      for (const path of [folder, ...folders]) {
        mkdirSync(path, { recursive: true });
        // Programs look for a /tmp that everybody may write; only the agent gets here.
        chmodSync(path, path.endsWith("tmp") ? 0o1777 : 0o700);
      }
    } catch (cause) {
      throw new BuildError("WORKSPACE", `the build's home and tmp can't be made: ${reason(cause)}`, {
        cause,
      });
    }
    return { folder, folders, [Symbol.asyncDispose]: async () => this.#remove(folder) };
  }

  #remove(folder: string): void {
    const aside = `${folder}.old-${randomUUID()}`;
    renameSync(folder, aside);
    const removal = removeTree(aside)
      .catch((error: Error) => this.#onLeft(error.message))
      .finally(() => this.#removals.delete(removal));
    this.#removals.add(removal);
  }

  /** Removes what an earlier agent left; call it before the first build. */
  sweep(): void {
    const all = join(this.#stateDir, "scratch");
    mkdirSync(all, { recursive: true });
    for (const name of readdirSync(all)) this.#remove(join(all, name));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#removals);
  }
}
