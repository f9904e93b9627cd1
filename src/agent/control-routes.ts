/** The routes of the control socket: the agent's state as JSON, its builds, and the orders that change it. */
import { once } from "node:events";
import { readConsole } from "#/builds/console/follow.ts";
import type { ConsoleLog } from "#/builds/console/log.ts";
import { type BuildFilter, parseFilter } from "#/builds/filter.ts";
import { type BuildSummary, readCases, readRecord } from "#/builds/record.ts";
import type { Selector } from "#/builds/store.ts";
import { openStored } from "#/builds/workspace/files.ts";
import { ConfigError } from "#/config/errors.ts";
import { ControlError } from "#/control/errors.ts";
import type { ControlAnswer, ControlRequest, ControlRoutes } from "#/control/server.ts";
import { captureFile } from "#/lib/capture.ts";
import { printable } from "#/lib/text.ts";
import type { Agent } from "./agent.ts";
import { deviceRoutes } from "./device-routes.ts";
import { agentStatus } from "./status.ts";

/** How many builds a list holds unless the request has a limit of its own. */
const defaultLimit = 50;
const maxReasonChars = 500;
const maxWhoChars = 100;
/** What a command shows of a board. */
const historyMs = 30 * 86_400_000;

/** An order is answered when it is carried out, a restart when it is accepted. */
export function controlRoutes(agent: Agent): ControlRoutes {
  return {
    ...deviceRoutes(agent),
    "GET /status": async () => ({ json: agentStatus(agent) }),
    "GET /builds": async (request) => ({ json: buildList(agent, request) }),
    "GET /build": async (request) => ({ json: await oneBuild(agent, request) }),
    "GET /devices/history": async ({ query }) => ({
      json: (await agent.devices.historyOf(query.get("device") ?? "")?.read(Date.now() - historyMs)) ?? [],
    }),
    "GET /serial": async (request) => ({ bytes: await serialBytes(agent, request) }),
    "GET /console": async (request) => ({ bytes: await consoleBytes(agent, request) }),
    "POST /pause": order(agent, (request) =>
      agent.pause(
        text(request, "reason")?.slice(0, maxReasonChars) ?? "paused by hand",
        text(request, "node"),
        text(request, "who")?.slice(0, maxWhoChars),
      ),
    ),
    "POST /resume": order(agent, (request) => agent.resume(text(request, "node"))),
    "POST /release": order(agent, (request) => {
      const name = text(request, "node") ?? "";
      const lease = agent.leases.find(name);
      if (!lease) throw new ControlError("REFUSED", `${name} isn't leased`);
      lease.build.stop({ kind: "stopped", reason: "released by an operator of the box" });
    }),
    "POST /stop": async (request) => ({ json: stop(agent, request) }),
    "POST /drain": order(agent, ({ signal }) => agent.drain(signal)),
    "POST /reload": order(agent, () => refusing(agent.reload())),
    "POST /restart": order(agent, async () => {
      await refusing(agent.checkRestart());
      agent.restartWhenIdle().catch((error) => agent.log.error({}, `no restart: ${error.message}`));
    }),
  };
}

/** By JOB#NUMBER, or a uuid. */
function stop(agent: Agent, request: ControlRequest): { stopping: string } {
  const name = text(request, "build") ?? "";
  const { job, number } = findBuild(agent, name);
  const build = agent.builds.findRunning({ job, number });
  if (!build) throw new ControlError("REFUSED", `${job}#${number} has ended`);
  const who = text(request, "who")?.slice(0, maxWhoChars);
  build.stop({
    kind: "stopped",
    reason: `stopped on the box${who === undefined ? "" : ` by ${printable(who)}`}`,
  });
  return { stopping: `${job}#${number}` };
}

/** Checks the node that the request names, carries the order out, and answers with the state after it. */
function order(agent: Agent, act: (request: ControlRequest) => void | Promise<void>) {
  return async (request: ControlRequest): Promise<ControlAnswer> => {
    const name = text(request, "node");
    if (name !== undefined && !agent.nodes.find(name)) {
      const known = agent.nodes.all.map((node) => node.name).join(", ");
      throw new ControlError("NOT_FOUND", `this box has no node ${name}; it has ${known}`);
    }
    await act(request);
    return { json: agentStatus(agent) };
  };
}

function text({ body }: ControlRequest, key: string): string | undefined {
  const value = body[key];
  return typeof value === "string" ? value : undefined;
}

/** A mistake in the configuration is the client's to see, line by line. */
async function refusing(reading: Promise<void>): Promise<void> {
  try {
    await reading;
  } catch (cause) {
    if (cause instanceof ConfigError) throw new ControlError("CONFIGURATION", cause.message, { cause });
    throw cause;
  }
}

function buildList(agent: Agent, { query }: ControlRequest): BuildSummary[] {
  const filter = filterOf(query);
  const { job } = filter;
  const limit = query.get("limit") ?? `${defaultLimit}`;
  if (!/^[1-9][0-9]{0,8}$/.test(limit)) throw new ControlError("REFUSED", `${limit} is no number of builds`);
  const builds = agent.builds.list(filter);
  if (job !== undefined && agent.builds.list({ job }).length === 0 && !agent.config.jobs.has(job))
    throw noSuch(agent, job);
  return builds.slice(0, Number(limit)).map(({ summary, running }) => ({
    ...withoutInternals(summary),
    ...(running && { phase: running.state.phase }),
  }));
}

async function oneBuild(agent: Agent, { query }: ControlRequest) {
  const { job, number } = findBuild(agent, query.get("build") ?? "");
  const running = agent.builds.findRunning({ job, number });
  const folder = agent.builds.folder(job, number);
  const { key: _, request: _1, undelivered: _2, ...record } = running?.record ?? (await readRecord(folder));
  return { record, cases: (record.tests && (await readCases(folder))) ?? [] };
}

function filterOf(query: URLSearchParams): BuildFilter {
  try {
    return parseFilter((name) => query.get(name));
  } catch (cause) {
    throw new ControlError("REFUSED", (cause as Error).message, { cause });
  }
}

function withoutInternals({ request: _, ...summary }: BuildSummary): BuildSummary {
  return summary;
}

/** The build that a name means: JOB#NUMBER, JOB for the job's newest, or a uuid. */
function findBuild(agent: Agent, name: string): BuildSummary {
  const [, job, number] = /^(.+)#([1-9][0-9]{0,14})$/.exec(name) ?? [];
  const found = job
    ? agent.builds.find({ job, number: Number(number) })
    : (agent.builds.list({ job: name })[0] ?? agent.builds.find({ uuid: name }));
  if (found) return found.summary;
  throw noSuch(agent, name);
}

function noSuch(agent: Agent, name: string): ControlError {
  if (agent.config.jobs.has(name)) return new ControlError("NOT_FOUND", `there is no build of ${name} yet`);
  const known = [...agent.config.jobs.keys()].join(", ");
  const what = name.includes("#") ? `no build ${name}` : `no job or build ${name}; the jobs are ${known}`;
  return new ControlError("NOT_FOUND", `there is ${what}`);
}

async function consoleBytes(agent: Agent, { query, signal }: ControlRequest): Promise<AsyncIterable<Buffer>> {
  const build = findBuild(agent, query.get("build") ?? "");
  const live = query.has("follow") ? await liveConsole(agent, build, signal) : undefined;
  return withoutMissing(readConsole(agent.builds.folder(build.job, build.number), { live, signal }));
}

async function serialBytes(agent: Agent, { query }: ControlRequest): Promise<AsyncIterable<Buffer>> {
  const { job, number } = findBuild(agent, query.get("build") ?? "");
  const file = await openStored(agent.builds.folder(job, number), captureFile);
  if (file) return file.createReadStream();
  throw new ControlError(
    "NOT_FOUND",
    `${job}#${number} has no serial capture: only builds on a device have one`,
  );
}

/** The console of a build that runs, as soon as it is there. */
async function liveConsole(
  agent: Agent,
  build: Selector,
  signal: AbortSignal,
): Promise<ConsoleLog | undefined> {
  const running = agent.builds.findRunning(build);
  while (running && !running.console && running.state.phase !== "ended")
    await once(running, "changed", { signal });
  return running?.console;
}

/** A build that ended before it had a console has an empty one. */
async function* withoutMissing(bytes: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  try {
    yield* bytes;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}
