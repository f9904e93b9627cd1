/** An agent with pages, its job server, and the requests that tests make. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { request } from "node:http";
import { TestAgent } from "../support/agent.ts";
import { submit, type Watched } from "../support/clients.ts";
import { bounded, type RunningServer, startGearmand } from "../support/servers.ts";

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
}

export class WebLab implements AsyncDisposable {
  readonly agent: TestAgent;
  /** Without a trailing slash. */
  readonly url: string;
  /** The job server's port. */
  readonly gearmand: number;
  readonly #server: RunningServer;
  readonly #resources: AsyncDisposable;

  private constructor(agent: TestAgent, url: string, server: RunningServer, resources: AsyncDisposable) {
    this.agent = agent;
    this.url = url;
    this.gearmand = server.port;
    this.#server = server;
    this.#resources = resources;
  }

  static async start(yaml: string, options: { folder?: string } = {}): Promise<WebLab> {
    await using resources = new AsyncDisposableStack();
    const server = resources.use(await startGearmand());
    const agent = resources.use(
      await TestAgent.start({ yaml: `name: box\n${yaml}`, ports: [server.port], ...options }),
    );
    const { url } = await agent.logged("the pages are at");
    return new WebLab(agent, `${url}`, server, resources.move());
  }

  async stopGearmand(): Promise<void> {
    await this.#server[Symbol.asyncDispose]();
  }

  /** Submits a build. */
  submit(job: string, unique: string, parameters: object = {}): Promise<Watched> {
    return submit(this.gearmand, {
      function: `build:${job}`,
      unique,
      data: JSON.stringify({ LABGEAR_STREAM: "1", ...parameters }),
    });
  }

  /** Runs a build to its end. */
  async run(job: string, unique: string, parameters: object = {}): Promise<void> {
    await bounded((await this.submit(job, unique, parameters)).ended);
  }

  /** Requests the path as it is, without normalizing it. */
  async get(path: string, headers: Record<string, string> = {}, method = "GET"): Promise<Answer> {
    return get(this.url, path, headers, method);
  }

  async json(path: string): Promise<Record<string, unknown>> {
    const { status, body } = await this.get(path);
    assert.equal(status, 200, `${path}: ${body}`);
    return JSON.parse(body.toString());
  }

  [Symbol.asyncDispose](): PromiseLike<void> {
    return this.#resources[Symbol.asyncDispose]();
  }
}

export async function get(
  url: string,
  path: string,
  headers: Record<string, string> = {},
  method = "GET",
): Promise<Answer> {
  const { hostname, port } = new URL(url);
  const sent = request({ host: hostname, port, path, headers, method, agent: false });
  sent.end();
  const [response] = await bounded(once(sent, "response"));
  const parts: Buffer[] = [];
  for await (const part of response) parts.push(part);
  return { status: response.statusCode, headers: response.headers, body: Buffer.concat(parts) };
}
