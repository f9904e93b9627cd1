/** All builds that the gate knows: whose they are, how many a rule has at once, and how many minutes a day they took. */
import { createHash, randomUUID } from "node:crypto";
import { BuildKey } from "#/exchange/key.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { formatAddress } from "#/lib/address.ts";
import { reason } from "#/lib/errors.ts";
import type { Log } from "#/lib/log.ts";
import type { Admitted } from "./admission.ts";
import type { Audit } from "./audit.ts";
import { BuildRun } from "./build-run.ts";
import { type Caller, describeCaller, nameCaller } from "./callers.ts";
import { Refusal } from "./errors.ts";
import type { Lab } from "./lab.ts";
import type { BuildRequest, LeaseWish } from "./request.ts";
import type { Rule } from "./rules.ts";
import type { GateRecord, GateStore, LeaseFacts } from "./store.ts";

/** Over all rules: what a job server and this process carry. */
const maxOpen = 1000;
/** Ended ones, the oldest of which go first. */
const maxKept = 20_000;
const minuteMs = 60_000;
/** How long a lease waits, and is looked for, without its holder. Once there is a board, the agent is stricter. */
const leaseClientTimeoutMs = 60_000;
const dayMs = 86_400_000;
const pruneIntervalMs = 3_600_000;

/** Who submits, and by which rule. */
export interface By {
  readonly caller: Caller;
  readonly rule: Rule;
}

export interface Submitted {
  readonly record: GateRecord;
  readonly key: string;
  /** False: the same request came before. */
  readonly isNew: boolean;
}

export interface BuildsOptions {
  readonly store: GateStore;
  readonly lab: Lab;
  readonly audit: Audit;
  readonly log: Log;
  readonly keepDays: () => number;
  readonly onEnd: (record: GateRecord) => void;
}

export class Builds implements AsyncDisposable {
  readonly #options: BuildsOptions;
  readonly #records = new Map<string, GateRecord>();
  readonly #runs = new Map<string, BuildRun>();
  readonly #byIdempotency = new Map<string, string>();
  readonly #pruning: NodeJS.Timeout;

  constructor(options: BuildsOptions) {
    this.#options = options;
    this.#pruning = setInterval(() => this.#prune(), pruneIntervalMs);
    this.#pruning.unref();
  }

  /** Takes up what was there before, and follows what hasn't ended. */
  resume(): void {
    const { store, lab, log } = this.#options;
    for (const record of store.load((text) => log.error({}, text))) {
      this.#remember(record);
      if (record.ended !== undefined) continue;
      const server = lab.server(record.server);
      if (server) this.#resume(record, server);
      else
        log.error({ uuid: record.uuid }, `${record.server}, which has a build, is not configured any more`);
    }
    this.#prune();
  }

  #resume(record: GateRecord, server: ServerAddress): void {
    try {
      this.#follow(record, server, false);
    } catch (error) {
      this.#options.log.error({ uuid: record.uuid }, `a build can't be taken up again: ${reason(error)}`);
    }
  }

  get open(): readonly BuildRun[] {
    return [...this.#runs.values()];
  }

  /** @returns its run while it hasn't ended. @throws Refusal not-found, also when the key isn't its */
  find(uuid: string, key: string | undefined): { readonly record: GateRecord; readonly run?: BuildRun } {
    const record = this.#records.get(uuid);
    // Looked at in any case: the time doesn't say whether there is such a build.
    const isAllowed = key !== undefined && this.#options.store.isKeyOf(uuid, key);
    if (!record || !isAllowed) {
      const why = record ? "the key isn't that of the build" : "there is no such build";
      throw new Refusal("not-found", "there is no such build, or the key isn't its", { why });
    }
    const run = this.#runs.get(uuid);
    run?.seen();
    return { record, ...(run && { run }) };
  }

  /** @returns the build of an earlier request with that key. @throws Refusal conflict when that one was another */
  findRepeated(by: By, idempotencyKey: string | undefined, request: string): Submitted | undefined {
    if (idempotencyKey === undefined) return undefined;
    const record = this.#records.get(this.#byIdempotency.get(idempotencyOf(by, idempotencyKey)) ?? "");
    if (!record) return undefined;
    if (record.request !== digest(request))
      throw new Refusal("conflict", "another request had this Idempotency-Key");
    this.#runs.get(record.uuid)?.seen();
    return { record, key: this.#options.store.keyOf(record.uuid), isNew: false };
  }

  /** Nothing waits between the look at the limits and the record on the disk. @throws Refusal busy, unavailable */
  submit(
    by: By & { readonly from: string },
    asked: {
      readonly request: BuildRequest;
      readonly text: string;
      readonly idempotencyKey: string | undefined;
    },
    admitted: Admitted,
    server: ServerAddress,
  ): Submitted {
    const { caller, rule, from } = by;
    const reservedMinutes = Math.ceil(admitted.runMs / minuteMs);
    this.#checkLimits(rule, reservedMinutes);
    const uuid = randomUUID().replaceAll("-", "");
    const now = Date.now();
    const { request, text, idempotencyKey } = asked;
    const clientTimeoutMs = request.lease ? leaseClientTimeoutMs : request.clientTimeoutMs;
    const record: GateRecord = {
      ...{ version: 1, uuid, caller: caller.id, who: describeCaller(caller), from },
      rule: { number: rule.number, id: rule.id },
      job: request.job,
      ...(admitted.node !== undefined && { node: admitted.node }),
      ...{ server: formatAddress(server), function: admitted.function, priority: admitted.priority },
      parameters: { ...admitted.parameters, LABGEAR_CALLER: digest(scopeOf(caller, rule)).slice(0, 32) },
      ...{ inputs: request.inputs, managers: admitted.managers },
      ...(request.lease
        ? { key: "", lease: leaseFacts(request.lease, caller) }
        : { key: BuildKey.generate().export() }),
      ...(idempotencyKey !== undefined && { idempotency: idempotencyOf(by, idempotencyKey) }),
      ...{ request: digest(text), created: now, queueUntil: now + admitted.queueMs, runMs: admitted.runMs },
      reservedMinutes,
      ...(clientTimeoutMs !== undefined && { clientTimeoutMs }),
    };
    try {
      this.#options.store.write(record);
    } catch (error) {
      const why = `the build can't be written down: ${reason(error)}`;
      throw new Refusal("unavailable", "the gate can't take builds now", { why });
    }
    this.#remember(record);
    this.#options.audit.add({ event: "submitted", ...auditOf(record), reserved_minutes: reservedMinutes });
    this.#follow(record, server, true);
    return { record, key: this.#options.store.keyOf(uuid), isNew: true };
  }

  #checkLimits({ id, allow }: Rule, minutes: number): void {
    if (this.#runs.size >= maxOpen) throw new Refusal("busy", `the gate has ${maxOpen} builds already`);
    const open = this.open.filter(({ record }) => record.rule.id === id).length;
    if (open >= allow.atOnce)
      throw new Refusal("busy", `${allow.atOnce} builds at once are allowed, and ${open} are there`);
    if (allow.minutesADay === undefined) return;
    const used = this.minutesToday(id);
    if (used + minutes <= allow.minutesADay) return;
    const text = `${allow.minutesADay} minutes a day are allowed, ${used} are used or reserved, and this build may take ${minutes}`;
    throw new Refusal("busy", text);
  }

  /** Whether it is a lease of this caller. */
  isOwn(
    { caller, rule }: By,
    manager: string,
    build: { readonly name: string; readonly number: number },
  ): boolean {
    return this.open.some(({ record: { lease, facts, ...record } }) => {
      const isMeant =
        facts?.manager === manager && facts.name === build.name && facts.number === build.number;
      return lease !== undefined && isMeant && record.caller === caller.id && record.rule.id === rule.id;
    });
  }

  /** Of a lease: as far as its rule and the day's minutes allow. @param rule absent: there is none for it any more */
  extend(record: GateRecord, byMs: number, rule: Rule | undefined): void {
    const { leasesMs = 0, minutesADay = Number.POSITIVE_INFINITY } = rule?.allow ?? {};
    const freeMinutes = Math.max(0, minutesADay - this.minutesToday(record.rule.id));
    const maxMs = Math.min(leasesMs, (record.reservedMinutes + freeMinutes) * minuteMs);
    const runMs = Math.min(record.runMs + byMs, maxMs);
    if (runMs <= record.runMs || record.ended !== undefined) return;
    record.runMs = runMs;
    record.reservedMinutes = Math.ceil(runMs / minuteMs);
    try {
      this.#options.store.write(record);
    } catch (error) {
      this.#options.log.error({ uuid: record.uuid }, `a lease can't be written down: ${reason(error)}`);
    }
    const { uuid, who, reservedMinutes } = record;
    this.#options.audit.add({ event: "extended", who, uuid, reserved_minutes: reservedMinutes });
  }

  /** Of a rule's builds: what ended ones took, and what open ones may take. */
  minutesToday(rule: string): number {
    const today = Math.floor(Date.now() / dayMs);
    let minutes = 0;
    for (const record of this.#records.values()) {
      if (record.rule.id !== rule) continue;
      // One that is open counts today, however long ago it began.
      if (record.ended === undefined) minutes += record.reservedMinutes;
      else if (Math.floor(record.ended / dayMs) === today) minutes += record.minutes ?? 0;
    }
    return minutes;
  }

  #remember(record: GateRecord): void {
    this.#records.set(record.uuid, record);
    if (record.idempotency !== undefined) this.#byIdempotency.set(record.idempotency, record.uuid);
  }

  #follow(record: GateRecord, server: ServerAddress, isNew: boolean): void {
    const { lab, log, store, audit, onEnd } = this.#options;
    const run = new BuildRun({ record, server, lab, log, write: (changed) => store.write(changed) }, isNew);
    this.#runs.set(record.uuid, run);
    void run.ended.then(() => {
      if (record.ended === undefined) return;
      this.#runs.delete(record.uuid);
      audit.add({ event: "ended", ...auditOf(record), ...endingOf(record) });
      const { uuid, job, result = "no result", minutes } = record;
      log.info({ uuid, job, minutes }, `${job} has ended: ${result}`);
      onEnd(record);
      void run[Symbol.asyncDispose]();
    });
  }

  #prune(): void {
    const ended = [...this.#records.values()]
      .filter((record) => record.ended !== undefined)
      .sort((a, b) => (a.ended ?? 0) - (b.ended ?? 0));
    const oldest = Date.now() - this.#options.keepDays() * dayMs;
    const surplus = Math.max(0, ended.length - maxKept);
    for (const record of ended.filter(({ ended: at = 0 }, index) => index < surplus || at < oldest)) {
      this.#records.delete(record.uuid);
      if (record.idempotency !== undefined) this.#byIdempotency.delete(record.idempotency);
      this.#options.store.remove(record.uuid);
    }
  }

  /** Builds go on without the gate, and are taken up again by the next one. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#pruning);
    await Promise.all(this.open.map((run) => run[Symbol.asyncDispose]()));
  }
}

function leaseFacts({ reason: why, publicKey }: LeaseWish, caller: Caller): LeaseFacts {
  const who = nameCaller(caller);
  return { publicKey, reason: why || who, who };
}

function auditOf(record: GateRecord): Record<string, unknown> {
  const { uuid, who, from, rule, job, node, inputs, facts } = record;
  return {
    ...{ who, from, rule: rule.number, rule_id: rule.id, uuid, job },
    ...(node !== undefined && { node }),
    ...(inputs.length > 0 && { inputs: inputs.map(({ name, size, sha256 }) => ({ name, size, sha256 })) }),
    ...(facts && {
      build: `${facts.name}#${facts.number}`,
      manager: facts.manager,
      node_name: facts.node_name,
    }),
  };
}

function endingOf({ result, reason: why, cause, minutes, stopping }: GateRecord): Record<string, unknown> {
  return {
    result: result ?? null,
    reason: why,
    cause,
    minutes,
    ...(stopping && { stopped: stopping.cause }),
  };
}

/** GitHub gives pushes to a branch and its workflow_run the same subject, and only one of them is trusted. */
function scopeOf(caller: Caller, rule: Rule): string {
  return JSON.stringify([caller.id, rule.id]);
}

function idempotencyOf({ caller, rule }: By, key: string): string {
  return digest(JSON.stringify([scopeOf(caller, rule), key]));
}

function digest(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
