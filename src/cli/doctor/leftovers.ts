/** The doctor's checks of what builds may have left outside of the agent's unit. */
import { readFile } from "node:fs/promises";
import { type Account, untrustedAccounts } from "#/host/accounts.ts";
import { findStarters, outsideProcesses, unitOf } from "#/host/outsiders.ts";
import { describeProcess } from "#/host/proc.ts";
import type { Finding } from "./finding.ts";

const about = "leftovers";

/** @param pid the agent's; undefined: it is not running */
export async function checkLeftovers(pid: number | undefined): Promise<Finding[]> {
  const accounts = await untrustedAccounts();
  if (accounts.length === 0) return [];
  const unit = pid === undefined ? undefined : await unitOf(pid);
  const findings: Finding[] = [];
  for (const { user, stat } of await outsideProcesses(accounts, unit)) {
    const { command } = await describeProcess(stat);
    const text = `process ${stat.pid} (${command}) of ${user} is outside of the agent's unit`;
    const advice = `if you didn't start it, a build did; to end it: sudo kill -KILL ${stat.pid}`;
    findings.push({ about, state: "bad", text, advice });
  }
  const { found, hidden } = await findStarters(accounts);
  for (const text of found) {
    const advice = `if you didn't make it, a build did; to remove it: ${remedy(text)}`;
    findings.push({ about, state: "bad", text, advice });
  }
  if (hidden.length > 0) {
    const text = `this user can't look into ${shortened(hidden)}`;
    findings.push({ about, state: "warning", text, advice: "run it as root: sudo labgear doctor" });
  }
  const open = await unexpired(accounts);
  if (open.length > 0) {
    const text = `cron, at and ssh would start programs as ${shortened(open)}`;
    const advice = `sudo chage --expiredate 1 ${open[0]}, and so on: the agent needs no valid account for them`;
    findings.push({ about, state: "warning", text, advice });
  }
  if (findings.length > 0) return findings;
  return [{ about, state: "good", text: "builds have left nothing outside of the agent's unit" }];
}

function remedy(text: string): string {
  const [user = "", , what] = text.split(" ");
  if (what === "lingering") return `sudo loginctl disable-linger ${user}`;
  const path = text.slice(text.indexOf(": ") + 2);
  return text.includes(" has a crontab") ? `sudo crontab -r -u ${user}` : `sudo rm -r ${path}`;
}

function shortened([first, ...others]: readonly string[]): string {
  return others.length === 0 ? `${first}` : `${first} and ${others.length} more`;
}

/** The accounts that don't expire; none when this user may not read it. Source: shadow(5). */
async function unexpired(accounts: readonly Account[]): Promise<string[]> {
  const text = await readFile("/etc/shadow", "utf8").catch(() => "");
  const expiry = new Map(text.split("\n").map((line) => [line.split(":")[0], line.split(":")[7]] as const));
  return accounts.filter(({ name }) => expiry.get(name) === "").map(({ name }) => name);
}
