/** The routes of server-sent events: the overview, a build's console, a device's. */

import { type Context, Hono } from "hono";
import { consoleSize, openConsole } from "#/builds/console/follow.ts";
import type { FoundBuild } from "#/builds/store.ts";
import { deviceView } from "../api/lab-views.ts";
import { byteOffset } from "../api/query.ts";
import { buildView, labStatus } from "../api/views.ts";
import type { Env } from "../app.ts";
import { findBuild } from "../find-build.ts";
import type { Lab } from "../lab.ts";
import { alreadySent } from "../sent.ts";
import { Audience } from "./audience.ts";
import { ConsoleSource, consoleHistory } from "./console-source.ts";
import { DeviceSource } from "./device-source.ts";
import { event, outputEvent } from "./frames.ts";
import { type Source, Stream } from "./stream.ts";
import { Viewer } from "./viewer.ts";

export class Events implements Disposable {
  readonly #lab: Lab;
  readonly #fault: (error: Error, path: string) => void;
  readonly #overview: Audience;
  readonly #streams = new Map<string, Stream>();
  readonly #viewers = new Set<Viewer>();

  /** @param fault tells of a stream that broke */
  constructor(lab: Lab, fault: (error: Error, path: string) => void) {
    this.#lab = lab;
    this.#fault = fault;
    this.#overview = new Audience({
      name: "status",
      every: 250,
      state: () => labStatus(lab),
      essence: () => {
        const { devices, ...status } = labStatus(lab);
        // A board that speaks is no news on the overview.
        return [status, devices.map(({ counters: _, ...device }) => device)];
      },
    });
  }

  /** How many follow something at this moment. */
  get viewers(): number {
    return this.#viewers.size;
  }

  get routes(): Hono<Env> {
    const routes = new Hono<Env>();
    routes.get("/events", (c) => this.#show(c, async (viewer) => this.#overview.add(viewer)));
    routes.get("/builds/:job/:number/events", (c) => {
      const { job, number } = c.req.param();
      const found = findBuild(this.#lab, job, number);
      const from = offsetOf(c);
      const { running } = found;
      if (!running) return this.#show(c, (viewer) => this.#finished(viewer, found, from));
      const stream = () => new ConsoleSource(this.#lab, found, running);
      return this.#show(c, (viewer) => this.#stream(`build ${found.folder}`, stream).watch(viewer, from));
    });
    routes.get("/devices/:name/events", (c) => {
      const { name } = deviceView(this.#lab, c.req.param("name"));
      const from = offsetOf(c);
      const stream = () => new DeviceSource(this.#lab, name);
      return this.#show(c, (viewer) => this.#stream(`device ${name}`, stream).watch(viewer, from));
    });
    return routes;
  }

  async #show(c: Context<Env>, watch: (viewer: Viewer) => Promise<void>): Promise<Response> {
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

  /** The one stream of a console that has viewers. */
  #stream(name: string, source: () => Source): Stream {
    const known = this.#streams.get(name);
    if (known) return known;
    const stream: Stream = new Stream(source(), (error) => {
      if (error) this.#fault(error, name);
      if (this.#streams.get(name) === stream) this.#streams.delete(name);
    });
    this.#streams.set(name, stream);
    return stream;
  }

  async #finished(viewer: Viewer, found: FoundBuild, from: number | undefined): Promise<void> {
    const { parameters: _, ...view } = await buildView(this.#lab, found);
    await viewer.send(event("state", view));
    const file = await openConsole(found.folder);
    const size = file ? await consoleSize(file, found.running?.console).finally(() => file.close()) : 0;
    for await (const piece of consoleHistory(found, from ?? size, size, viewer.gone))
      await viewer.send(outputEvent(piece));
    viewer.end(event("end", {}));
  }

  /** Ends all of them: browsers come back by themselves. */
  [Symbol.dispose](): void {
    this.#overview[Symbol.dispose]();
    for (const viewer of [...this.#viewers]) viewer.end();
  }
}

/** Where a viewer goes on after a cut, or wants to begin; undefined: at the live end. */
function offsetOf(c: Context<Env>): number | undefined {
  const last = c.req.header("last-event-id");
  if (last !== undefined && /^\d{1,15}$/.test(last)) return Number(last);
  return byteOffset(c.req.query("from"));
}
