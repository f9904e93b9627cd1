/** Builds every part of the gate: the only file that knows them all. */
import { readFile } from "node:fs/promises";
import type { ServerConfig } from "#/config/sections/servers.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { lockFolder } from "#/host/lock.ts";
import { type Address, formatAddress } from "#/lib/address.ts";
import type { Log } from "#/lib/log.ts";
import { printable } from "#/lib/text.ts";
import { Api } from "./api.ts";
import { Audit } from "./audit.ts";
import { Builds } from "./builds.ts";
import { Callers } from "./callers.ts";
import type { GateConfig } from "./config.ts";
import type { Refusal } from "./errors.ts";
import type { Exchange } from "./exchange.ts";
import { Lab } from "./lab.ts";
import { GateMetrics } from "./metrics.ts";
import { startOperators } from "./operators.ts";
import { Rate } from "./rate.ts";
import { connectionLimits, type GateServer, startServer } from "./server.ts";
import { GateStore } from "./store.ts";

export interface Gate extends AsyncDisposable {
  readonly address: Address;
  readonly operators: Address | undefined;
  /** Reads the configuration again; builds go on as they began. @throws ConfigError, and the old one stays in force */
  reload(): Promise<void>;
}

/** Of a caller or a build, of a lease's holder, and of an address whose tokens aren't accepted: a second, and at once. */
const requestRate = [20, 200] as const;
const typingRate = [200, 1000] as const;
const failureRate = [2, 60] as const;

/** @throws what is wrong with configuration, state or addresses */
export async function startGate(load: () => GateConfig, log: Log): Promise<Gate> {
  let config = load();
  let servers = await readServers(config.servers);
  const { stateDir } = config;
  await using parts = new AsyncDisposableStack();
  parts.use(await lockFolder(stateDir, { program: "gate", option: "state-dir", mode: 0o700 }));
  const audit = new Audit(stateDir, log);
  const callers = new Callers(log);
  callers.use(config);
  const lab = new Lab(() => servers, log);
  let server: GateServer | undefined;
  const metrics = new GateMetrics({
    openBuilds: () => {
      const running = builds.open.filter(({ record }) => record.started !== undefined).length;
      return { queued: builds.open.length - running, running };
    },
    connections: () => server?.connections ?? 0,
    keyFailures: () => new Map(callers.issuers.map((issuer) => [issuer.config.name, issuer.failures])),
  });
  const builds = parts.use(
    new Builds({
      ...{ store: new GateStore(stateDir), lab, audit, log },
      keepDays: () => config.keepDays,
      onEnd: (record) => metrics.ended(record),
    }),
  );
  builds.resume();
  const rules = () => config.rules;
  const limits = {
    requests: new Rate(...requestRate),
    typing: new Rate(...typingRate),
    failures: new Rate(...failureRate),
  };
  const api = new Api({ rules, callers, builds, lab, audit, metrics, limits });
  const onRefusal = ({ request, path, from }: Exchange, { code, why, by }: Refusal) => {
    metrics.refused(code);
    const route = printable(path.slice(0, 200));
    const entry = {
      from,
      method: request.method,
      path: route,
      code,
      why: printable(why.slice(0, 1000)),
      ...by,
    };
    audit.add({ event: "refused", ...entry });
    log.info({ from, code, ...by }, `refused ${request.method} ${route}: ${entry.why}`);
  };
  server = parts.use(
    await startServer({
      ...{ listen: config.listen, ...(config.tls && { tls: config.tls }), log, onRefusal },
      limits: connectionLimits,
      proxies: () => config.proxies,
      handle: (exchange) => api.handle(exchange),
    }),
  );
  const operators =
    config.operators &&
    parts.use(await startOperators({ ...config.operators, audit, builds, metrics, rules }));
  audit.add({ event: "started", rules: config.rules.length });
  log.info({ rules: config.rules.length }, `the gate is up at ${formatAddress(server.address)}`);
  const kept = parts.move();
  return {
    address: server.address,
    operators: operators?.address,
    async reload() {
      const next = load();
      const nextServers = await readServers(next.servers);
      [config, servers] = [{ ...next, listen: config.listen, stateDir }, nextServers];
      callers.use(config);
      audit.add({ event: "reloaded", rules: config.rules.length });
      log.info(
        { rules: config.rules.length },
        "the configuration was read again; listen, tls and operators count from the next start",
      );
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** With what their TLS files hold. */
async function readServers(configs: readonly ServerConfig[]): Promise<ServerAddress[]> {
  return Promise.all(
    configs.map(async ({ host, port, tls }) => {
      if (!tls) return { host, port };
      const files = Object.entries(tls).map(
        async ([name, file]) => [name, await readFile(String(file))] as const,
      );
      return { host, port, tls: Object.fromEntries(await Promise.all(files)) };
    }),
  );
}
