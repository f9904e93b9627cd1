/**
 * Files that pass between the agent and the users of builds: below the agent's own folders, with no link on the way, and never what
 * belongs to anyone else. Whatever the agent asks for, root's files stay root's.
 */
import { type ChildProcess, spawn } from "node:child_process";
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  opendirSync,
  openSync,
  readFileSync,
  statSync,
} from "node:fs";
import { join } from "node:path";
import type { Account } from "#/host/accounts.ts";
import { reason } from "#/lib/errors.ts";
import { type Kernel, pathOnly } from "./kernel.ts";
import { launcherEnvironment } from "./place.ts";
import { HelperError } from "./protocol.ts";

export type Owner = Pick<Account, "uid" | "gid">;

export interface Folders {
  /** The agent's state directory, by its real path. */
  readonly stateDir: string;
  /** Where the agent has secrets of builds in memory. */
  readonly runtimeDir: string;
}

const name = String.raw`/(?!\.\.?(?:/|$))[^/]+`;
/** A build's, and nothing above it: see the README's table of files. */
const belonging = new RegExp(
  `^(?:workspaces(?:${name}){1,2}|(?:scratch|secrets)(?:${name}){2}|(?:builds|mirrors)(?:${name}){3}|inputs/(?:downloads${name}|builds(?:${name}){2})|caches(?:${name}){4})$`,
);
const executorFolder = new RegExp(`^workspaces${name}$`);
const tree = new RegExp(`^(?:workspaces|scratch|builds|inputs|mirrors|caches)(?:${name})+$`);

/**
 * Gives files and folders, not their content, to a user.
 * @param from whose they may be
 * @param to the group stays if the gid is -1
 * @throws HelperError REFUSED
 */
export function handOver(
  kernel: Kernel,
  folders: Folders,
  paths: readonly string[],
  { from, to }: { readonly from: readonly Owner[]; readonly to: Owner },
): void {
  for (const path of paths) {
    using opened = new DisposableStack();
    const found = open(folders, path, belonging);
    if (found === undefined) continue;
    opened.adopt(found.descriptor, closeSync);
    const stat = fstatSync(found.descriptor);
    if (!from.some(({ uid }) => uid === stat.uid) || !(stat.isFile() || stat.isDirectory()))
      throw refused(`${path} isn't the agent's or a build's`);
    // Only the user's group gets into it, and only the agent writes there.
    kernel.own(found.descriptor, executorFolder.test(found.relative) ? -1 : to.uid, to.gid);
  }
}

/** Of root, who may change owners and look everywhere. $1 is the new owner; the others are those whose files change. */
const ownScript = `
owner=$1
shift
for from in "$@"; do chown -R --no-dereference --from="$from" "$owner" .; done
`;

/**
 * Gives all of a folder to a user: chown(1) follows no link.
 * @param from whose files change
 * @throws HelperError REFUSED
 */
export function ownTree(
  folders: Folders,
  path: string,
  { from, to, isAgent }: { readonly from: readonly Owner[]; readonly to: Owner; readonly isAgent: boolean },
): ChildProcess {
  // A link that a build has made to a file of the agent's would become the build's (proc_sys_fs(5)).
  if (!isAgent && readFileSync("/proc/sys/fs/protected_hardlinks", "utf8").trim() !== "1")
    throw refused("fs.protected_hardlinks isn't 1: set it by sysctl.d(5)");
  const how = { shape: isAgent ? tree : belonging, owners: from, capabilities: "chown,+dac_override" };
  return inTree(folders, path, how, (folder) => {
    const present = ownersAt(folder);
    const found = from.filter(({ uid, gid }) => present.has(uid) || present.has(gid));
    const uids = (found.length > 0 ? found : from).map(({ uid }) => `${uid}`);
    return ["/bin/sh", "-euc", ownScript, "labgear-own", `${to.uid}:${to.gid}`, ...new Set(uids)];
  });
}

const maxLooked = 100;

/** The users and groups of a folder and of what is in it: each owner takes a walk through all of it. */
function ownersAt(folder: string): Set<number> {
  const { uid, gid } = statSync(folder);
  const found = new Set([uid, gid]);
  const entries = opendirSync(folder);
  try {
    for (let looked = 0; looked < maxLooked; looked++) {
      const entry = entries.readSync();
      const stat = entry && lstatSync(join(folder, entry.name), { throwIfNoEntry: false });
      if (!entry) break;
      if (stat) found.add(stat.uid).add(stat.gid);
    }
  } finally {
    entries.closeSync();
  }
  return found;
}

/** Starts a program in a folder, as root with these capabilities alone. @param owners whose the folder may be */
function inTree(
  folders: Folders,
  path: string,
  {
    shape,
    owners,
    capabilities,
  }: { readonly shape: RegExp; readonly owners?: readonly Owner[]; readonly capabilities: string },
  argv: (folder: string) => readonly string[],
): ChildProcess {
  const found = open(folders, path, shape);
  if (found === undefined) throw refused(`${path} isn't there`);
  try {
    const stat = fstatSync(found.descriptor);
    if (!stat.isDirectory() || (owners && !owners.some(({ uid }) => uid === stat.uid)))
      throw refused(`${path} is no folder of the agent or a build`);
    const cwd = `/proc/self/fd/${found.descriptor}`;
    const rights = [`--bounding-set=-all,+${capabilities}`, "--no-new-privs"];
    return spawn("setpriv", [...rights, ...argv(cwd)], {
      cwd,
      env: launcherEnvironment,
      stdio: ["ignore", "pipe", "pipe"],
    });
  } finally {
    closeSync(found.descriptor);
  }
}

const maxMeasureSeconds = 20;
const measureScript = `timeout ${maxMeasureSeconds} find . -xdev -mindepth 1 -printf '%b\\n' 2>/dev/null |
awk '{ blocks += $1 } END { printf "%.0f %d", blocks * 512, NR }'`;

/** Counts the bytes and inodes below a folder; links aren't followed, nor are other file systems counted. */
export function measureTree(folders: Folders, path: string): ChildProcess {
  const how = { shape: tree, capabilities: "dac_override" };
  return inTree(folders, path, how, () => ["/bin/sh", "-euc", measureScript]);
}

function open({ stateDir, runtimeDir }: Folders, path: string, shape: RegExp) {
  for (const base of [stateDir, runtimeDir]) {
    const relative = path.startsWith(`${base}/`) ? path.slice(base.length + 1) : "";
    if (!shape.test(relative)) continue;
    const descriptor = openBelow(base, relative);
    return descriptor === undefined ? undefined : { descriptor, relative };
  }
  throw refused(`${path} is nothing of a build`);
}

/** Each step goes by the descriptor of the folder above, so that nothing leads elsewhere. Undefined: it isn't there. */
function openBelow(base: string, relative: string): number | undefined {
  const { O_DIRECTORY, O_NOFOLLOW } = constants;
  const names = relative.split("/");
  const last = names.pop() ?? "";
  let at = openSync(base, pathOnly | O_DIRECTORY | O_NOFOLLOW);
  try {
    for (const part of names) {
      const below = openSync(`/proc/self/fd/${at}/${part}`, pathOnly | O_DIRECTORY | O_NOFOLLOW);
      closeSync(at);
      at = below;
    }
    return openSync(`/proc/self/fd/${at}/${last}`, pathOnly | O_NOFOLLOW);
  } catch (error) {
    if (reason(error) === "ENOENT") return undefined;
    throw refused(`${relative} can't be opened: ${reason(error)}`);
  } finally {
    closeSync(at);
  }
}

function refused(why: string): HelperError {
  return new HelperError("REFUSED", `the helper refuses it: ${why}`);
}
