/** What the control socket answers: the agent's state as JSON, and the orders that change it. */
import type { Agent } from "#/agent.ts";
import { readConsole } from "#/builds/follow.ts";
import { type BuildRecord, readRecord } from "#/builds/record.ts";
import type { BuildSummary } from "#/builds/store.ts";
import { ControlError } from "#/control/errors.ts";
import type { ControlAnswer, ControlRequest, ControlRoutes } from "#/control/server.ts";
import { agentStatus } from "./status.ts";

/** How many builds a list holds unless more are asked for. */
const listed = 50;

/** The routes of one agent. An order is answered when it is carried out; a restart when it is taken. */
export function controlRoutes(agent: Agent): ControlRoutes {
  return {
    "GET /status": async () => ({ json: agentStatus(agent) }),
    "GET /builds": async (request) => ({ json: listBuilds(agent, request) }),
    "GET /build": async (request) => ({ json: await oneBuild(agent, request) }),
    "GET /console": async (request) => ({ bytes: await consoleBytes(agent, request) }),
    "POST /pause": order(agent, (request) => agent.pause(text(request, "reason") ?? "paused by hand")),
    "POST /resume": order(agent, () => agent.resume()),
    "POST /drain": order(agent, ({ signal }) => agent.drain(signal)),
    "POST /reload": order(agent, () => agent.reload()),
    "POST /restart": order(agent, () => {
      agent.restartWhenIdle().catch((error) => agent.log.error({}, `no restart: ${error.message}`));
    }),
  };
}

/** An order: checks the node that the request names, and answers with the state that follows from it. */
function order(agent: Agent, act: (request: ControlRequest) => void | Promise<void>) {
  return async (request: ControlRequest): Promise<ControlAnswer> => {
    const name = text(request, "node");
    if (name !== undefined && name !== agent.node.name) {
      throw new ControlError("REFUSED", `this box has no node ${name}; it has ${agent.node.name}`);
    }
    await act(request);
    return { json: agentStatus(agent) };
  };
}

function text({ body }: ControlRequest, key: string): string | undefined {
  const value = body[key];
  return typeof value === "string" ? value : undefined;
}

function listBuilds(agent: Agent, { query }: ControlRequest): BuildSummary[] {
  const job = query.get("job") ?? undefined;
  const running = agent.builds.running.map((build) => build.record);
  const all = [
    ...running.filter((build) => !job || build.job === job).reverse(),
    ...agent.builds.finished(job),
  ];
  return all.slice(0, Number(query.get("limit") ?? listed)).map(withoutParameters);
}

function withoutParameters(build: BuildSummary & Partial<BuildRecord>): BuildSummary {
  const { parameters: _, ...summary } = build;
  return summary;
}

/** The build that `job` and `number` name; without a number the job's newest, running or finished. */
function findBuild(agent: Agent, { query }: ControlRequest): { job: string; number: number } {
  const job = query.get("job") ?? "";
  const newest = () => {
    const running = agent.builds.running
      .filter((build) => build.record.job === job)
      .map((build) => build.record.number);
    return Math.max(0, ...running, agent.builds.finished(job)[0]?.number ?? 0);
  };
  const number = Number(query.get("number") ?? newest());
  const selector = { job, number };
  if (agent.builds.findRunning(selector) ?? agent.builds.findFinished(selector)) return selector;
  const known = agent.config.jobs.has(job) ? `there is no build ${job}#${number}` : `there is no job ${job}`;
  throw new ControlError(
    "REFUSED",
    number > 0 ? `there is no build ${job}#${number}` : `${known} with builds`,
  );
}

async function oneBuild(agent: Agent, request: ControlRequest): Promise<BuildRecord> {
  const { job, number } = findBuild(agent, request);
  return agent.builds.findRunning({ job, number })?.record ?? readRecord(agent.builds.folder(job, number));
}

async function consoleBytes(agent: Agent, request: ControlRequest): Promise<AsyncIterable<Buffer>> {
  const selector = findBuild(agent, request);
  const follow = request.query.has("follow");
  const live = follow ? agent.builds.findRunning(selector)?.console : undefined;
  return readConsole(agent.builds.folder(selector.job, selector.number), {
    ...(live ? { live } : {}),
    signal: request.signal,
  });
}
