/** The gate's API, version 1: see openapi.ts. Submitting and the queue take a token; everything of a build takes the build's own key. */
import { isOffered } from "#/client/registered.ts";
import { isCount, isInputName } from "#/exchange/message.ts";
import { parseFunction } from "#/zuul/functions.ts";
import { admit, admitLease, checkAllowed, functionOf } from "./admission.ts";
import type { Audit } from "./audit.ts";
import type { BuildRun } from "./build-run.ts";
import type { Builds } from "./builds.ts";
import { type Caller, type Callers, describeCaller } from "./callers.ts";
import { isSigned } from "./config.ts";
import { Refusal } from "./errors.ts";
import { sendEvents } from "./events.ts";
import { bearer, type Exchange, parseJson, readText, sendJson } from "./exchange.ts";
import { passInput } from "./inputs.ts";
import type { Lab } from "./lab.ts";
import { serveLease } from "./lease-socket.ts";
import type { GateMetrics } from "./metrics.ts";
import { openapi } from "./openapi.ts";
import type { Rate } from "./rate.ts";
import { parseBuildRequest, parseIdempotencyKey } from "./request.ts";
import { decodePath, passResult } from "./results.ts";
import { decide, type Rule } from "./rules.ts";
import { runUntil } from "./run-limits.ts";
import type { GateRecord } from "./store.ts";

export interface ApiParts {
  readonly rules: () => readonly Rule[];
  readonly callers: Callers;
  readonly builds: Builds;
  readonly lab: Lab;
  readonly audit: Audit;
  readonly metrics: GateMetrics;
  readonly limits: {
    /** Of a caller, or of a build's key. */
    readonly requests: Rate;
    /** Of a lease: what its holder does. */
    readonly typing: Rate;
    /** Of an address: static tokens that aren't accepted. */
    readonly failures: Rate;
  };
}

/** Of what is shown of leases. */
const leasesAgeMs = 500;
/** Followers of one build. */
const maxViewers = 20;

type Handler = (exchange: Exchange, parts: readonly string[]) => Promise<void> | void;

export class Api {
  readonly #parts: ApiParts;
  readonly #viewers = new Map<string, number>();
  readonly #routes: readonly (readonly [method: string, path: RegExp, name: string, handler: Handler])[];

  constructor(parts: ApiParts) {
    this.#parts = parts;
    const build = "/v1/builds/([0-9a-f]{32})";
    this.#routes = [
      [
        "GET",
        /^\/healthz$/,
        "health",
        ({ response }) => void response.writeHead(200, { "content-type": "text/plain" }).end("ok\n"),
      ],
      ["GET", /^\/v1\/openapi\.json$/, "openapi", (exchange) => sendJson(exchange, 200, openapi)],
      ["POST", /^\/v1\/builds$/, "submit", (exchange) => this.#submit(exchange)],
      ["GET", /^\/v1\/queue$/, "queue", (exchange) => this.#queue(exchange)],
      ["GET", new RegExp(`^${build}$`), "status", (exchange, [uuid]) => this.#status(exchange, uuid)],
      ["DELETE", new RegExp(`^${build}$`), "stop", (exchange, [uuid]) => this.#stop(exchange, uuid)],
      ["GET", new RegExp(`^${build}/events$`), "events", (exchange, [uuid]) => this.#events(exchange, uuid)],
      ["GET", new RegExp(`^${build}/lease$`), "lease", (exchange, [uuid]) => this.#lease(exchange, uuid)],
      ["GET", /^\/v1\/leases$/, "leases", (exchange) => this.#leases(exchange)],
      [
        "PUT",
        new RegExp(`^${build}/inputs/([^/]+)$`),
        "input",
        (exchange, [uuid, name]) => this.#input(exchange, uuid, name),
      ],
      [
        "GET",
        new RegExp(`^${build}/results/(.+)$`),
        "results",
        (exchange, [uuid, path]) => this.#results(exchange, uuid, path),
      ],
    ];
  }

  /** @throws Refusal, or what the client's leaving makes of a write */
  async handle(exchange: Exchange): Promise<void> {
    const { method } = exchange.request;
    const found = this.#routes.filter(([, path]) => path.test(exchange.path));
    const route = found.find(([wanted]) => wanted === method);
    if (!route)
      throw new Refusal(
        "not-found",
        found.length > 0 ? `there is no ${shortMethod(method)} here` : "there is nothing here",
      );
    const [, path, name, handler] = route;
    this.#parts.metrics.asked(name);
    await handler(exchange, path.exec(exchange.path)?.slice(1) ?? []);
  }

  async #identify(exchange: Exchange): Promise<{ caller: Caller; rule: Rule }> {
    const { callers, limits, rules } = this.#parts;
    const token = bearer(exchange);
    // Only what could be guessed is slowed down: others at the same address aren't locked out by somebody's forged tokens.
    const isGuess = token !== undefined && !isSigned(token);
    if (isGuess && !limits.failures.has(exchange.from)) throw tooMany("too many refused tokens");
    let caller: Caller;
    try {
      caller = await callers.identify(token);
    } catch (error) {
      if (isGuess && error instanceof Refusal && error.code === "unauthenticated")
        limits.failures.take(exchange.from);
      throw error;
    }
    if (!limits.requests.take(caller.id)) throw tooMany("too many requests");
    const rule = decide(rules(), caller.claims);
    if (!rule) throw named(new Refusal("forbidden", "no rule allows this"), caller);
    exchange.trusted();
    return { caller, rule };
  }

  async #submit(exchange: Exchange): Promise<void> {
    const { builds, lab } = this.#parts;
    const by = await this.#identify(exchange);
    const { caller, rule } = by;
    try {
      const idempotencyKey = parseIdempotencyKey(exchange.request.headers["idempotency-key"]?.toString());
      const text = await readText(exchange);
      const repeated = builds.findRepeated(by, idempotencyKey, text);
      if (repeated) return answer(exchange, repeated);
      const request = parseBuildRequest(parseJson(text));
      const target = checkAllowed(rule, request);
      const name = functionOf(request, target.node);
      const server = (await lab.statuses()).find(({ functions }) => isOffered(functions, name))?.server;
      if (!server)
        throw new Refusal(
          "not-offered",
          request.lease
            ? `no device ${target.node} can be leased now`
            : `no node${target.node === undefined ? "" : ` ${target.node}`} runs ${request.job} now`,
        );
      const infos = await lab.infos(server);
      const admitted =
        request.lease && target.node !== undefined
          ? admitLease(rule, request, target.node, infos)
          : admit(rule, request, target, infos, caller.claims);
      // The same request may have come twice at once, and the other one was faster.
      const other = builds.findRepeated(by, idempotencyKey, text);
      if (other) return answer(exchange, other);
      answer(
        exchange,
        builds.submit({ ...by, from: exchange.from }, { request, text, idempotencyKey }, admitted, server),
      );
    } catch (error) {
      throw error instanceof Refusal ? named(error, caller, rule) : error;
    }
  }

  async #queue(exchange: Exchange): Promise<void> {
    const { rule } = await this.#identify(exchange);
    const { jobs, classes } = rule.allow;
    const functions = (await this.#parts.lab.statuses()).flatMap((one) => one.functions);
    const queue = functions.flatMap(({ function: name, total, running, workers }) => {
      const found = parseFunction(name);
      if (found?.kind !== "build" || workers === 0) return [];
      const { job, target: node } = found;
      const isAllowed =
        jobs.some((pattern) => pattern.matches(job)) &&
        (node === undefined ? !classes : (classes?.some((pattern) => pattern.matches(node)) ?? true));
      if (!isAllowed) return [];
      return [{ job, ...(node !== undefined && { node }), queued: total - running, running, workers }];
    });
    sendJson(exchange, 200, { queue });
  }

  /** @throws Refusal not-found */
  #find(exchange: Exchange, uuid = ""): { record: GateRecord; run?: BuildRun } {
    const { builds, limits } = this.#parts;
    const found = builds.find(uuid, bearer(exchange));
    if (!limits.requests.take(uuid)) throw tooMany("too many requests");
    exchange.trusted();
    return found;
  }

  #status(exchange: Exchange, uuid?: string): void {
    const { record, run } = this.#find(exchange, uuid);
    sendJson(exchange, 200, statusOf(record, run));
  }

  #stop(exchange: Exchange, uuid?: string): void {
    const { record, run } = this.#find(exchange, uuid);
    const { caller: who, rule } = record;
    if (record.ended === undefined && !record.stopping)
      this.#parts.audit.add({
        event: "stopped",
        caller: who,
        rule: rule.number,
        uuid: record.uuid,
        from: exchange.from,
      });
    run?.stop({ cause: "stopped", reason: "stopped by its client" });
    sendJson(exchange, 202, statusOf(record, run));
  }

  async #events(exchange: Exchange, uuid?: string): Promise<void> {
    const { record, run } = this.#find(exchange, uuid);
    const id = exchange.request.headers["last-event-id"]?.toString() ?? exchange.query.get("offset") ?? "0";
    if (!/^\d{1,15}$/.test(id)) throw new Refusal("malformed", "Last-Event-ID is no offset in the console");
    if (record.lease) throw new Refusal("conflict", "what a lease says comes over its line");
    const { lab } = this.#parts;
    const followed = { record, ...(run && { run }), server: lab.server(record.server), lab };
    await this.#view(record, () => sendEvents(exchange, followed, Number(id)));
  }

  /** @throws Refusal busy */
  async #view({ uuid }: GateRecord, view: () => Promise<void>): Promise<void> {
    const count = this.#viewers.get(uuid) ?? 0;
    if (count >= maxViewers) throw tooMany(`${maxViewers} follow this build already`);
    this.#viewers.set(uuid, count + 1);
    try {
      await view();
    } finally {
      const left = (this.#viewers.get(uuid) ?? 1) - 1;
      if (left > 0) this.#viewers.set(uuid, left);
      else this.#viewers.delete(uuid);
    }
  }

  async #lease(exchange: Exchange, uuid?: string): Promise<void> {
    const { record, run } = this.#find(exchange, uuid);
    if (!record.lease) throw new Refusal("conflict", "it is a build, and no lease");
    const server = this.#parts.lab.server(record.server);
    if (!server) throw new Refusal("unavailable", "the lab can't be reached now");
    const { upgrade } = exchange;
    if (!upgrade) throw new Refusal("upgrade-required", "a lease's line is a WebSocket");
    const { limits, builds, rules, lab } = this.#parts;
    const ruleOf = () => rules().find(({ id }) => id === record.rule.id);
    await this.#view(record, async () =>
      serveLease(await upgrade(), {
        ...{ record, ...(run && { run }), server, lab },
        take: () => limits.typing.take(record.uuid),
        extend: (byMs) => builds.extend(record, byMs, ruleOf()),
      }),
    );
  }

  /** Which of the boards that the caller may lease are leased, and of its own leases the reason. */
  async #leases(exchange: Exchange): Promise<void> {
    const { caller, rule } = await this.#identify(exchange);
    if (rule.allow.leasesMs === undefined)
      throw named(new Refusal("forbidden", "leases aren't allowed"), caller, rule);
    const { lab, builds } = this.#parts;
    const infos = await Promise.all(
      (await lab.statuses()).map(({ server }) => lab.infos(server, leasesAgeMs)),
    );
    // A box is on several servers.
    const boxes = new Map(infos.flat().map((info) => [info.manager, info]));
    const leases = [...boxes.values()].flatMap(({ manager, nodes }) =>
      nodes.flatMap(({ name, classes, lease, build }) => {
        const isAllowed = rule.allow.classes?.some((one) => [name, ...classes].some(one.matches)) ?? true;
        if (!lease || !isAllowed) return [];
        const { until, who, reason } = lease;
        const isOwn = build !== undefined && builds.isOwn({ caller, rule }, manager, build);
        return [{ board: name, box: manager, ...(until && { until }), ...(isOwn && { who, reason }) }];
      }),
    );
    sendJson(exchange, 200, { leases });
  }

  async #input(exchange: Exchange, uuid?: string, name?: string): Promise<void> {
    const { record, run } = this.#find(exchange, uuid);
    if (!isInputName(name)) throw new Refusal("not-found", "the build has no such input");
    const server = this.#parts.lab.server(record.server);
    if (!run || !server) throw new Refusal("conflict", "the build has ended");
    const offset = count(exchange.query.get("offset")) ?? 0;
    const received = await passInput(exchange, run, server, { name, offset });
    this.#parts.metrics.passed(received - offset);
    this.#parts.audit.add({ event: "input", caller: record.caller, uuid: record.uuid, name, received });
    sendJson(exchange, 200, { received });
  }

  async #results(exchange: Exchange, uuid?: string, encoded = ""): Promise<void> {
    const { record } = this.#find(exchange, uuid);
    if (record.lease) throw new Refusal("conflict", "a lease's results come over its line");
    const path = decodePath(encoded);
    const server = this.#parts.lab.server(record.server);
    const manager = record.facts?.manager;
    if (!server || manager === undefined) throw new Refusal("not-found", "the build has no results yet");
    const { query } = exchange;
    const asked = { offset: count(query.get("offset")), length: count(query.get("length")) };
    await passResult(exchange, record, server, { manager, path, ...asked });
  }
}

function statusOf(record: GateRecord, run: BuildRun | undefined): object {
  const { uuid, job, node, facts, created, started, ended, result, reason, cause, minutes, stopping, lease } =
    record;
  const until = runUntil(record);
  const iso = (time: number) => new Date(time).toISOString();
  return {
    ...{ uuid, job },
    ...(node !== undefined && { node }),
    state:
      ended !== undefined ? "ended" : stopping ? "stopping" : started !== undefined ? "running" : "queued",
    created: iso(created),
    ...(started !== undefined && { started: iso(started) }),
    ...(ended !== undefined && { ended: iso(ended) }),
    ...(facts && { build: facts }),
    ...(run && run.wants.length > 0 && { wants: run.wants }),
    ...(result !== undefined && { result }),
    ...(reason !== undefined && { reason }),
    ...(cause !== undefined && { cause }),
    ...(minutes !== undefined && { minutes }),
    ...(lease && until !== undefined && ended === undefined && { until: iso(until) }),
  };
}

function answer(
  exchange: Exchange,
  { record, key, isNew }: { readonly record: GateRecord; readonly key: string; readonly isNew: boolean },
): void {
  const { uuid, job, node } = record;
  const body = { uuid, key, job, ...(node !== undefined && { node }), url: `/v1/builds/${uuid}` };
  sendJson(exchange, isNew ? 201 : 200, body, { location: body.url, "cache-control": "no-store" });
}

/** The same refusal, with who was refused. */
function named(refusal: Refusal, caller: Caller, rule?: Rule): Refusal {
  refusal.by = { who: describeCaller(caller), ...(rule && { rule: rule.number }) };
  return refusal;
}

function tooMany(message: string): Refusal {
  return new Refusal("busy", `${message}: try again later`);
}

function count(text: string | null): number | undefined {
  if (text === null) return undefined;
  const value = /^\d{1,15}$/.test(text) ? Number(text) : undefined;
  if (isCount(value)) return value;
  throw new Refusal("malformed", "offset and length are whole numbers");
}

function shortMethod(method = ""): string {
  return /^[A-Z]{1,16}$/.test(method) ? method : "such method";
}
