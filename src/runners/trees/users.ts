/** Gives each build a user, with the files and folders that belong to the user meanwhile. */
import { chmod, lstat, readdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Helper } from "#/helper/client.ts";
import { type Account, agentAccount, buildAccounts, fetchAccount, fetchUser } from "#/host/accounts.ts";
import { RunnerError } from "../errors.ts";

/** A build's user, while one of its process trees exists. */
export interface BuildUser extends AsyncDisposable {
  readonly account: Account;
  /** Has a file or folder (not its content) given to the user when something starts, until it is disposed. */
  give(path: string): Promise<void>;
  /** What the helper gives to the user when it starts something. */
  begin(): readonly string[];
}

/**
 * Executors don't share a user. An executor keeps its user, so the next build can change what the last one left in the
 * workspace. The group of the executor's folder names the user, and no other user gets into it. A workspace belongs to the user
 * only while a build works in it: that keeps out other jobs that run as the same user later. The helper changes the owners.
 */
export class BuildUsers {
  readonly #accounts: readonly Account[];
  /** By the executor's folder. */
  readonly #inUse = new Map<string, { account: Account; trees: number }>();
  readonly #agent: Account;
  readonly #fetch: Account | undefined;
  readonly #helper: Helper;

  private constructor(
    accounts: readonly Account[],
    others: { readonly agent: Account; readonly fetch: Account | undefined },
    helper: Helper,
  ) {
    this.#accounts = accounts;
    this.#agent = others.agent;
    this.#fetch = others.fetch;
    this.#helper = helper;
  }

  /** Undefined: builds run as the agent's own user, since it was started by hand, or there are no build users. */
  static async find(helper: Helper): Promise<BuildUsers | undefined> {
    const agent = await agentAccount();
    // The helper serves no other user.
    if (agent === undefined || process.getuid?.() !== agent.uid) return undefined;
    const accounts = await buildAccounts();
    if (accounts.length === 0) return undefined;
    return new BuildUsers(accounts, { agent, fetch: await fetchAccount() }, helper);
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
    // New, or of a time when there were no such users. No build can have written there.
    if ((await lstat(mirror)).uid !== account.uid) await this.#helper.own(mirror, account.name);
    return { account, give: async () => {}, begin: () => [], [Symbol.asyncDispose]: async () => {} };
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
    const belongings = [folder];
    let hasBegun = false;
    const ownAll = async (path: string) => {
      hasBegun = true;
      await this.#helper.own(path, account.name);
    };
    const give = async (path: string) => {
      const { gid } = await lstat(path);
      // A cache that another user filled.
      if (gid !== account.gid && gid !== this.#agent.gid) await ownAll(path);
      belongings.push(path);
    };
    const giveBack = async () => {
      use.trees -= 1;
      if (use.trees === 0) this.#inUse.delete(folder);
      const given = belongings.slice(1).filter((path) => use.trees === 0 || path !== workspace);
      if (hasBegun) await this.#takeBack(given);
    };
    try {
      await chmod(folder, 0o710);
      const { uid, gid } = await lstat(workspace);
      // Another tree of the same build has it already.
      if (uid === this.#agent.uid) await chmod(workspace, 0o755);
      // Created by another user, or before there were build users.
      if (gid !== account.gid) await ownAll(workspace);
      belongings.push(workspace);
    } catch (cause) {
      await giveBack();
      const message = `the workspace can't be given to ${account.name}: ${(cause as Error).message}`;
      throw new RunnerError("START", message, { cause });
    }
    const begin = () => {
      hasBegun = true;
      return belongings;
    };
    return { account, give, begin, [Symbol.asyncDispose]: giveBack };
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

  /** The content may stay the user's: only the agent can reach it now. */
  async #takeBack(paths: readonly string[]): Promise<void> {
    await this.#helper.take(paths);
    for (const path of paths) {
      await chmod(path, 0o700).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== "ENOENT") throw error;
      });
    }
  }
}
