/** Gives each build a user, with the files and folders that belong to the user meanwhile. */
import { chmod, chown, lchown, lstat, readdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { execa } from "execa";
import {
  type Account,
  buildAccounts,
  fetchAccount,
  fetchUser,
  lackingCapabilities,
} from "#/host/accounts.ts";
import { RunnerError } from "../errors.ts";

/** A build's user, while one of its process trees exists. */
export interface BuildUser extends AsyncDisposable {
  readonly account: Account;
  /** Gives a file or folder (not its content) to the user until it is disposed. */
  give(path: string): Promise<void>;
}

/**
 * Executors don't share a user. An executor keeps its user, so the next build can change what the last one left in the
 * workspace. The group of the executor's folder names the user, and no other user gets into it. A workspace belongs to the user
 * only while a build works in it: that keeps out other jobs that run as the same user later.
 */
export class BuildUsers {
  readonly #accounts: readonly Account[];
  /** By the executor's folder. */
  readonly #inUse = new Map<string, { account: Account; trees: number }>();
  readonly #agent = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };

  readonly #fetch: Account | undefined;

  private constructor(accounts: readonly Account[], fetch: Account | undefined) {
    this.#accounts = accounts;
    this.#fetch = fetch;
  }

  /** Undefined: builds run as the agent's own user, since it was started by hand, or there are no build users. */
  static async find(): Promise<BuildUsers | undefined> {
    // root was started by hand, with folders that others can't reach.
    if (process.getuid?.() === 0) return undefined;
    if (lackingCapabilities(await readFile("/proc/self/status", "latin1")).length > 0) return undefined;
    const accounts = await buildAccounts();
    return accounts.length > 0 ? new BuildUsers(accounts, await fetchAccount()) : undefined;
  }

  /**
   * The user that fetches, who keeps what it is given.
   * @param mirror in a folder of the agent's own
   * @throws RunnerError START when there is no such user
   */
  async acquireFetch(mirror: string): Promise<BuildUser> {
    const account = this.#fetch;
    if (!account) {
      const advice = "add it as /usr/lib/sysusers.d/labgear.conf says, and restart the agent";
      throw new RunnerError("START", `there is no user ${fetchUser} for checkouts; ${advice}`);
    }
    const owner = `${account.uid}:${account.gid}`;
    // New, or of a time when there were no such users. No build can have written there.
    if ((await lstat(mirror)).uid !== account.uid)
      await execa("chown", ["-R", "--no-dereference", owner, mirror]);
    return { account, give: async () => {}, [Symbol.asyncDispose]: async () => {} };
  }

  /**
   * @param workspace STATE/workspaces/EXECUTOR/JOB
   * @throws RunnerError START when more builds run than there are users
   */
  async acquire(workspace: string): Promise<BuildUser> {
    const folder = dirname(workspace);
    const account = this.#inUse.get(folder)?.account ?? (await this.#choose(folder));
    const use = this.#inUse.get(folder) ?? { account, trees: 0 };
    this.#inUse.set(folder, use);
    use.trees += 1;
    const given: string[] = [];
    const give = async (path: string) => {
      const { gid } = await lstat(path);
      // A cache that another user filled.
      if (gid !== account.gid && gid !== this.#agent.gid) await this.#giveAll(path, account);
      await lchown(path, account.uid, account.gid);
      given.push(path);
    };
    const giveBack = async () => {
      use.trees -= 1;
      if (use.trees === 0) this.#inUse.delete(folder);
      else given.splice(given.indexOf(workspace), 1);
      for (const path of given) await this.#takeBack(path);
    };
    try {
      await chown(folder, this.#agent.uid, account.gid);
      await chmod(folder, 0o710);
      // Created by another user, or before there were build users.
      if ((await lstat(workspace)).gid !== account.gid) await this.#giveAll(workspace, account);
      await give(workspace);
      await chmod(workspace, 0o755);
    } catch (cause) {
      await giveBack();
      const message = `the workspace can't be given to ${account.name}: ${(cause as Error).message}`;
      throw new RunnerError("START", message, { cause });
    }
    return { account, give, [Symbol.asyncDispose]: giveBack };
  }

  /** The user of the executor's last build, else one that no executor has, else any free one. */
  async #choose(folder: string): Promise<Account> {
    const others = (await readdir(dirname(folder))).map((name) => join(dirname(folder), name));
    const groups = new Set<number>();
    for (const other of others) if (other !== folder) groups.add((await lstat(other)).gid);
    const last = (await lstat(folder)).gid;
    // After the last await: no other choice can come in between.
    const taken = new Set([...this.#inUse.values()].map(({ account }) => account));
    const free = this.#accounts.filter((account) => !taken.has(account));
    const found = free.find(({ gid }) => gid === last) ?? free.find(({ gid }) => !groups.has(gid)) ?? free[0];
    if (found) {
      this.#inUse.set(folder, { account: found, trees: 0 });
      return found;
    }
    const advice = "add some as /usr/lib/sysusers.d/labgear.conf says, or remove executors";
    throw new RunnerError(
      "START",
      `there are more builds than the ${this.#accounts.length} build users; ${advice}`,
    );
  }

  /** No process of a build is there, and no link is followed. */
  async #giveAll(folder: string, { uid, gid }: Account): Promise<void> {
    await execa("chown", ["-R", "--no-dereference", `${uid}:${gid}`, folder]);
  }

  /** The content may stay the user's: only the agent can reach it now. */
  async #takeBack(path: string): Promise<void> {
    try {
      await lchown(path, this.#agent.uid, (await lstat(path)).gid);
      await chmod(path, 0o700);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }
}
