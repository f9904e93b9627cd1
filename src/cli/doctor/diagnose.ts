/** The checks behind `labgear doctor`, one function each. */
import { existsSync, statSync } from "node:fs";
import { access, constants } from "node:fs/promises";
import { dirname } from "node:path";
import { serverAddresses } from "#/agent/servers.ts";
import { loadConfig } from "#/config/load.ts";
import type { Config } from "#/config/model.ts";

import { freeSpace } from "#/host/health.ts";
import { formatAddress } from "#/lib/address.ts";
import type { AgentStatus } from "#/lib/status.ts";
import { formatSize } from "#/lib/units.ts";
import { managerFunctions } from "#/zuul/functions.ts";
import { findAgent, patience } from "../options.ts";
import { describeConfig } from "../print.ts";
import { askServers, isOffered, type ServerAnswer } from "../registered.ts";
import type { Finding } from "./finding.ts";
import { checkAddon, checkPorts, checkUsers } from "./rights.ts";
import { checkCgroup, checkClock, checkUnit } from "./system.ts";

interface Patient {
  readonly config?: string;
  readonly stateDir: string;
  readonly control?: string;
}

/** All findings about this box, in the order in which a person would look. Never throws. */
export async function diagnose(patient: Patient): Promise<Finding[]> {
  const [config, ...findings] = await checkConfiguration(patient.config);
  const [pid, agent] = await checkAgent(patient);
  return [
    ...findings,
    agent,
    await checkUnit(),
    ...(config ? await checkServers(config) : []),
    await checkUsers(pid, config),
    ...(await checkPorts(pid)),
    await checkAddon(),
    await checkCgroup(pid),
    await checkDisk(patient.stateDir, config?.builds.minFree),
    await checkClock(),
  ];
}

async function checkConfiguration(file?: string): Promise<[Config | undefined, ...Finding[]]> {
  const about = "configuration";
  try {
    const config = await loadConfig(file === undefined ? {} : { file });
    const text = describeConfig(config);
    if (config.jobs.size > 0) return [config, { about, state: "good", text }];
    const advice = "without jobs nothing is offered: add one under jobs:";
    return [config, { about, state: "warning", text, advice }];
  } catch (error) {
    const advice = "mend it, and see `labgear check`";
    const lines = (error as Error).message.split("\n");
    return [undefined, ...lines.map((text): Finding => ({ about, state: "bad", text, advice }))];
  }
}

/** @returns also its pid, when it runs */
async function checkAgent({ control }: Patient): Promise<[number | undefined, Finding]> {
  const about = "agent";
  try {
    const status = await findAgent({ control }).json<AgentStatus>("GET", "/status", { patience });
    const held = status.nodes.flatMap((node) => node.reasons.map((reason) => `${node.name} ${reason}`));
    const text = `${status.name} is ${status.state}, pid ${status.pid}`;
    if (held.length === 0) return [status.pid, { about, state: "good", text }];
    const advice = "it takes no builds now: see `labgear status`; `labgear resume` ends a pause or a drain";
    return [status.pid, { about, state: "warning", text: `${text}; ${held.join("; ")}`, advice }];
  } catch (error) {
    // What the client says has its advice in it.
    const [text = "", advice] = (error as Error).message.split(/: (?=[^:]*$)/);
    return [undefined, { about, state: "bad", text, ...(advice !== undefined && { advice }) }];
  }
}

async function checkServers(config: Config): Promise<Finding[]> {
  try {
    const answers = await askServers(await serverAddresses(config));
    return answers.map((answer) => checkServer(answer, config));
  } catch (error) {
    const advice = "check the files under tls:, and that the agent's user may read them";
    return [{ about: "job server", state: "bad", text: (error as Error).message, advice }];
  }
}

function checkServer(answer: ServerAnswer, config: Config): Finding {
  const about = "job server";
  if ("error" in answer) {
    const text = answer.error.message;
    if (config.servers.length > 0) {
      const advice =
        "check the address under servers:, the network, and that a Gearman job server listens there";
      return { about, state: "bad", text, advice };
    }
    const advice =
      "no server is configured and none listens here: the agent will bring its own, or name one under servers:";
    return { about, state: "warning", text, advice };
  }
  const name = formatAddress(answer.server);
  if ([...managerFunctions(config.name)].every((wanted) => isOffered(answer.functions, wanted))) {
    return { about, state: "good", text: `${name} answers, and has this box registered` };
  }
  const advice = "start the agent; if it runs, its log says why it isn't registered";
  return { about, state: "warning", text: `${name} answers, but doesn't know ${config.name}`, advice };
}

async function checkDisk(stateDir: string, minFree?: number): Promise<Finding> {
  const about = "disk";
  // The folder may be yet to be made: then the one that holds it counts.
  let folder = stateDir;
  while (!existsSync(folder) && dirname(folder) !== folder) folder = dirname(folder);
  try {
    if (!statSync(folder).isDirectory()) throw new Error(`${folder} is no folder`);
    const free = await freeSpace(folder);
    const limit = minFree === undefined ? "" : `, min-free is ${formatSize(minFree)}`;
    const text = `${formatSize(free)} free at ${folder}${limit}`;
    const advice = "no build is taken: free some, or lower builds.min-free";
    if (minFree !== undefined && free < minFree) return { about, state: "bad", text, advice };
    await access(folder, constants.W_OK);
    return { about, state: "good", text };
  } catch (error) {
    const advice = "name a folder that this user may write with --state-dir";
    return { about, state: "bad", text: `${stateDir} can't be used: ${(error as Error).message}`, advice };
  }
}
