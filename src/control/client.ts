/** The control socket as a command uses it. */
import { once } from "node:events";
import { readFileSync, statSync } from "node:fs";
import { type IncomingMessage, request } from "node:http";
import type { Readable } from "node:stream";
import { ControlError, type ControlErrorCode } from "./errors.ts";

/** Where the packaged agent listens. */
export const defaultControl = "/run/labgear/control.sock";

export interface RequestOptions {
  readonly body?: object;
  /** A stream in place of a body; the answer may begin before it has ended. */
  readonly bytes?: Readable;
  /** For the whole answer; absent: no limit. */
  readonly timeoutMs?: number;
}

export class ControlClient {
  readonly #file: string;

  /** @param file the agent's control socket */
  constructor(file: string) {
    this.#file = file;
  }

  /**
   * @returns the agent's answer, parsed
   * @throws ControlError
   */
  async json<T>(method: "GET" | "POST", path: string, options: RequestOptions = {}): Promise<T> {
    try {
      return await readJson<T>(await this.#request(method, path, options));
    } catch (error) {
      throw this.#explain(error);
    }
  }

  /**
   * The agent's answer, as it comes.
   * @param bytes sent to the agent meanwhile
   * @throws ControlError
   */
  async *bytes(path: string, bytes?: Readable): AsyncGenerator<Buffer> {
    try {
      const response = await this.#request(bytes ? "POST" : "GET", path, bytes ? { bytes } : {});
      for await (const chunk of response) yield chunk as Buffer;
    } catch (error) {
      throw this.#explain(error);
    }
  }

  async #request(
    method: string,
    path: string,
    { body, bytes, timeoutMs }: RequestOptions,
  ): Promise<IncomingMessage> {
    const signal = timeoutMs === undefined ? {} : { signal: AbortSignal.timeout(timeoutMs) };
    const headers = bytes ? { "content-type": "application/octet-stream", expect: "100-continue" } : {};
    const sent = request({ socketPath: this.#file, method, path, headers, agent: false, ...signal });
    if (bytes) {
      sent.flushHeaders();
      sent.once("continue", () => bytes.pipe(sent));
    } else sent.end(body && JSON.stringify(body));
    const [response] = (await once(sent, "response")) as [IncomingMessage];
    if (response.statusCode === 200) return response;
    const { error, code } = await readJson<{ error: string; code: ControlErrorCode }>(response);
    throw new ControlError(code, error);
  }

  #explain(error: unknown): ControlError {
    if (error instanceof ControlError) return error;
    const cause = error as NodeJS.ErrnoException;
    const fail = (code: ControlErrorCode, text: string) => new ControlError(code, text, { cause });
    switch (cause.code) {
      case "EACCES":
        return fail(
          "FORBIDDEN",
          `this user may not use the control socket ${this.#file}: ${howToGetAccess(this.#file)}`,
        );
      case "ABORT_ERR":
        return fail("NO_AGENT", `the agent on ${this.#file} doesn't answer: see its log, or start it again`);
      case "ECONNRESET":
        return fail("NO_AGENT", `the agent on ${this.#file} ended in the middle of its answer`);
      case "ENOENT":
      case "ECONNREFUSED":
        return fail(
          "NO_AGENT",
          `no agent listens on ${this.#file}: start it with \`labgear agent\`, or name its socket with --control or LABGEAR_CONTROL`,
        );
      default:
        return fail("NO_AGENT", `what listens on ${this.#file} is no labgear agent: ${cause.message}`);
    }
  }
}

async function readJson<T>(response: IncomingMessage): Promise<T> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return JSON.parse(Buffer.concat(chunks).toString()) as T;
}

/** What a user needs that the socket's mode keeps out; its folder may hide the socket itself. */
function howToGetAccess(file: string): string {
  try {
    const { gid } = statSync(file);
    const groups = readFileSync("/etc/group", "utf8").split("\n");
    const name = groups.map((line) => line.split(":")).find(([, , id]) => id === `${gid}`)?.[0] ?? gid;
    return `be root, or join its group ${name} and log in again`;
  } catch {
    return "be root, or join the group that owns its folder and log in again";
  }
}
