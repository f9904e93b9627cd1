/** The doctor's checks of the system around the agent: unit, control groups, clock. */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { execa } from "execa";
import { detectCgroups, locateCgroup, readWords } from "#/runners/trees/cgroup.ts";
import type { Finding } from "./finding.ts";

const commandTimeoutMs = 10_000;

/** Checks that systemd starts the agent at boot and has read the unit as it is on disk. */
export async function checkUnit(): Promise<Finding> {
  const about = "unit";
  if (!existsSync("/run/systemd/system")) {
    const advice = "let this box's service manager start `labgear agent`";
    return { about, state: "warning", text: "systemd is not running here", advice };
  }
  const show = ["show", "labgear.service", "--property=LoadState,UnitFileState,ActiveState,NeedDaemonReload"];
  const { stdout, failed } = await execa("systemctl", show, { reject: false, timeout: commandTimeoutMs });
  const facts = new Map(stdout.split("\n").map((line) => line.split("=") as [string, string]));
  if (failed || facts.get("LoadState") !== "loaded") {
    const advice =
      "install the Debian package, or systemd/labgear.service as the README says; otherwise the agent does not start at boot";
    return { about, state: "warning", text: "there is no unit labgear.service", advice };
  }
  const text = `labgear.service is ${facts.get("UnitFileState")} and ${facts.get("ActiveState")}`;
  if (facts.get("NeedDaemonReload") === "yes") {
    return {
      about,
      state: "warning",
      text: `${text}, but changed on disk`,
      advice: "systemctl daemon-reload",
    };
  }
  if (facts.get("UnitFileState") !== "enabled") {
    return {
      about,
      state: "warning",
      text,
      advice: "to start it at boot: systemctl enable --now labgear",
    };
  }
  if (facts.get("ActiveState") === "failed") {
    return {
      about,
      state: "bad",
      text,
      advice: "journalctl -u labgear says why; then run systemctl start labgear",
    };
  }
  return { about, state: "good", text };
}

/** @param pid the agent's; undefined: it is not running, and this process stands in for it */
export async function checkCgroup(pid: number | undefined): Promise<Finding> {
  const about = "cgroup";
  const advice =
    "run the agent from its systemd unit, which delegates a cgroup; without one it searches /proc for what builds leave behind";
  if (pid === undefined) {
    const home = await detectCgroups();
    if ("unavailable" in home) return { about, state: "warning", text: home.unavailable, advice };
    return { about, state: "good", text: `each build gets a cgroup of its own below ${home.directory}` };
  }
  try {
    const membership = await readFile(`/proc/${pid}/cgroup`, "utf8");
    const located = locateCgroup(await readFile("/proc/self/mountinfo", "utf8"), membership);
    if ("unavailable" in located) return { about, state: "warning", text: located.unavailable, advice };
    // The agent may have moved itself into a leaf, which lets it delegate controllers.
    const directory = located.directory.replace(/\/main$/, "");
    const controllers = await readWords(`${directory}/cgroup.controllers`);
    const lacking = ["cpu", "memory", "pids"].filter((one) => !controllers.includes(one));
    const text = `the agent is in ${directory}`;
    if (lacking.length === 0) return { about, state: "good", text: `${text}, with limits for builds` };
    const boot =
      "job limits are not enforced: boot with cgroup_enable=memory, or systemd.unified_cgroup_hierarchy=1";
    return { about, state: "warning", text: `${text}, without ${lacking.join(", ")}`, advice: boot };
  } catch (error) {
    return {
      about,
      state: "warning",
      text: `the agent's cgroup cannot be read: ${(error as Error).message}`,
      advice,
    };
  }
}

/** No clock that is right says less. */
const firstRelease = Date.UTC(2026, 0);

export async function checkClock(): Promise<Finding> {
  const about = "clock";
  const now = new Date().toISOString();
  const advice =
    "certificates and retention depend on it: set it, and keep it in sync, for example with systemd-timesyncd";
  if (Date.now() < firstRelease) return { about, state: "bad", text: `it says ${now}`, advice };
  const show = ["show", "--property=NTPSynchronized", "--value"];
  const { stdout, failed } = await execa("timedatectl", show, { reject: false, timeout: commandTimeoutMs });
  const text = `it says ${now}`;
  if (failed) return { about, state: "good", text };
  if (stdout.trim() === "yes") return { about, state: "good", text: `${text}, synchronized` };
  return { about, state: "warning", text: `${text}, not synchronized`, advice };
}
