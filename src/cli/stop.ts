/** `labgear stop`: stops a build on this box, on any box through its manager, or takes it out of the queue. */
import type { Command } from "commander";
import { askServer, managersWith } from "#/client/registered.ts";
import { ControlError } from "#/control/errors.ts";
import { Client } from "#/gearman/client/client.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { formatAddress } from "#/lib/address.ts";
import { stopFunction } from "#/zuul/functions.ts";
import { CommandError } from "./exit.ts";
import { asRefused, findGate, type GateOptions, readBuild, withGate } from "./gate-options.ts";
import {
  buildName,
  caller,
  controlTimeoutMs,
  findAgent,
  newCommand,
  selectBuild,
  withControl,
} from "./options.ts";
import { cancelQueued } from "./queued.ts";
import { findFunction, sharedManagers } from "./registered.ts";
import { findServers, type ServerOptions, withServers } from "./servers.ts";

interface StopOptions extends ServerOptions, GateOptions {
  readonly control?: string;
  readonly key?: string;
}

const managerTimeoutMs = 20_000;

/** Of agents that share a name, any may take the request, and only one has the build. */
const maxTries = 50;

export function command(): Command {
  return withGate(
    withServers(
      withControl(
        newCommand(
          "stop [MANAGER] JOB#NUMBER|UUID [OPTIONS]",
          "Stops a build; by its uuid also one that is queued.",
        ),
      ),
    ),
  )
    .option("--key <file>", "with --gate: the build's key, as `labgear build --key` wrote it")
    .argument("<build>", "JOB#NUMBER of this box, or a build's uuid; or the name of another box's agent")
    .argument("[of-manager]", "with an agent's name: its build, JOB#NUMBER or uuid", buildName)
    .addHelpText(
      "after",
      "\nJOB#NUMBER alone goes over the control socket. For a uuid, all job servers and all agents on them are asked." +
        "\nTaking a build out of the queue takes gearmand 1.1.19 or newer, or the embedded job server.",
    )
    .action(async (first: string, second: string | undefined, options: StopOptions) => {
      const gate = await findGate(options);
      if (gate) {
        const uuid = second ?? first;
        await gate.stop(await readBuild(options.key, uuid)).catch(asRefused);
        process.stdout.write(`${uuid} is being stopped\n`);
        return;
      }
      process.stdout.write(`${await (second ? stopAt(first, second, options) : stopUuid(first, options))}\n`);
    });
}

async function stopAt(manager: string, build: string, options: ServerOptions): Promise<string> {
  const servers = await findServers(options);
  const lack = `no manager ${manager} is connected`;
  await askManager(await findFunction(servers, stopFunction(manager), lack), manager, build);
  return `${build} is being stopped`;
}

/** @throws CommandError usage where no agent runs; ControlError when it doesn't run that build */
async function stopHere(build: string, options: StopOptions): Promise<string> {
  const body = { build: buildName(build), who: caller() };
  try {
    const { stopping } = await findAgent(options).json<{ stopping: string }>("POST", "/stop", {
      ...{ body, timeoutMs: controlTimeoutMs },
    });
    return `${stopping} is being stopped`;
  } catch (cause) {
    if (!(cause instanceof ControlError && cause.code === "NO_AGENT")) throw cause;
    const text = `no agent runs here, so ${build} needs its MANAGER: \`labgear stop MANAGER ${build}\``;
    throw new CommandError("usage", text, { cause });
  }
}

async function stopUuid(uuid: string, options: StopOptions): Promise<string> {
  if (uuid.includes("#")) return await stopHere(uuid, options);
  const servers = await findServers(options);
  const outcomes = await Promise.allSettled(servers.map((server) => stopOn(server, buildName(uuid))));
  const done = outcomes.flatMap((outcome) => (outcome.status === "fulfilled" ? [outcome.value] : []));
  if (done.includes("stopping")) return `${uuid} is being stopped`;
  if (done.includes("cancelled")) return `${uuid} was queued and is cancelled`;
  const failed = outcomes.find((outcome) => outcome.status === "rejected");
  if (failed) throw failed.reason;
  const unable = servers.filter((_, index) => done[index] === "unable").map(formatAddress);
  const hint =
    unable.length > 0 ? `; ${unable.join(", ")} can't cancel queued ones: end the client that waits` : "";
  throw new CommandError(
    "failure",
    `no build ${uuid} is running${unable.length > 0 ? "" : " or queued"}${hint}`,
  );
}

/** Stops a build of a job server, wherever it is. */
async function stopOn(
  server: ServerAddress,
  uuid: string,
): Promise<"stopping" | "cancelled" | "unknown" | "unable"> {
  const queued = await cancelQueued(server, uuid);
  // Also after a cancel: an agent may have got the build just before.
  return (await askAllManagers(server, uuid)) ? "stopping" : queued;
}

/** @returns whether one of them runs the build */
export async function askAllManagers(server: ServerAddress, uuid: string): Promise<boolean> {
  const managers = managersWith(await askServer(server), stopFunction);
  const answers = await Promise.allSettled(managers.map((manager) => askManager(server, manager, uuid)));
  return answers.some(({ status }) => status === "fulfilled");
}

/**
 * Asks a manager to stop a build.
 * @param build JOB#NUMBER, or a uuid
 * @throws GearmanError; CommandError failure when no such build is running there, or the manager does not answer
 */
export async function askManager(server: ServerAddress, manager: string, build: string): Promise<void> {
  if (build.includes("#") && (await isShared(server, manager))) {
    const text = `more than one agent is named ${manager}, and each may have a ${build}: stop it by its uuid`;
    throw new CommandError("failure", text);
  }
  await using client = await Client.connect(server);
  const data = JSON.stringify(selectBuild(build));
  let silent = false;
  const timer = setTimeout(() => {
    silent = true;
    void client[Symbol.asyncDispose]();
  }, managerTimeoutMs);
  try {
    for (let tries = 1; !(await isDone(client, manager, data)); tries++) {
      if (tries < maxTries && (await isShared(server, manager))) continue;
      const hint = build.includes("#")
        ? ""
        : `; \`labgear stop ${build}\` finds it elsewhere, and in the queue`;
      throw new CommandError("failure", `${manager} is not running build ${build}${hint}`);
    }
  } catch (cause) {
    if (!silent) throw cause;
    throw new CommandError("failure", `${manager} does not answer: see its log`, { cause });
  } finally {
    clearTimeout(timer);
  }
}

/** False: the agent that took the request doesn't run the build. */
async function isDone(client: Client, manager: string, data: string): Promise<boolean> {
  const submitted = await client.submit({ function: stopFunction(manager), data, priority: "high" });
  for await (const event of submitted) if (event.type === "fail") return false;
  return true;
}

async function isShared(server: ServerAddress, manager: string): Promise<boolean> {
  return sharedManagers(await askServer(server).catch(() => [])).includes(manager);
}
