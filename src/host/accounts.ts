/** The users that builds run as, and whether this process may start anything as another user. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";

/** The group whose members builds run as, one for each build that runs at the same time. */
export const buildGroup = "labgear-build";

export interface Account {
  readonly name: string;
  readonly uid: number;
  /** Of its own group, which no other user is in. */
  readonly gid: number;
  readonly home: string;
}

/** What it takes to start builds as other users, to hand them their files, and to end and clear them up. Source: capabilities(7). */
const needed = {
  CAP_CHOWN: 0,
  CAP_DAC_OVERRIDE: 1,
  CAP_FOWNER: 3,
  CAP_KILL: 5,
  CAP_SETGID: 6,
  CAP_SETUID: 7,
} as const;

/**
 * Names the capabilities that a process lacks for that.
 * @param status the text of its /proc/PID/status
 */
export function lackingCapabilities(status: string): string[] {
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? "0"}`);
  return Object.entries(needed)
    .filter(([, bit]) => ((effective >> BigInt(bit)) & 1n) === 0n)
    .map(([name]) => name);
}

/**
 * The members of the build group that have a group of their own, in the order of their numbers.
 * @param root "/" but for other trees
 */
export async function buildAccounts(root = "/"): Promise<Account[]> {
  const read = async (path: string) =>
    (await readFile(join(root, path), "utf8").catch(() => "")).split("\n").map((line) => line.split(":"));
  const groups = await read("etc/group");
  const members = groups.find(([name]) => name === buildGroup)?.[3]?.split(",") ?? [];
  const accounts: Account[] = [];
  for (const [name = "", , uid, gid, , home = "/"] of await read("etc/passwd")) {
    const own = groups.some(([group, , number]) => group === name && number === gid);
    if (members.includes(name) && own) accounts.push({ name, uid: Number(uid), gid: Number(gid), home });
  }
  return accounts.sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
}
