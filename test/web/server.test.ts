/** The web server in this process, with an error that only the kernel can cause. */
import assert from "node:assert/strict";
import { tracingChannel } from "node:diagnostics_channel";
import { mkdtemp, rm } from "node:fs/promises";
import type { Server } from "node:http";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { BuildStore } from "#/builds/store.ts";
import type { AgentView } from "#/web/agent-view.ts";
import { startWeb } from "#/web/server.ts";
import { get } from "./web-lab.ts";

/** The HTTP server that starts to listen next. */
function nextServer(): Promise<Server> {
  const { promise, resolve } = Promise.withResolvers<Server>();
  const subscribers = {
    asyncEnd(message: object) {
      tracingChannel("net.server.listen").unsubscribe(subscribers);
      resolve((message as { server: Server }).server);
    },
  };
  tracingChannel("net.server.listen").subscribe(subscribers);
  return promise;
}

const noLab = {
  ...{ version: 1 as const, time: "2026-11-29T00:00:00.000Z" },
  ...{ servers: [], boxes: [], classes: [], boards: [], running: [], queued: [] },
};

test("a failed accept is logged, and the server keeps answering", async () => {
  const folder = await mkdtemp(join(tmpdir(), "labgear-web-"));
  await using _ = { [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }) };
  const url = () => "";
  const { store } = await BuildStore.open({ folder: join(folder, "builds"), nextNumber: () => 1, url });
  const status = { name: "box", version: "1", pid: 1, since: "", files: [], servers: [], nodes: [] };
  const agent: AgentView = {
    builds: store,
    status: () => ({ ...status, state: "running" }),
    devices: () => [],
    history: async () => [],
    boardRecord: async () => undefined,
    flaky: () => [],
    lab: async () => noLab,
    labNow: () => noLab,
    feed: () => undefined,
    jobs: () => [],
    links: () => ({}),
    counts: () => ({ reconnects: 0 }),
    lastReload: () => ({ at: new Date(), failed: false }),
    enforced: () => new Set(),
    sizes: () => new Map(),
    disk: async () => ({ freeBytes: undefined, minFreeBytes: 0, freeInodes: undefined }),
  };
  const errors: string[] = [];
  const ignore = () => {};
  const log = {
    ...{ debug: ignore, info: ignore, warn: ignore, child: () => log },
    error: (_fields: object, message: string) => void errors.push(message),
  };
  const starting = nextServer();
  await using web = await startWeb(agent, { host: "127.0.0.1", port: 0, log });
  const handle: unknown = Reflect.get(await starting, "_handle");
  // The callback through which libuv reports what accept(2) returned.
  (handle as { onconnection(status: number): void }).onconnection(-constants.errno.ENOMEM);
  assert.match(errors.join(), /ENOMEM/);
  const { host, port } = web.address;
  assert.equal((await get(`http://${host}:${port}`, "/healthz")).status, 200);
});
