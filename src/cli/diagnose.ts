/** The checks behind `labgear doctor`, one function each. */
import { existsSync } from "node:fs";
import { access, constants } from "node:fs/promises";
import { dirname } from "node:path";
import { loadConfig } from "#/config/load.ts";
import type { Config } from "#/config/model.ts";
import { formatSize } from "#/config/units.ts";
import { Admin } from "#/gearman/admin.ts";
import { type ServerAddress, serverName } from "#/gearman/dial.ts";
import { detectCgroups } from "#/host/cgroup.ts";
import { freeSpace } from "#/host/disk.ts";
import { defaultServer, serverAddresses } from "#/servers.ts";
import type { AgentStatus } from "#/status.ts";
import { managerFunctions } from "#/zuul/functions.ts";
import { findAgent } from "./options.ts";

export interface Finding {
  readonly about: "configuration" | "agent" | "job server" | "cgroup" | "disk";
  readonly state: "good" | "warning" | "bad";
  readonly text: string;
  /** What to do. */
  readonly advice?: string;
}

interface Patient {
  readonly config?: string;
  readonly stateDir: string;
  readonly control?: string;
}

/** All findings about this box, in the order in which a person would look. Never throws. */
export async function diagnose(patient: Patient): Promise<Finding[]> {
  const [config, ...findings] = await checkConfiguration(patient.config);
  findings.push(await checkAgent(patient));
  for (const server of config ? await serverAddresses(config) : []) {
    findings.push(await checkServer(server, config?.name ?? ""));
  }
  findings.push(await checkCgroup());
  findings.push(await checkDisk(patient.stateDir, config?.builds.minFree ?? 0));
  return findings;
}

async function checkConfiguration(file?: string): Promise<[Config | undefined, ...Finding[]]> {
  const about = "configuration";
  try {
    const config = await loadConfig(file ? { file } : {});
    const text = `${config.files.join(", ")}: ${config.jobs.size} jobs`;
    if (config.jobs.size > 0) return [config, { about, state: "good", text }];
    return [
      config,
      { about, state: "warning", text, advice: "without jobs nothing is offered: add one under jobs:" },
    ];
  } catch (error) {
    const advice = "mend it, and see `labgear check`";
    const lines = (error as Error).message.split("\n");
    return [undefined, ...lines.map((text): Finding => ({ about, state: "bad", text, advice }))];
  }
}

async function checkAgent({ control }: Patient): Promise<Finding> {
  const about = "agent";
  try {
    const status = await findAgent(control ? { control } : {}).json<AgentStatus>("GET", "/status");
    const held = status.nodes.flatMap((node) => node.reasons.map((reason) => `${node.name} ${reason}`));
    const text = `${status.name} is ${status.state}, pid ${status.pid}`;
    if (held.length === 0) return { about, state: "good", text };
    const advice = "see `labgear status`; `labgear resume` ends a pause";
    return { about, state: "warning", text: `${text}; ${held.join("; ")}`, advice };
  } catch (error) {
    return { about, state: "bad", text: (error as Error).message };
  }
}

async function checkServer(server: ServerAddress, manager: string): Promise<Finding> {
  const about = "job server";
  const name = serverName(server);
  try {
    await using admin = await Admin.connect(server, {
      signal: AbortSignal.timeout(5000),
      answerTimeout: 5000,
    });
    const functions = await admin.status();
    const wanted = [...managerFunctions(manager)];
    const registered = wanted.every((name) =>
      functions.some((entry) => entry.function === name && entry.workers > 0),
    );
    if (registered) return { about, state: "good", text: `${name} answers, and has this box registered` };
    const advice = "start the agent; if it runs, its log says why it isn't registered";
    return { about, state: "warning", text: `${name} answers, but doesn't know ${manager}`, advice };
  } catch (error) {
    const advice =
      server === defaultServer
        ? "no server is configured and none listens here: the agent will bring its own, or name one under servers:"
        : "check the address under servers:, the network, and that a Gearman job server listens there";
    return {
      about,
      state: server === defaultServer ? "warning" : "bad",
      text: (error as Error).message,
      advice,
    };
  }
}

async function checkCgroup(): Promise<Finding> {
  const about = "cgroup";
  const home = await detectCgroups();
  if ("unavailable" in home) {
    const advice =
      "run the agent from its systemd unit, which delegates a cgroup; else builds are searched for in /proc";
    return { about, state: "warning", text: home.unavailable, advice };
  }
  return { about, state: "good", text: `each build gets a group of its own below ${home.directory}` };
}

async function checkDisk(stateDir: string, minFree: number): Promise<Finding> {
  const about = "disk";
  // The folder may be yet to be made: then the one that holds it counts.
  let folder = stateDir;
  while (!existsSync(folder) && dirname(folder) !== folder) folder = dirname(folder);
  try {
    const free = await freeSpace(folder);
    const text = `${formatSize(free)} free at ${folder}, min-free is ${formatSize(minFree)}`;
    if (free < minFree)
      return { about, state: "bad", text, advice: "no build is taken: free some, or lower builds.min-free" };
    await access(folder, constants.W_OK);
    return { about, state: "good", text };
  } catch (error) {
    const advice = "name a folder that this user may write with --state-dir";
    return { about, state: "bad", text: `${stateDir} can't be used: ${(error as Error).message}`, advice };
  }
}
