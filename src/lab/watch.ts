/** Asks the job servers, and through them every box, what goes on in the lab: at most every 5 s for all who look. */
import { answerOf } from "#/client/calls.ts";
import { infoFunction } from "#/exchange/functions.ts";
import { type AgentInfo, parseInfo } from "#/exchange/info.ts";
import { Admin, type FunctionStatus } from "#/gearman/client/admin.ts";
import { Client } from "#/gearman/client/client.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { formatAddress } from "#/lib/address.ts";
import type { LabView } from "#/lib/lab.ts";
import { parseFunction } from "#/zuul/functions.ts";
import { type KnownBox, labView, type ServerAnswer, waitingKey } from "./view.ts";

const lookIntervalMs = 5000;
const serverTimeoutMs = 4000;
/** A look waits so long for servers and boxes that don't answer. Their answers count whenever they come. */
const lookTimeoutMs = 2000;
/** A box that owes an answer for so long is away. */
const awayAfterMs = 10_000;
/** Connections are closed when nobody has looked for so long; boxes that are gone are forgotten. */
const idleMs = 30_000;
const forgetAfterMs = 24 * 60 * 60 * 1000;
/** Anyone may register functions, and so make up boxes. */
const maxBoxes = 1000;

interface Box {
  readonly name: string;
  info?: AgentInfo;
  /** Unix times in milliseconds: of its last answer, and since when another one is due. */
  seen?: number;
  due?: number;
  /** When a server last listed it. */
  listed: number;
  /** Servers that have a connection of it. */
  readonly servers: Set<string>;
  /** A question is under way: a box that hangs never has two in its queue. */
  isAsked: boolean;
}

/** Connections to a server. After a failure the next look opens new ones. */
class Line implements AsyncDisposable {
  readonly #server: ServerAddress;
  #admin: Promise<Admin> | undefined;
  #client: Promise<Client> | undefined;

  constructor(server: ServerAddress) {
    this.#server = server;
  }

  /** @throws GearmanError */
  async status(): Promise<FunctionStatus[]> {
    const timeouts = { timeoutMs: serverTimeoutMs, answerTimeoutMs: serverTimeoutMs };
    this.#admin ??= Admin.connect(this.#server, timeouts);
    return await (await this.#admin).status();
  }

  /** @throws GearmanError, ExchangeError */
  async info(manager: string): Promise<AgentInfo> {
    this.#client ??= Client.connect(this.#server, { timeoutMs: serverTimeoutMs });
    const name = infoFunction(manager);
    const asked = { function: name, unique: crypto.randomUUID(), data: "", priority: "high" } as const;
    return parseInfo(await answerOf(await (await this.#client).submit(asked), name));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const lines = [this.#admin, this.#client];
    this.#admin = undefined;
    this.#client = undefined;
    for (const line of lines) await (await line?.catch(() => undefined))?.[Symbol.asyncDispose]();
  }
}

export class LabWatch implements AsyncDisposable {
  #servers: readonly ServerAddress[];
  readonly #looksOnce: boolean;
  readonly #lines = new Map<string, Line>();
  readonly #boxes = new Map<string, Box>();
  readonly #answers = new Map<string, ServerAnswer>();
  readonly #waitingSince = new Map<string, number>();
  #lookedAt = Number.NEGATIVE_INFINITY;
  #looking: Promise<void> | undefined;
  #idle: NodeJS.Timeout | undefined;
  readonly #closed = new AbortController();

  /** @param options `once`: for a single look, after which a box that hasn't answered is away */
  constructor(servers: readonly ServerAddress[], { once = false } = {}) {
    this.#servers = servers;
    this.#looksOnce = once;
  }

  /** From the next look on. */
  setServers(servers: readonly ServerAddress[]): void {
    this.#servers = servers;
  }

  /** As far as it is known now. */
  get current(): LabView {
    return labView({
      now: Date.now(),
      servers: this.#servers.map((server) => {
        const name = formatAddress(server);
        return this.#answers.get(name) ?? { server: name, functions: [], error: "it hasn't answered yet" };
      }),
      boxes: [...this.#boxes.values()].map((box) => this.#known(box)),
      waitingSince: this.#waitingSince,
    });
  }

  /** What the boxes that are up answered last. */
  get infos(): AgentInfo[] {
    const up = [...this.#boxes.values()].map((box) => this.#known(box)).filter(({ state }) => state === "up");
    return up.flatMap(({ info }) => info ?? []);
  }

  /** Asks everybody, unless that was done in the last 5 s. Never rejects. */
  async look(): Promise<LabView> {
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => void this.#hangUp(), idleMs).unref();
    if (
      !this.#looking &&
      performance.now() - this.#lookedAt >= lookIntervalMs &&
      !this.#closed.signal.aborted
    ) {
      this.#lookedAt = performance.now();
      this.#looking = this.#look().finally(() => {
        this.#looking = undefined;
      });
    }
    await this.#looking;
    return this.current;
  }

  #known({ name, info, seen, due, servers }: Box): KnownBox {
    const isLate = due !== undefined && (this.#looksOnce || Date.now() - due > awayAfterMs);
    const state = servers.size === 0 || isLate ? "away" : info ? "up" : "asked";
    return { name, state, ...(seen !== undefined && { seen }), ...(info && { info }) };
  }

  async #look(): Promise<void> {
    const servers = this.#servers;
    const names = new Set(servers.map(formatAddress));
    for (const [name, line] of this.#lines) if (!names.has(name)) this.#drop(name, line);
    this.#forget(names);
    const all = Promise.all(servers.map((server) => this.#askServer(server)));
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise((resolve) => {
      timer = setTimeout(resolve, lookTimeoutMs);
      this.#closed.signal.addEventListener("abort", resolve, { once: true });
    });
    await Promise.race([all, late]);
    clearTimeout(timer);
  }

  #drop(name: string, line: Line): void {
    if (this.#lines.get(name) === line) this.#lines.delete(name);
    void line[Symbol.asyncDispose]();
  }

  /** Never rejects. */
  async #askServer(server: ServerAddress): Promise<void> {
    const name = formatAddress(server);
    const line = this.#lines.get(name) ?? new Line(server);
    this.#lines.set(name, line);
    try {
      const functions = await line.status();
      this.#answers.set(name, { server: name, functions });
      this.#list(name, functions);
      const asked = [...this.#boxes.values()].filter((box) => box.servers.has(name) && !box.isAsked);
      await Promise.all(asked.map((box) => this.#askBox(line, box)));
    } catch (error) {
      this.#drop(name, line);
      this.#answers.set(name, { server: name, functions: [], error: (error as Error).message });
      for (const box of this.#boxes.values()) if (box.servers.has(name)) box.due ??= Date.now();
    }
  }

  /** Takes over which boxes a server knows, and what waits there. */
  #list(server: string, functions: readonly FunctionStatus[]): void {
    const now = Date.now();
    for (const { servers } of this.#boxes.values()) servers.delete(server);
    const waiting = new Set<string>();
    for (const { function: name, total, running, workers } of functions) {
      const asked = parseFunction(name);
      if (total > running) waiting.add(waitingKey(server, name));
      if (asked?.kind !== "stop") continue;
      const box = this.#boxes.get(asked.manager);
      if (!box && this.#boxes.size >= maxBoxes) continue;
      const known = box ?? { name: asked.manager, listed: now, servers: new Set(), isAsked: false };
      this.#boxes.set(asked.manager, known);
      if (workers === 0) continue;
      known.listed = now;
      known.servers.add(server);
    }
    for (const key of waiting) if (!this.#waitingSince.has(key)) this.#waitingSince.set(key, now);
    for (const key of this.#waitingSince.keys())
      if (key.startsWith(waitingKey(server, "")) && !waiting.has(key)) this.#waitingSince.delete(key);
  }

  /** Never rejects: a box that can't be asked owes its answer. */
  async #askBox(line: Line, box: Box): Promise<void> {
    box.isAsked = true;
    box.due ??= Date.now();
    try {
      box.info = await line.info(box.name);
      box.seen = Date.now();
      delete box.due;
    } catch {
      // Its connection went away, or it answers what can't be understood.
    } finally {
      box.isAsked = false;
    }
  }

  #forget(servers: ReadonlySet<string>): void {
    const before = Date.now() - forgetAfterMs;
    for (const [name, box] of this.#boxes) if (box.listed < before) this.#boxes.delete(name);
    for (const name of this.#answers.keys()) if (!servers.has(name)) this.#answers.delete(name);
  }

  async #hangUp(): Promise<void> {
    const lines = [...this.#lines.values()];
    this.#lines.clear();
    await Promise.all(lines.map((line) => line[Symbol.asyncDispose]()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed.abort();
    clearTimeout(this.#idle);
    await this.#hangUp();
    await this.#looking;
  }
}
