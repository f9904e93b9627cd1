/** TCP connections: what the kernel is set to, and giving up. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { connectTcp } from "#/lib/tcp.ts";
import { freePort, startRawServer } from "../support/servers.ts";

const solSocket = 1;
const soKeepAlive = 9;
const ipprotoTcp = 6;
const tcpKeepIdle = 4;
const tcpKeepInterval = 5;
const tcpKeepCount = 6;
const tcpUserTimeout = 18;

/** getsockopt(2) */
function socketOption(descriptor: number, level: number, option: number): number {
  using library = process.getBuiltinModule("node:ffi").dlopen(null, {
    getsockopt: { arguments: ["i32", "i32", "i32", "buffer", "buffer"], return: "i32" },
  });
  const value = new Uint32Array(1);
  const size = new Uint32Array([4]);
  const [valueBytes, sizeBytes] = [Buffer.from(value.buffer), Buffer.from(size.buffer)];
  assert.equal(library.functions.getsockopt(descriptor, level, option, valueBytes, sizeBytes), 0);
  return value[0] ?? 0;
}

test("the kernel gives up a silent peer within a minute, idle or with data in flight", {
  skip: process.platform !== "linux" && "TCP_USER_TIMEOUT is Linux's",
}, async () => {
  await using peer = await startRawServer(() => {});
  const socket = await connectTcp(peer, new AbortController().signal);
  const { fd } = Reflect.get(socket, "_handle") as { fd: number };
  assert.equal(socketOption(fd, solSocket, soKeepAlive), 1);
  const [idle, interval, count] = [tcpKeepIdle, tcpKeepInterval, tcpKeepCount].map((option) =>
    socketOption(fd, ipprotoTcp, option),
  ) as [number, number, number];
  assert.deepEqual([idle, interval, count], [20, 10, 3]);
  assert.equal(socketOption(fd, ipprotoTcp, tcpUserTimeout), 1000 * (idle + interval * count));
  socket.destroy();
});

test("a refused connection is the system's error, an aborted one an AbortError", async () => {
  const port = await freePort();
  const { signal } = new AbortController();
  await assert.rejects(connectTcp({ host: "127.0.0.1", port }, signal), { code: "ECONNREFUSED" });
  const reason = new Error("enough");
  const aborted = connectTcp({ host: "127.0.0.1", port }, AbortSignal.abort(reason));
  await assert.rejects(aborted, { code: "ABORT_ERR", cause: reason });
  const controller = new AbortController();
  const connecting = connectTcp({ host: "192.0.2.1", port: 9 }, controller.signal);
  controller.abort(reason);
  await assert.rejects(connecting, { code: "ABORT_ERR", cause: reason });
});
