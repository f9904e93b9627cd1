/** Finds out whether this agent may keep its builds in control groups of version 2. Source: cgroups(7), cgroup-v2.rst. */
import { access, constants, readFile } from "node:fs/promises";
import { posix } from "node:path";
import { reason } from "#/lib/errors.ts";

/** The group this process is in, and what can be done there. */
export interface CgroupHome {
  /** Where the hierarchy is mounted, such as /sys/fs/cgroup, or /sys/fs/cgroup/unified on a hybrid system. */
  readonly mount: string;
  /** The directory of our group. */
  readonly directory: string;
  /** The controllers offered there; a hybrid system keeps most of them in version 1. */
  readonly controllers: readonly string[];
}

/** Why there are no control groups, in one line. */
export interface Unavailable {
  readonly unavailable: string;
}

/**
 * Our group's directory, from the texts of /proc/self/mountinfo and /proc/self/cgroup. In a container the mount may
 * show only a part of the hierarchy; a group outside of that part can't be reached.
 */
export function locateCgroup(
  mountinfo: string,
  membership: string,
): { mount: string; directory: string } | Unavailable {
  const group = /^0::(\/.*)$/m.exec(membership)?.[1];
  if (group === undefined)
    return { unavailable: "the kernel has no control groups of version 2 (no 0:: in /proc/self/cgroup)" };
  for (const line of mountinfo.split("\n")) {
    // ID PARENT MAJOR:MINOR ROOT MOUNT OPTIONS [FIELDS…] - TYPE SOURCE OPTIONS
    const [front = "", back = ""] = line.split(" - ", 2);
    const [, , , root, mount] = front.split(" ").map(unescapeOctal);
    if (!back.startsWith("cgroup2 ") || !root || !mount) continue;
    const below = posix.relative(root, group);
    // A group above the root of our namespace is shown as /.. by the kernel; relative() would lose that.
    if (/^\.\.(\/|$)/.test(below) || /^\/\.\.(\/|$)/.test(group)) {
      return {
        unavailable: `this process's control group ${group} is outside of what is mounted at ${mount}`,
      };
    }
    return { mount, directory: posix.join(mount, below) };
  }
  return { unavailable: "control groups of version 2 aren't mounted (no cgroup2 in /proc/self/mountinfo)" };
}

/** Looks at the system this process is in. Never throws: what is in the way is the reason, one line for the doctor. */
export async function detectCgroups(): Promise<CgroupHome | Unavailable> {
  try {
    const located = locateCgroup(
      await readFile("/proc/self/mountinfo", "utf8"),
      await readFile("/proc/self/cgroup", "utf8"),
    );
    if ("unavailable" in located) return located;
    const { directory } = located;
    for (const path of [directory, `${directory}/cgroup.procs`]) {
      const refused = await access(path, constants.W_OK).then(() => undefined, reason);
      if (refused) {
        const advice =
          "run it as root, or as a systemd unit with Delegate=yes and without ProtectControlGroups=";
        return { unavailable: `no permission to write ${path} (${refused}); ${advice}` };
      }
    }
    return { ...located, controllers: await readWords(`${directory}/cgroup.controllers`) };
  } catch (error) {
    return { unavailable: `control groups can't be examined: ${(error as Error).message}` };
  }
}

/** The words of a one-line file, such as cgroup.controllers. */
export async function readWords(path: string): Promise<string[]> {
  const text = await readFile(path, "utf8");
  return text.split(/\s+/).filter((word) => word !== "");
}

/** mountinfo writes blanks and backslashes as three octal digits. */
function unescapeOctal(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  );
}
