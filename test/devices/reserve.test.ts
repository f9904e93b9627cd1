/** Several callers wait for one device. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import { test } from "node:test";
import type { DeviceConfig } from "#/config/model.ts";
import { openDevice } from "#/devices/device.ts";
import { Discovery } from "#/devices/discovery/discovery.ts";

/** A device whose board, behind a console server, says nothing. */
async function startDevice() {
  const server = createServer((socket) => socket.on("error", () => {})).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  const config: DeviceConfig = {
    name: "mcu-1",
    classes: ["mcu"],
    port: { address: { kind: "tcp", host: "127.0.0.1", port }, baud: 115_200, flow: "none" },
    console: "raw",
    power: { timeoutMs: 30_000 },
    health: {},
    quarantineAfter: 3,
    bootTimeoutMs: 5000,
    bootSilenceMs: 3000,
  };
  const device = openDevice(config, {
    discovery: new Discovery(),
    calls: undefined,
    command: async () => ({ code: 0, output: "" }),
    health: { failures: 0 },
    saveHealth: () => {},
  });
  while (device.state.kind !== "ready") await once(device, "changed");
  return {
    ...{ device, server, port },
    async [Symbol.asyncDispose]() {
      await device[Symbol.asyncDispose]();
      server.close();
    },
  };
}

const signal = AbortSignal.timeout(60_000);

test("all callers that wait for a device get it, one after another", async () => {
  await using started = await startDevice();
  const { device } = started;
  const first = await device.reserve("labgear console, by hand", undefined, signal);
  const served: string[] = [];
  const waiting = ["a#1", "b#1", "c#1"].map(async (who) => {
    const reservation = await device.reserve(who, { name: "a" }, signal);
    served.push(who);
    assert.deepEqual([device.port.holder, device.reservedFrom], [who, 0]);
    reservation.release({ kind: "well", passed: true });
  });
  first.release({ kind: "by-hand" });
  await Promise.all(waiting);
  assert.deepEqual(served.toSorted(), ["a#1", "b#1", "c#1"]);
});

test("a caller that gives up keeps no other from the device", async () => {
  await using started = await startDevice();
  const { device } = started;
  const first = await device.reserve("a#1", { name: "a" }, signal);
  const stopped = new AbortController();
  const gone = assert.rejects(device.reserve("b#1", { name: "a" }, stopped.signal), { name: "AbortError" });
  const next = device.reserve("c#1", { name: "a" }, signal);
  stopped.abort();
  await gone;
  first.release({ kind: "well", passed: true });
  (await next).release({ kind: "well", passed: true });
});

test("an abandoned device recovers at once, and is handed on when its port is back", async () => {
  await using started = await startDevice();
  const { device, server, port } = started;
  const stopped = new AbortController();
  const reservation = await device.reserve("a#1", { name: "a" }, signal);
  const loan = await reservation.lend(stopped.signal);
  const next = device.reserve("b#1", { name: "b" }, signal);
  server.close();
  stopped.abort();
  await loan[Symbol.asyncDispose]();
  reservation.abandon();
  await once(device, "changed");
  assert.deepEqual(device.state, { kind: "recovering", reason: "a#1 was interrupted" });
  assert.equal(device.port.holder, "a#1");
  server.listen(port, "127.0.0.1");
  (await next).release({ kind: "well", passed: true });
});
