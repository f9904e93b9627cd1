/** The users that builds run as, and the others of the package. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";

/** Builds run as the members of this group, each running build as another one. */
export const buildGroup = "labgear-build";

const agentUser = "labgear";

/** The user that fetches repositories: no build's, so that builds can't write what others check out, nor read its keys. */
export const fetchUser = "labgear-fetch";

export interface Account {
  readonly name: string;
  readonly uid: number;
  /** The account's own group, without other members. */
  readonly gid: number;
  readonly home: string;
}

/**
 * The members of the build group that have a group of their own, in numerical order.
 * @param root another root than "/", as for a disk image
 */
export async function buildAccounts(root = "/"): Promise<Account[]> {
  const { accounts, members } = await readAccounts(root);
  return accounts
    .filter(({ name }) => members.includes(name))
    .sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
}

/** The user that the agent runs as. */
export async function agentAccount(root = "/"): Promise<Account | undefined> {
  const { accounts } = await readAccounts(root);
  return accounts.find(({ name }) => name === agentUser);
}

export async function fetchAccount(root = "/"): Promise<Account | undefined> {
  const { accounts } = await readAccounts(root);
  return accounts.find(({ name }) => name === fetchUser);
}

/** The users that do what others say: those of builds, and the one that fetches what a client names. None without build users. */
export async function untrustedAccounts(root = "/"): Promise<Account[]> {
  const builds = await buildAccounts(root);
  const fetch = builds.length > 0 ? await fetchAccount(root) : undefined;
  return fetch ? [...builds, fetch] : builds;
}

/** The users with a group of their own, and the members of the build group. */
async function readAccounts(root: string): Promise<{ accounts: Account[]; members: readonly string[] }> {
  const read = async (path: string) =>
    (await readFile(join(root, path), "utf8").catch(() => "")).split("\n").map((line) => line.split(":"));
  const groups = await read("etc/group");
  const members = groups.find(([name]) => name === buildGroup)?.[3]?.split(",") ?? [];
  const accounts: Account[] = [];
  for (const [name = "", , uid, gid, , home = "/"] of await read("etc/passwd")) {
    const own = groups.some(([group, , number]) => group === name && number === gid);
    if (own) accounts.push({ name, uid: Number(uid), gid: Number(gid), home });
  }
  return { accounts, members };
}
