/** A command's side of the control socket. */
import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { ControlError } from "./errors.ts";

/** Where the packaged agent listens. */
export const defaultControl = "/run/labgear/control.sock";

export class ControlClient {
  readonly #file: string;

  /** @param file the agent's control socket */
  constructor(file: string) {
    this.#file = file;
  }

  /**
   * Asks the agent.
   * @returns its answer, parsed
   * @throws ControlError
   */
  async json<T>(method: "GET" | "POST", path: string, body?: object): Promise<T> {
    const chunks: Buffer[] = [];
    for await (const chunk of await this.#ask(method, path, body)) chunks.push(chunk as Buffer);
    return JSON.parse(Buffer.concat(chunks).toString()) as T;
  }

  /**
   * Asks for bytes, as they come.
   * @throws ControlError
   */
  async bytes(path: string): Promise<AsyncIterable<Buffer>> {
    return this.#ask("GET", path);
  }

  async #ask(method: string, path: string, body?: object): Promise<IncomingMessage> {
    const asked = request({ socketPath: this.#file, method, path, agent: false });
    asked.end(body && JSON.stringify(body));
    let response: IncomingMessage;
    try {
      [response] = (await once(asked, "response")) as [IncomingMessage];
    } catch (cause) {
      throw unreachable(this.#file, cause as NodeJS.ErrnoException);
    }
    if (response.statusCode === 200) return response;
    const chunks: Buffer[] = [];
    for await (const chunk of response) chunks.push(chunk as Buffer);
    const { error } = JSON.parse(Buffer.concat(chunks).toString()) as { error: string };
    throw new ControlError("REFUSED", error);
  }
}

function unreachable(file: string, cause: NodeJS.ErrnoException): ControlError {
  if (cause.code === "EACCES") {
    const advice = "be root, or join the group that owns it (ls -l shows which)";
    return new ControlError("FORBIDDEN", `the control socket ${file} is not for this user: ${advice}`, { cause });
  }
  const advice = "start it with `labgear agent`, or name its socket with --control or LABGEAR_CONTROL";
  return new ControlError("NO_AGENT", `no agent answers on ${file} (${cause.code ?? cause.message}): ${advice}`, {
    cause,
  });
}
