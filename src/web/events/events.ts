/** The routes of server-sent events: the overview, the lab, and the consoles of builds and devices. */
import { type Context, Hono } from "hono";
import { consoleSize, openConsole } from "#/builds/console/follow.ts";
import type { FoundBuild } from "#/builds/store.ts";
import type { LabView } from "#/lib/lab.ts";
import type { AgentView } from "../agent-view.ts";
import { buildView, deviceView, statusView } from "../api/views.ts";
import { byteOffset, type Env, findBuild } from "../request.ts";
import { alreadySent } from "../send-file.ts";
import { event, outputEvent } from "./frames.ts";
import { ConsoleSource, consoleHistory, DeviceSource } from "./sources.ts";
import { type Source, Stream } from "./stream.ts";
import { Audience, Viewer } from "./viewer.ts";

export class Events implements Disposable {
  readonly #agent: AgentView;
  readonly #onFault: (error: Error, path: string) => void;
  readonly #overview: Audience;
  readonly #lab: Audience;
  readonly #streams = new Map<string, Stream>();
  readonly #viewers = new Set<Viewer>();

  /** @param onFault reports a stream that failed */
  constructor(agent: AgentView, onFault: (error: Error, path: string) => void) {
    this.#agent = agent;
    this.#onFault = onFault;
    this.#overview = new Audience({
      name: "status",
      pollIntervalMs: 250,
      state: () => statusView(agent),
      significant: () => {
        const { devices, ...status } = statusView(agent);
        // Serial traffic alone must not refresh the overview.
        return [status, devices.map(({ counters: _, ...device }) => device)];
      },
    });
    this.#lab = new Audience({
      name: "status",
      pollIntervalMs: 1000,
      state: () => this.#labState(),
      // That time passes, and that a box was heard again, changes nothing that is shown.
      significant: () => {
        const { time: _, boxes, ...lab } = this.#labState();
        return [lab, boxes.map(({ seen: _, ...box }) => box)];
      },
    });
  }

  #labState(): LabView {
    void this.#agent.lab();
    return this.#agent.labNow();
  }

  /** The number of open event streams. */
  get viewers(): number {
    return this.#viewers.size;
  }

  get routes(): Hono<Env> {
    const routes = new Hono<Env>();
    routes.get("/events", (c) => this.#serve(c, async (viewer) => this.#overview.add(viewer)));
    routes.get("/lab/events", (c) => this.#serve(c, async (viewer) => this.#lab.add(viewer)));
    routes.get("/builds/:job/:number/events", (c) => {
      const { job, number } = c.req.param();
      const found = findBuild(this.#agent, job, number);
      const from = offsetOf(c);
      const { running } = found;
      if (!running) return this.#serve(c, (viewer) => this.#finished(viewer, found, from));
      const stream = () => new ConsoleSource(this.#agent, found, running);
      return this.#serve(c, (viewer) => this.#stream(`build ${found.folder}`, stream).watch(viewer, from));
    });
    routes.get("/devices/:name/events", (c) => {
      const { name } = deviceView(this.#agent, c.req.param("name"));
      const from = offsetOf(c);
      const stream = () => new DeviceSource(this.#agent, name);
      return this.#serve(c, (viewer) => this.#stream(`device ${name}`, stream).watch(viewer, from));
    });
    return routes;
  }

  async #serve(c: Context<Env>, watch: (viewer: Viewer) => Promise<void>): Promise<Response> {
    const { outgoing, incoming } = c.env;
    if (incoming.method === "HEAD") {
      outgoing.writeHead(200, { "content-type": "text/event-stream" }).end();
      return alreadySent();
    }
    const viewer = new Viewer(outgoing, incoming);
    this.#viewers.add(viewer);
    viewer.gone.addEventListener("abort", () => this.#viewers.delete(viewer), { once: true });
    await watch(viewer);
    return alreadySent();
  }

  /** All viewers of a console share one stream. */
  #stream(name: string, source: () => Source): Stream {
    const known = this.#streams.get(name);
    if (known) return known;
    const stream: Stream = new Stream(source(), (error) => {
      if (error) this.#onFault(error, name);
      if (this.#streams.get(name) === stream) this.#streams.delete(name);
    });
    this.#streams.set(name, stream);
    return stream;
  }

  async #finished(viewer: Viewer, found: FoundBuild, from: number | undefined): Promise<void> {
    const { parameters: _, ...view } = await buildView(this.#agent, found);
    await viewer.send(event("state", view));
    const file = await openConsole(found.folder);
    const size = file ? await consoleSize(file, undefined).finally(() => file.close()) : 0;
    for await (const piece of consoleHistory(found, from ?? size, size, viewer.gone))
      await viewer.send(outputEvent(piece));
    viewer.end(event("end", {}));
  }

  /** Ends all streams; browsers reconnect by themselves. */
  [Symbol.dispose](): void {
    this.#overview[Symbol.dispose]();
    this.#lab[Symbol.dispose]();
    for (const viewer of [...this.#viewers]) viewer.end();
  }
}

/** Where to start: after the last event before a reconnect, or where the query says; undefined for the live end. */
function offsetOf(c: Context<Env>): number | undefined {
  const last = c.req.header("last-event-id");
  if (last !== undefined && /^\d{1,15}$/.test(last)) return Number(last);
  return byteOffset(c.req.query("from"));
}
