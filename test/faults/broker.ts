/** A job server that hangs, dies and comes back empty, at the end of lines that lead to it. */
import { JobServer } from "#/gearman/server/server.ts";
import { startGearmand, startPerlServer } from "../support/servers.ts";
import type { FaultLine } from "./line.ts";

export type BrokerKind = "gearmand" | "embedded" | "perl";

interface Living extends AsyncDisposable {
  readonly port: number;
  signal(name: "SIGSTOP" | "SIGCONT"): void;
}

export class Broker implements AsyncDisposable {
  readonly #kind: BrokerKind;
  readonly #lines: readonly FaultLine[];
  #living: Living | undefined;

  private constructor(kind: BrokerKind, lines: readonly FaultLine[]) {
    this.#kind = kind;
    this.#lines = lines;
  }

  static async start(kind: BrokerKind, lines: readonly FaultLine[]): Promise<Broker> {
    const broker = new Broker(kind, lines);
    await broker.start();
    return broker;
  }

  /** Of the one that lives. */
  get port(): number {
    if (!this.#living) throw new Error("the job server is dead");
    return this.#living.port;
  }

  async start(): Promise<void> {
    this.#living ??= await launch(this.#kind);
    for (const line of this.#lines) line.leadTo(this.#living.port);
  }

  /** With all that was queued. */
  async kill(): Promise<void> {
    for (const line of this.#lines) line.leadTo(undefined);
    const dead = this.#living;
    this.#living = undefined;
    await dead?.[Symbol.asyncDispose]();
  }

  /** The embedded one runs in this process: its lines are silent instead. */
  freeze(): void {
    if (this.#kind === "embedded") for (const line of this.#lines) line.silence();
    this.#living?.signal("SIGSTOP");
  }

  thaw(): void {
    if (this.#kind === "embedded") for (const line of this.#lines) line.resume();
    this.#living?.signal("SIGCONT");
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.kill();
  }
}

async function launch(kind: BrokerKind): Promise<Living> {
  if (kind === "gearmand") return startGearmand();
  if (kind === "perl") return startPerlServer();
  const server = new JobServer({ software: "labgear-faults" });
  const { port } = await server.listen({ host: "127.0.0.1", port: 0 });
  return { port, signal: () => {}, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}
