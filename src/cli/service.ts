/** The agent and the system it lives in: the signals that it obeys, and what it tells systemd. */
import type { Agent } from "#/agent/agent.ts";
import { createNotifier, type Notifier } from "#/host/notify.ts";
import { loadSystemCalls } from "#/host/syscalls.ts";
import type { Log } from "#/lib/log.ts";
import { onSignals } from "./signals.ts";

/** How long the way down takes at most besides the builds that run, in milliseconds. */
const wayDown = 60_000;

const progressIntervalMs = 5000;
const startTimeoutMs = 60_000;

/** Gives a start that gets on more time, however many builds are kept. @returns call it whenever a part of it is done */
export function extendStart(): () => void {
  const notifier = createNotifier(process.env, loadSystemCalls());
  let next = 0;
  return () => {
    if (performance.now() < next) return;
    next = performance.now() + progressIntervalMs;
    notifier.starting(startTimeoutMs);
  };
}

/**
 * The first SIGTERM or Ctrl-C drains, the second stops; SIGHUP reloads. Without systemd nobody hears the rest.
 * @param isHealthy whether the agent still does what it is for
 */
export function followSystem(agent: Agent, log: Log, isHealthy = async () => true): void {
  const notifier = createNotifier(process.env, loadSystemCalls());
  onSignals(["SIGTERM", "SIGINT"], endOnSignal(agent, log, notifier));
  onSignals(["SIGHUP"], () => void reload(agent, log, notifier));
  notifier.ready();
  if (notifier.watchdogIntervalMs === undefined) return;
  // Half of the interval, as sd_watchdog_enabled(3) advises. A stuck event loop doesn't come here, and is restarted; so is an
  // agent that can't be spoken to any more.
  const look = async () => {
    if (await isHealthy()) notifier.watchdog();
    else log.error({}, "the agent doesn't answer over its own control socket: systemd gets no sign of life");
  };
  const timer = setInterval(() => void look(), notifier.watchdogIntervalMs / 2);
  void agent.stopped.then(() => clearInterval(timer));
}

function endOnSignal(agent: Agent, log: Log, notifier: Notifier): () => void {
  let patience: AbortController | undefined;
  return () => {
    if (patience) return patience.abort();
    patience = new AbortController();
    notifier.stopping(agent.config.stopTimeoutMs + wayDown);
    const running = agent.builds.running.length;
    if (running > 0) {
      const limit = agent.config.stopTimeoutMs / 1000;
      log.info(
        { running },
        `ending when the running builds have ended, in ${limit} s at most; once more stops them`,
      );
    }
    const timeout = AbortSignal.timeout(agent.config.stopTimeoutMs);
    agent.stop("stop", AbortSignal.any([patience.signal, timeout])).catch((error) => {
      log.error({}, `the way down failed: ${error.stack}`);
      process.exit(1);
    });
  };
}

async function reload(agent: Agent, log: Log, notifier: Notifier): Promise<void> {
  notifier.reloading();
  try {
    await agent.reload();
  } catch (error) {
    log.error({}, `the old configuration stays in force: ${(error as Error).message}`);
  }
  notifier.ready();
}
