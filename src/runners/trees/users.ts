/** Lends builds a user each: which one, and what of the file system is its own meanwhile. */
import { chmod, chown, lstat, readdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type Account, buildAccounts, lackingCapabilities } from "#/host/accounts.ts";
import { RunnerError } from "../errors.ts";

/** A build's user, for as long as one of its process trees is there. */
export interface Lease extends AsyncDisposable {
  readonly account: Account;
  /** Makes a file or folder, not what is in it, the user's own until the end of the lease. */
  hand(path: string): Promise<void>;
}

/**
 * Builds of different executors don't share a user, and an executor has the same one each time, so that what a build leaves
 * in its workspace is the next one's. The group of the executor's folder says which: nobody else gets through it. A
 * workspace is its user's own only while a build works in it, which keeps other jobs out that run as the same user later.
 */
export class BuildUsers {
  readonly #accounts: readonly Account[];
  /** The folders of executors, and how many leases each has. */
  readonly #inUse = new Map<string, { account: Account; leases: number }>();
  readonly #agent = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };

  private constructor(accounts: readonly Account[]) {
    this.#accounts = accounts;
  }

  /** Undefined where builds run as the agent's own user: it was started by hand, or there are no build users. */
  static async find(): Promise<BuildUsers | undefined> {
    // For root every folder is accessible, and the ones that it is started with by hand wouldn't be for others.
    if (process.getuid?.() === 0) return undefined;
    if (lackingCapabilities(await readFile("/proc/self/status", "latin1")).length > 0) return undefined;
    const accounts = await buildAccounts();
    return accounts.length > 0 ? new BuildUsers(accounts) : undefined;
  }

  /**
   * @param workspace STATE/workspaces/EXECUTOR/JOB
   * @throws RunnerError START when more builds run than there are users
   */
  async lend(workspace: string): Promise<Lease> {
    const folder = dirname(workspace);
    const account = this.#inUse.get(folder)?.account ?? (await this.#choose(folder));
    const use = this.#inUse.get(folder) ?? { account, leases: 0 };
    this.#inUse.set(folder, use);
    use.leases += 1;
    const handed: string[] = [];
    const hand = async (path: string) => {
      await chown(path, account.uid, account.gid);
      handed.push(path);
    };
    const giveBack = async () => {
      use.leases -= 1;
      if (use.leases === 0) this.#inUse.delete(folder);
      else handed.splice(handed.indexOf(workspace), 1);
      for (const path of handed) await this.#takeBack(path);
    };
    try {
      await chown(folder, this.#agent.uid, account.gid);
      await chmod(folder, 0o710);
      // Made by another user, or before there were any.
      if ((await lstat(workspace)).gid !== account.gid) {
        const { execa } = await import("execa");
        await execa("chown", ["-R", "--no-dereference", `${account.uid}:${account.gid}`, workspace]);
      }
      await hand(workspace);
      await chmod(workspace, 0o755);
    } catch (cause) {
      await giveBack();
      const message = `the workspace can't be handed to ${account.name}: ${(cause as Error).message}`;
      throw new RunnerError("START", message, { cause });
    }
    return { account, hand, [Symbol.asyncDispose]: giveBack };
  }

  /** The user of the executor's last build, else one that no executor has. */
  async #choose(folder: string): Promise<Account> {
    const others = (await readdir(dirname(folder))).map((name) => join(dirname(folder), name));
    const groups = new Set<number>();
    for (const other of others) if (other !== folder) groups.add((await lstat(other)).gid);
    const last = (await lstat(folder)).gid;
    // Asked after the last wait: from here on nobody else chooses in between.
    const taken = new Set([...this.#inUse.values()].map(({ account }) => account));
    const free = this.#accounts.filter((account) => !taken.has(account));
    const found = free.find(({ gid }) => gid === last) ?? free.find(({ gid }) => !groups.has(gid)) ?? free[0];
    if (found) {
      this.#inUse.set(folder, { account: found, leases: 0 });
      return found;
    }
    const advice = "add some as /usr/lib/sysusers.d/labgear.conf says, or take away executors";
    throw new RunnerError(
      "START",
      `more builds run than the ${this.#accounts.length} build users; ${advice}`,
    );
  }

  /** What lies in it may stay the user's: nobody but the agent gets there any more. */
  async #takeBack(path: string): Promise<void> {
    try {
      await chown(path, this.#agent.uid, (await lstat(path)).gid);
      await chmod(path, 0o700);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }
}
