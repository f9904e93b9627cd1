/** The doctor's checks of permissions: the users that builds run as, and the serial ports. */
import { readFile, stat } from "node:fs/promises";
import type { Config } from "#/config/model.ts";
import { Discovery } from "#/devices/discovery/discovery.ts";
import { helperSocket } from "#/helper/protocol.ts";
import { agentAccount, buildAccounts, buildGroup, fetchAccount, fetchUser } from "#/host/accounts.ts";
import { addonOrigin } from "#/host/addon.ts";
import type { Finding } from "./finding.ts";

/** As /proc shows them. */
interface Rights {
  readonly uid: number;
  readonly groups: readonly number[];
}

async function rightsOf(pid: number | "self"): Promise<Rights> {
  // The agent may have ended just now.
  const status = await readFile(`/proc/${pid}/status`, "latin1").catch(() => "");
  const numbers = (field: string) =>
    (new RegExp(`^${field}:\\s*(.*)$`, "m").exec(status)?.[1] ?? "").split(/\s+/).filter(Boolean).map(Number);
  return {
    uid: numbers("Uid")[1] ?? 0,
    groups: [...numbers("Gid"), ...numbers("Groups")],
  };
}

/** Whether builds have users of their own. */
async function givesUsers({ uid }: Rights): Promise<boolean> {
  return uid === (await agentAccount())?.uid && (await buildAccounts()).length > 0;
}

/** @param pid the agent's; undefined: it is not running */
export async function checkUsers(pid: number | undefined, config: Config | undefined): Promise<Finding> {
  const about = "users";
  const accounts = await buildAccounts();
  const advice = `run the agent from its unit: then each build runs as a user of its own, from the group ${buildGroup}`;
  if (pid === undefined) {
    if (accounts.length > 0) {
      return { about, state: "good", text: `${accounts.length} users for builds exist` };
    }
    return {
      about,
      state: "warning",
      text: "builds run as the agent's user and can read everything it can",
      advice,
    };
  }
  const rights = await rightsOf(pid);
  if (!(await givesUsers(rights))) {
    const { uid } = rights;
    const who = uid === 0 ? "root" : `the agent's user (${uid})`;
    return {
      about,
      state: "warning",
      text: `builds run as ${who} and can read everything the agent can`,
      advice,
    };
  }
  if (!(await fetchAccount())) {
    const more =
      "systemd-sysusers, or add it as /usr/lib/sysusers.d/labgear.conf says; then restart the agent";
    return { about, state: "bad", text: `there is no user ${fetchUser}: checkouts fail`, advice: more };
  }
  const needed = config ? config.host.executors + config.devices.size : 0;
  const text = `builds run as ${accounts.length} users of their own`;
  if (needed <= accounts.length) return { about, state: "good", text };
  const more = "add users as /usr/lib/sysusers.d/labgear.conf says, or lower host.executors";
  return { about, state: "bad", text: `${text}, but ${needed} builds can run at once`, advice: more };
}

/** Checks that systemd starts the helper when the agent needs it. @param pid the agent's; undefined: it is not running */
export async function checkHelper(pid: number | undefined): Promise<Finding[]> {
  const about = "helper";
  // Without users for builds, none is needed.
  if (pid === undefined || !(await givesUsers(await rightsOf(pid)))) return [];
  if ((await stat(helperSocket).catch(() => undefined))?.isSocket())
    return [{ about, state: "good", text: "each build has a home, /tmp, memory and IPC of its own" }];
  const advice = "install labgear-helper.socket and labgear-helper.service, then restart the agent";
  return [{ about, state: "bad", text: `there is no ${helperSocket}: no build can be started`, advice }];
}

/** Checks that the agent may open every serial port of the box. @param pid the agent's; undefined: it is not running */
export async function checkPorts(pid: number | undefined): Promise<Finding[]> {
  const about = "ports";
  using discovery = new Discovery();
  const found = await discovery.list();
  if (found.length === 0) return [{ about, state: "good", text: "this box has no serial ports" }];
  const { uid, groups } = await rightsOf(pid ?? "self");
  const refused: Finding[] = [];
  for (const { path } of found) {
    const there = await stat(path).catch(() => undefined);
    if (!there) continue;
    const { mode, gid, uid: owner } = there;
    const may =
      uid === 0 || (owner === uid && mode & 0o600) || (groups.includes(gid) && mode & 0o060) || mode & 0o006;
    if (may) continue;
    const whose = pid === undefined ? "this user" : "the agent";
    const advice = "sudo usermod -aG dialout labgear, then restart the agent; or see the port's udev rule";
    refused.push({ about, state: "bad", text: `${whose} may not open ${path}`, advice });
  }
  if (refused.length > 0) return refused;
  return [{ about, state: "good", text: found.map(({ path }) => path).join(", ") }];
}

export async function checkAddon(): Promise<Finding> {
  const about = "addon";
  try {
    return { about, state: "good", text: `the addon for serial ports is loaded ${await addonOrigin()}` };
  } catch (error) {
    const advice = "boards cannot be used: install the Debian package, or libstdc++6";
    return { about, state: "bad", text: (error as Error).message.split("\n", 1)[0] ?? "", advice };
  }
}
