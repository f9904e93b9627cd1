/** A whole lab behind a gate: labgear's job server, an agent in a process of its own, a local issuer, and the gate. */
import { mkdirSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Gate, startGate } from "#/gate/compose.ts";
import { loadGateConfig } from "#/gate/config.ts";
import { JobServer } from "#/gearman/server/server.ts";
import { formatAddress } from "#/lib/address.ts";
import type { Log } from "#/lib/log.ts";
import { TestAgent } from "../support/agent.ts";
import { Arrivals } from "../support/gearman.ts";
import { checkAnswer } from "./contract.ts";
import { audience, Issuer } from "./issuer.ts";

export const staticToken = "a-token-for-tests-7f3a9c1e5b2d4f60";

export interface GateLabOptions {
  /** The agent's jobs and devices. */
  readonly yaml: string;
  /** The gate's rules, as YAML below `rules:`. */
  readonly rules: string;
  readonly gate?: string;
}

export class GateLab implements AsyncDisposable {
  readonly folder: string;
  readonly issuer: Issuer;
  readonly agent: TestAgent;
  readonly port: number;
  readonly log = new Arrivals<{ level: string; message: string; [field: string]: unknown }>();
  gate: Gate;
  readonly #resources: AsyncDisposableStack;

  private constructor(parts: {
    folder: string;
    issuer: Issuer;
    agent: TestAgent;
    port: number;
    gate: Gate;
    resources: AsyncDisposableStack;
  }) {
    this.folder = parts.folder;
    this.issuer = parts.issuer;
    this.agent = parts.agent;
    this.port = parts.port;
    this.gate = parts.gate;
    this.#resources = parts.resources;
  }

  static async start({ yaml, rules, gate: more = "" }: GateLabOptions): Promise<GateLab> {
    await using resources = new AsyncDisposableStack();
    const folder = await mkdtemp(join(tmpdir(), "labgear-gate-"));
    resources.defer(() => rm(folder, { recursive: true, force: true }));
    const issuer = resources.use(await Issuer.start());
    const server = resources.use(new JobServer({ software: "labgear 0" }));
    const { port } = await server.listen({ host: "127.0.0.1", port: 0 });
    const agent = resources.use(await TestAgent.start({ yaml, ports: [port] }));
    mkdirSync(join(folder, "secrets"));
    writeFileSync(join(folder, "secrets/jenkins"), `${staticToken}\n`);
    writeFileSync(
      join(folder, "gate.yaml"),
      `listen: 127.0.0.1:0
gearman: { servers: ["127.0.0.1:${port}"] }
state-dir: state
operators: { listen: "127.0.0.1:0" }
issuers: { github: { url: "${issuer.url}", audience: ${audience}, kind: github } }
tokens: { jenkins: { file: secrets/jenkins } }
${more}
rules:
${rules}`,
    );
    const lines: GateLab["log"][] = [];
    const gate = await startGate(() => loadGateConfig(join(folder, "gate.yaml")), logTo(lines));
    const lab = new GateLab({ folder, issuer, agent, port, gate, resources: resources.move() });
    lines.push(lab.log);
    return lab;
  }

  /** Ends the gate as a crash would, for the builds, and starts the next one. */
  async restart(between: () => Promise<void> = async () => {}): Promise<void> {
    await this.gate[Symbol.asyncDispose]();
    await between();
    this.gate = await startGate(() => loadGateConfig(join(this.folder, "gate.yaml")), logTo([this.log]));
  }

  get url(): string {
    return `http://${formatAddress(this.gate.address)}`;
  }

  /** Each answer has to be as the API's description says. */
  async request(path: string, bearer: string | undefined, init: RequestInit = {}): Promise<Response> {
    const headers = new Headers(init.headers);
    if (bearer !== undefined) headers.set("authorization", `Bearer ${bearer}`);
    const response = await fetch(`${this.url}${path}`, { ...init, headers });
    await checkAnswer(init.method ?? "GET", path, response);
    return response;
  }

  async submit(token: string | undefined, build: unknown, headers: Record<string, string> = {}) {
    const response = await this.request("/v1/builds", token, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify(build),
    });
    const body = (await response.json()) as Record<string, string>;
    return { status: response.status, uuid: "", key: "", ...body };
  }

  async status(build: { uuid: string; key: string }): Promise<Record<string, unknown>> {
    return (await (await this.request(`/v1/builds/${build.uuid}`, build.key)).json()) as Record<
      string,
      unknown
    >;
  }

  /** The build's events, as they come. */
  async *events(build: { uuid: string; key: string }, from?: number, signal?: AbortSignal) {
    const headers: Record<string, string> = from === undefined ? {} : { "last-event-id": String(from) };
    const response = await this.request(`/v1/builds/${build.uuid}/events`, build.key, {
      headers,
      ...(signal && { signal }),
    });
    if (!response.body || response.status !== 200)
      throw new Error(`${response.status} ${await response.text()}`);
    let text = "";
    for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
        const lines = text.slice(0, end).split("\n");
        text = text.slice(end + 2);
        const field = (name: string) =>
          lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
        const event = field("event");
        if (event !== undefined) yield { event, id: field("id"), data: JSON.parse(field("data") ?? "{}") };
      }
    }
  }

  /** Follows a build to its end. */
  async follow(build: { uuid: string; key: string }, from?: number) {
    let output = "";
    let last: Record<string, unknown> = {};
    for await (const { event, data } of this.events(build, from)) {
      if (event === "output") output += data.output;
      if (event === "data") last = data;
    }
    return { output, last };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.gate[Symbol.asyncDispose]();
    await this.#resources.disposeAsync();
  }
}

function logTo(arrivals: readonly GateLab["log"][]): Log {
  const say = (level: string) => (fields: object, message: string) => {
    for (const each of arrivals) each.add({ level, message, ...fields });
  };
  const log: Log = {
    debug: say("debug"),
    info: say("info"),
    warn: say("warn"),
    error: say("error"),
    child: () => log,
  };
  return log;
}
