/** A job server's admin text protocol, over a connection of its own. */
import type { Connection } from "../wire/connection.ts";
import { type DialOptions, dial, type ServerAddress } from "../wire/dial.ts";
import { GearmanError } from "../wire/errors.ts";
import type { Packet } from "../wire/packet.ts";
import { garbageError, type TextLine } from "../wire/parser.ts";

/** One line of `status`. */
export interface FunctionStatus {
  readonly function: string;
  /** Queued and running together. */
  readonly total: number;
  readonly running: number;
  /** Connections that registered it. */
  readonly workers: number;
}

/** One line of `workers`: a connection, of a worker or of any other kind. */
export interface WorkerInfo {
  readonly descriptor: number;
  readonly address: string;
  /** `-` when it has none. */
  readonly clientId: string;
  readonly functions: readonly string[];
}

/** One line of `show jobs`. */
export interface QueuedJob {
  readonly handle: string;
  readonly retries: number;
  /** Cancelled, or no client waits for it any more. */
  readonly ignored: boolean;
}

export interface AdminOptions extends DialOptions {
  /** For each answer: geard never answers a command that it doesn't know. */
  readonly answerTimeoutMs?: number;
}

/** The groups of a pattern that matched a line. */
type Row = readonly (string | undefined)[];

/** Limits of one answer, in lines and characters. */
const maxLines = 200_000;
const maxCharacters = 32 * 1024 * 1024;

interface Pending {
  readonly command: string;
  /** Each line of the answer has to match it. */
  readonly pattern: RegExp;
  /** One line, or lines that end with a single full stop. */
  readonly shape: "line" | "list";
  readonly rows: Row[];
  /** Characters received so far. */
  length: number;
  readonly resolve: (rows: Row[]) => void;
  readonly reject: (error: GearmanError) => void;
}

/** Source: PROTOCOL of gearmand, "Administrative Protocol". Any failure in the middle of an answer ends the connection. */
export class Admin implements AsyncDisposable {
  readonly #connection: Connection;
  readonly #answerTimeoutMs: number;
  /** In the order of the commands, which is also that of the answers. */
  readonly #pending: Pending[] = [];

  private constructor(connection: Connection, answerTimeoutMs: number) {
    this.#connection = connection;
    this.#answerTimeoutMs = answerTimeoutMs;
    connection.receive((item) => this.#received(item));
    void connection.closed.then((reason) => {
      for (const { reject } of this.#pending.splice(0)) reject(reason);
    });
  }

  /** @throws GearmanError UNREACHABLE or TLS, or the signal's reason */
  static async connect(address: ServerAddress, options: AdminOptions = {}): Promise<Admin> {
    return new Admin(await dial(address, { ...options, text: true }), options.answerTimeoutMs ?? 10_000);
  }

  /** The functions that the server knows, with or without workers. */
  async status(): Promise<FunctionStatus[]> {
    const pattern = /^(.*)\t(\d+)\t(\d+)\t(\d+)$/;
    return (await this.#ask("status", "list", pattern)).map(([name = "", total, running, workers]) => ({
      function: name,
      total: Number(total),
      running: Number(running),
      workers: Number(workers),
    }));
  }

  async workers(): Promise<WorkerInfo[]> {
    const pattern = /^(-?\d+) (\S+) (.*?) ?:(?: (.*))?$/;
    return (await this.#ask("workers", "list", pattern)).map(
      ([descriptor, address = "", clientId = "", names = ""]) => ({
        descriptor: Number(descriptor),
        address,
        clientId,
        functions: names.split(" ").filter((name) => name !== ""),
      }),
    );
  }

  /** The jobs that the server holds. Only gearmand knows this command; geard never answers it (TIMEOUT). */
  async showJobs(): Promise<QueuedJob[]> {
    const pattern = /^(\S+)\t(\d+)\t(\d+)\t\d+$/;
    return (await this.#ask("show jobs", "list", pattern)).map(([handle = "", retries, ignored]) => ({
      handle,
      retries: Number(retries),
      ignored: ignored !== "0",
    }));
  }

  /** The unique of each job that the server holds. Only gearmand knows this command. */
  async showUniqueJobs(): Promise<string[]> {
    return (await this.#ask("show unique jobs", "list", /^(.*)$/)).map(([unique = ""]) => unique);
  }

  /**
   * A queued job's place in line, from 1 on, over all functions of its workers. Only labgear's own server knows this command.
   * @returns undefined when the job isn't queued
   */
  async placeOf(handle: string): Promise<number | undefined> {
    const [row] = await this.#ask(`show place ${checkHandle(handle)}`, "line", /^OK (\d+)$/);
    return Number(row?.[0]) || undefined;
  }

  /** The server's version, in its own form; geard never answers this (TIMEOUT). */
  async version(): Promise<string> {
    const [row] = await this.#ask("version", "line", /^(?:OK (\S.*)|(v?[0-9].*))$/);
    return row?.[0] ?? row?.[1] ?? "";
  }

  /**
   * Takes a job out of the queue. gearmand also forgets a running one, without a word to its worker.
   * @throws GearmanError REFUSED when the server has no such job, or doesn't know the command
   */
  async cancelJob(handle: string): Promise<void> {
    await this.#ask(`cancel job ${checkHandle(handle)}`, "line", /^OK\b/);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection[Symbol.asyncDispose]();
  }

  async #ask(command: string, shape: Pending["shape"], pattern: RegExp): Promise<Row[]> {
    const timer = setTimeout(() => {
      const text = `${this.#connection.server} gave no answer to "${command}" within ${this.#answerTimeoutMs / 1000} s`;
      this.#connection.end(new GearmanError("TIMEOUT", text));
    }, this.#answerTimeoutMs);
    try {
      return await new Promise<Row[]>((resolve, reject) => {
        this.#connection.sendLine(command);
        if (this.#connection.open)
          this.#pending.push({ command, shape, pattern, rows: [], length: 0, resolve, reject });
        else void this.#connection.closed.then(reject);
      });
    } finally {
      clearTimeout(timer);
    }
  }

  #received(item: Packet | TextLine): void {
    const pending = this.#pending[0];
    if (!("line" in item) || !pending) return;
    const { line } = item;
    const refusal = /^ERR (.*)$/.exec(line)?.[1];
    if (refusal !== undefined && pending.rows.length === 0) {
      this.#pending.shift();
      const text = `${this.#connection.server} refused "${pending.command}": ${refusal.trim().replaceAll("+", " ")}`;
      pending.reject(new GearmanError("REFUSED", text));
    } else if (pending.shape === "list" && line === ".") {
      this.#pending.shift();
      pending.resolve(pending.rows);
    } else {
      this.#take(pending, line);
    }
  }

  /** A line of an answer. After one that doesn't match, the answer's end is uncertain, so it ends the connection. */
  #take(pending: Pending, line: string): void {
    const { server } = this.#connection;
    const match = pending.pattern.exec(line);
    pending.length += line.length;
    if (!match) {
      this.#connection.end(
        new GearmanError("GARBAGE", `${server}: ${garbageError(Buffer.from(line)).message}`),
      );
    } else if (pending.rows.push(match.slice(1)) > maxLines || pending.length > maxCharacters) {
      const text = `${server}: the answer to "${pending.command}" is over ${maxLines} lines or ${maxCharacters} characters long`;
      this.#connection.end(new GearmanError("TOO_LARGE", text));
    } else if (pending.shape === "line") {
      this.#pending.shift();
      pending.resolve(pending.rows);
    }
  }
}

/** It becomes a word of a command. */
function checkHandle(handle: string): string {
  if (!/^[!-~]+$/.test(handle)) throw new TypeError(`"${handle}" is no job handle`);
  return handle;
}
