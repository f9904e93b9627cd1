/** `labgear doctor`: finds out what keeps the agent from working, and says what to do about each finding. */

import { existsSync, statSync } from "node:fs";
import { access, constants } from "node:fs/promises";
import { dirname } from "node:path";
import type { Command } from "commander";
import { execa } from "execa";
import { serverAddresses } from "#/agent/servers.ts";
import { isOffered } from "#/client/registered.ts";
import { loadConfig } from "#/config/load.ts";
import type { Config } from "#/config/model.ts";
import { freeInodes, freeSpace, minFreeInodes } from "#/host/health.ts";
import { formatAddress } from "#/lib/address.ts";
import { describeOutage, whatEnds } from "#/lib/board-history.ts";
import type { AgentStatus, NodeStatus, ServerStatus } from "#/lib/status.ts";
import { formatSize } from "#/lib/units.ts";
import { managerFunctions } from "#/zuul/functions.ts";
import { checkAsAgent, describeConfig } from "../check.ts";
import { exitCodes } from "../exit.ts";
import { controlTimeoutMs, findAgent, newCommand, withControl } from "../options.ts";
import { askServers, type ServerAnswer, sharedManagers } from "../registered.ts";
import { stateCell, table } from "../table.ts";
import type { Finding } from "./finding.ts";
import { checkDoors, checkTraps } from "./job-server.ts";
import { checkLeftovers } from "./leftovers.ts";
import { checkAddon, checkHelper, checkPorts, checkUsers } from "./rights.ts";
import { checkCgroup, checkClock, checkUnit } from "./system.ts";

export function command(): Command {
  return withControl(
    newCommand("doctor [OPTIONS]", "Finds out what keeps the agent from working, and says what to do."),
  )
    .option("--config <file>", "the configuration to check")
    .option("--state-dir <folder>", "the agent's state directory", "/var/lib/labgear")
    .option("--json", "print the findings as one JSON array")
    .addHelpText("after", "\nExit code: 0 if nothing is wrong, otherwise 1.")
    .action(async (options: { config?: string; stateDir: string; control?: string; json?: true }) => {
      const findings = await diagnose(options);
      process.stdout.write(options.json ? `${JSON.stringify(findings)}\n` : findingsText(findings));
      if (findings.some(({ state }) => state === "bad")) process.exitCode = exitCodes.failure;
    });
}

function findingsText(findings: readonly Finding[]): string {
  const marks = { good: "ok", warning: "note", bad: "BAD" };
  const rows = findings.flatMap(({ state, about, text, advice }) => [
    [stateCell(marks[state]), about, text],
    ...(advice ? [["", "", `→ ${advice}`]] : []),
  ]);
  return table(["", "", { fit: "wrap" }], rows);
}

interface DiagnoseOptions {
  readonly config?: string;
  readonly stateDir: string;
  readonly control?: string;
}

/** All findings, in the order in which a person would look. Never throws. */
async function diagnose(options: DiagnoseOptions): Promise<Finding[]> {
  const [config, ...findings] = await checkConfiguration(options.config);
  const [pid, ...agent] = await checkAgent(options);
  return [
    ...findings,
    ...agent,
    await checkUnit(),
    ...(config ? await checkServers(config) : []),
    await checkUsers(pid, config),
    ...(await checkHelper(pid)),
    ...(await checkLeftovers(pid)),
    ...(await checkPorts(pid)),
    await checkAddon(),
    await checkCgroup(pid),
    await checkDisk(options.stateDir, config?.builds.minFreeBytes),
    await checkClock(),
  ];
}

async function checkConfiguration(file?: string): Promise<[Config | undefined, ...Finding[]]> {
  const about = "configuration";
  try {
    await asAgent(file);
    const config = await loadConfig(file === undefined ? {} : { file });
    const text = describeConfig(config);
    if (config.jobs.size > 0) return [config, { about, state: "good", text }];
    const advice = "without jobs the box offers nothing: add one under jobs:";
    return [config, { about, state: "warning", text, advice }];
  } catch (error) {
    const advice = "fix it, then run `labgear check`";
    const lines = (error as Error).message.split("\n");
    return [undefined, ...lines.map((text): Finding => ({ about, state: "bad", text, advice }))];
  }
}

/** @throws Error with the mistakes that the agent's user finds where this one is root */
async function asAgent(file: string | undefined): Promise<void> {
  const [program, ...args] = (file === undefined && checkAsAgent()) || [];
  if (!program) return;
  const { failed, stderr } = await execa(program, args, { reject: false, stdin: "ignore" });
  if (failed) throw new Error(stderr.replaceAll(/^labgear: /gm, ""));
}

/** @returns also its pid if it is running */
async function checkAgent({ control }: DiagnoseOptions): Promise<[number | undefined, ...Finding[]]> {
  const about = "agent";
  try {
    const status = await findAgent({ control }).json<AgentStatus>("GET", "/status", {
      timeoutMs: controlTimeoutMs,
    });
    const held = status.nodes
      .filter(({ outage }) => !outage)
      .flatMap((node) => node.reasons.map((reason) => `${node.name} ${reason}`));
    const text = `${status.name} is ${status.state}, pid ${status.pid}`;
    const more = [...status.servers.flatMap(checkConnections), ...status.nodes.flatMap(checkBoard)];
    if (held.length === 0) return [status.pid, { about, state: "good", text }, ...more];
    const advice = "it takes no builds: see `labgear status`; `labgear resume` ends a pause or a drain";
    return [status.pid, { about, state: "warning", text: `${text}; ${held.join("; ")}`, advice }, ...more];
  } catch (error) {
    // The client's message ends with its advice.
    const [text = "", advice] = (error as Error).message.split(/: (?=[^:]*$)/);
    return [undefined, { about, state: "bad", text, ...(advice !== undefined && { advice }) }];
  }
}

/** One finding for a board that takes no builds: since when, why, and what ends it. */
function checkBoard({ name, outage }: NodeStatus): Finding[] {
  if (!outage) return [];
  const text = `${name} ${describeOutage(outage)}: ${outage.reason}`;
  const state = outage.state === "paused" ? "warning" : "bad";
  return [{ about: "board", state, text, advice: whatEnds(name, outage) }];
}

/** Each executor has a connection of its own: without it, it gets no builds. */
function checkConnections({ server, status, connections }: ServerStatus): Finding[] {
  if (connections.registered === connections.total) return [];
  const advice = "see the agent's log; a job server also needs a file descriptor for each connection";
  return [{ about: "agent", state: "bad", text: `${server}: ${status}`, advice }];
}

async function checkServers(config: Config): Promise<Finding[]> {
  try {
    const servers = await serverAddresses(config);
    const answers = await askServers(servers);
    const traps = answers.map((answer) => ("error" in answer ? [] : checkTraps(answer.server)));
    return [
      ...answers.map((answer) => checkServer(answer, config)),
      ...(await Promise.all(traps)).flat(),
      ...(await checkDoors(servers)),
    ];
  } catch (error) {
    const advice = "check the files under tls: and that the agent's user may read them";
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
      "none is configured and none listens here: the agent will start its own; or name one under servers:";
    return { about, state: "warning", text, advice };
  }
  const name = formatAddress(answer.server);
  if (sharedManagers(answer.functions).includes(config.name)) {
    const advice =
      "give each agent a name of its own under name:, and restart it; stops may reach the wrong one";
    return { about, state: "bad", text: `${name}: more than one agent is named ${config.name}`, advice };
  }
  if ([...managerFunctions(config.name)].every((wanted) => isOffered(answer.functions, wanted))) {
    return { about, state: "good", text: `${name} answers and has this box registered` };
  }
  const advice = "start the agent; if it is running, its log says why it is not registered";
  return { about, state: "warning", text: `${name} answers, but doesn't know ${config.name}`, advice };
}

async function checkDisk(stateDir: string, minFree?: number): Promise<Finding> {
  const about = "disk";
  // Before the first start the folder does not exist yet: check its parent.
  let folder = stateDir;
  while (!existsSync(folder) && dirname(folder) !== folder) folder = dirname(folder);
  try {
    if (!statSync(folder).isDirectory()) throw new Error(`${folder} is not a folder`);
    const free = await freeSpace(folder);
    const limit = minFree === undefined ? "" : `, min-free is ${formatSize(minFree)}`;
    const text = `${formatSize(free)} free at ${folder}${limit}`;
    const advice = "the box takes no builds: free some space, or lower builds.min-free";
    if (minFree !== undefined && free < minFree) return { about, state: "bad", text, advice };
    const inodes = await freeInodes(folder);
    if (minFree && inodes && inodes.free < minFreeInodes(inodes.total)) {
      const few = `${inodes.free} inodes free at ${folder}`;
      return { about, state: "bad", text: few, advice: "the box takes no builds: remove some files" };
    }
    await access(folder, constants.W_OK);
    return { about, state: "good", text };
  } catch (error) {
    const advice = "pass a folder that this user may write to with --state-dir";
    return { about, state: "bad", text: `${stateDir} can't be used: ${(error as Error).message}`, advice };
  }
}
