/** The agent's connection to the root helper. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { reason } from "#/lib/errors.ts";
import {
  type Answer,
  HelperError,
  type HelperRequest,
  Lines,
  type Outsiders,
  type SignalRequest,
  type StartRequest,
  type Usage,
} from "./protocol.ts";

/** A command that the helper has started. */
export interface HelpedStart {
  readonly pid: number;
  /** Resolves when it is about to become the command: with the reason when it failed, else with "". */
  readonly inside: Promise<string>;
  /** Rejects with a HelperError when the helper ends before it. */
  readonly ended: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>;
}

type Done = Extract<Answer, { state: "done" }>;

/** A request without what the connection adds. */
type Asked = HelperRequest extends infer Request
  ? Request extends HelperRequest
    ? Omit<Request, "id" | "agent">
    : never
  : never;

interface Pending {
  readonly done: PromiseWithResolvers<Done>;
  readonly started: PromiseWithResolvers<number>;
  readonly inside: PromiseWithResolvers<string>;
  readonly ended: PromiseWithResolvers<{ code: number | null; signal: NodeJS.Signals | null }>;
}

/** Connects when it is needed first, and again after the helper has ended: systemd starts it anew. */
export class Helper implements AsyncDisposable {
  readonly #path: string;
  readonly #pending = new Map<number, Pending>();
  #connection: Promise<Socket> | undefined;
  #lastId = 0;

  constructor(path: string) {
    this.#path = path;
  }

  /** Connects ahead of the first build. @throws HelperError AWAY */
  async connect(): Promise<void> {
    this.#connection ??= this.#open();
    await this.#connection;
  }

  /** @throws HelperError AWAY, or REFUSED with the helper's reason */
  async start(request: Omit<StartRequest, "verb" | "id" | "agent">): Promise<HelpedStart> {
    const { id, started, inside, ended } = await this.#ask({ verb: "start", ...request });
    const pid = await started.promise.catch((error: unknown) => {
      this.#pending.delete(id);
      throw error;
    });
    return { pid, inside: inside.promise, ended: ended.promise };
  }

  /** Makes files and folders the agent's again. @throws HelperError */
  async take(belongings: readonly string[]): Promise<void> {
    await this.#do({ verb: "take", belongings });
  }

  /** Makes all of a folder the agent's, or a build's user's. @throws HelperError */
  async own(path: string, user: string | null = null): Promise<void> {
    await this.#do({ verb: "own", path, user });
  }

  /** Counts what is on the disk below a folder; when it takes long, a part of it. @throws HelperError */
  async measure(path: string): Promise<Usage> {
    const { usage = { bytes: 0, inodes: 0 } } = await this.#do({ verb: "measure", path });
    return usage;
  }

  /** Signals all processes of a build's control group. @throws HelperError */
  async signal(group: string, signal: SignalRequest["signal"]): Promise<void> {
    await this.#do({ verb: "signal", group, signal });
  }

  /** Ends what builds left outside of the unit. @throws HelperError */
  async endOutsiders(): Promise<Outsiders> {
    const { outsiders = { killed: [], starters: [] } } = await this.#do({ verb: "outsiders" });
    return outsiders;
  }

  async #do(request: Asked): Promise<Done> {
    const { id, done } = await this.#ask(request);
    try {
      return await done.promise;
    } finally {
      this.#pending.delete(id);
    }
  }

  async #ask(request: Asked): Promise<Pending & { readonly id: number }> {
    this.#connection ??= this.#open();
    const connection = this.#connection;
    const socket = await connection;
    // It may have ended since it was opened, and then nothing answers any more.
    if (this.#connection !== connection) throw gone();
    this.#lastId += 1;
    const id = this.#lastId;
    const pending: Pending = {
      done: Promise.withResolvers(),
      started: Promise.withResolvers(),
      inside: Promise.withResolvers(),
      ended: Promise.withResolvers(),
    };
    // Each is awaited by the caller, in turn, if at all.
    for (const { promise } of Object.values(pending)) void promise.catch(() => {});
    this.#pending.set(id, pending);
    socket.write(`${JSON.stringify({ ...request, id, agent: process.pid })}\n`);
    return { ...pending, id };
  }

  async #open(): Promise<Socket> {
    const socket = connect(this.#path);
    try {
      await once(socket, "connect");
    } catch (error) {
      this.#connection = undefined;
      const advice = "systemctl start labgear-helper.socket labgear-debug.socket";
      throw new HelperError(
        "AWAY",
        `the helper that starts builds can't be reached (${reason(error)}): ${advice}`,
      );
    }
    void this.#read(socket);
    return socket;
  }

  async #read(socket: Socket): Promise<void> {
    const lines = new Lines();
    try {
      for await (const chunk of socket.setEncoding("utf8")) {
        for (const line of lines.push(chunk)) this.#take(JSON.parse(line) as Answer);
      }
    } catch {
      // It is over, however it ended.
    }
    this.#connection = undefined;
    for (const pending of this.#pending.values()) {
      for (const { reject } of Object.values(pending)) reject(gone());
    }
    this.#pending.clear();
  }

  #take(answer: Answer): void {
    const pending = this.#pending.get(answer.id);
    if (!pending) return;
    if (answer.state === "started") pending.started.resolve(answer.pid);
    else if (answer.state === "inside") pending.inside.resolve("");
    else if (answer.state === "done") pending.done.resolve(answer);
    else if (answer.state === "failed") {
      const refused = new HelperError("REFUSED", answer.why);
      pending.done.reject(refused);
      pending.started.reject(refused);
      pending.inside.resolve(answer.why);
    } else {
      pending.ended.resolve(answer);
      this.#pending.delete(answer.id);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const socket = await this.#connection?.catch(() => undefined);
    socket?.destroy();
  }
}

function gone(): HelperError {
  return new HelperError("AWAY", "the helper that starts builds has ended");
}
