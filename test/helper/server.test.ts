/** What the root helper refuses before it does anything. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, realpathSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Lines, parseRequest } from "#/helper/protocol.ts";
import { serve } from "#/helper/server.ts";
import { lacksRoot } from "../support/nobody.ts";

const place = { scratch: "/var/lib/labgear/scratch/a.1", network: "full", devices: [] };
const fine = {
  ...{ verb: "start", id: 1, agent: process.pid, pipes: [null, 1, 2], user: "nobody" },
  ...{ group: "/sys/fs/cgroup/x", folder: "/", place, argv: ["true"], env: { A: "b" } },
  belongings: ["/var/lib/labgear/workspaces/0/a"],
};
const inPlace = (change: object) => ({ place: { ...place, ...change } });

test("a request has one form", () => {
  assert.deepEqual(parseRequest(JSON.stringify(fine)), fine);
  const { id, agent } = fine;
  const others = [
    { ...fine, ...inPlace({ network: { only: ["10.0.0.0/8", "::1"] } }) },
    { ...fine, place: null, pipes: [3, 4, 5] },
    { verb: "signal", id, agent, group: "/sys/fs/cgroup/x", signal: "SIGTERM" },
    { verb: "outsiders", id, agent },
    { verb: "take", id, agent, belongings: ["/a", "/b"] },
    { verb: "own", id, agent, path: "/a", user: "nobody" },
    { verb: "own", id, agent, path: "/a", user: null },
    { verb: "measure", id, agent, path: "/a" },
  ];
  for (const other of others) assert.deepEqual(parseRequest(JSON.stringify(other)), other);
  const wrong: object[] = [
    { id: "1" },
    { agent: -1 },
    { verb: "stop" },
    { verb: "signal" },
    { pipes: [1.5, 1, 1] },
    { pipes: [null, null, 1] },
    { pipes: [1, 1] },
    { user: 0 },
    { group: "a\0b" },
    inPlace({ scratch: undefined }),
    inPlace({ more: 1 }),
    { place: [] },
    { argv: [] },
    { argv: [1] },
    { argv: Array.from({ length: 2000 }, () => "x") },
    { env: [] },
    { env: { "A=B": "c" } },
    { env: { "A;id": "c" } },
    { env: { A: "\0" } },
    ...[
      "lab",
      { only: ["10.0.0.0/33"] },
      { only: ["; id"] },
      { only: Array.from({ length: 65 }, () => "::1") },
    ].map((network) => inPlace({ network })),
    inPlace({ devices: "some" }),
    ...["../etc", "a/../b", "/ttyS0", "a b", "$(id)", "-R", "", "a//b", "a/"].map((node) =>
      inPlace({ devices: [node] }),
    ),
    { more: 1 },
    { belongings: "/a" },
    { belongings: ["a\0b"] },
    { belongings: Array.from({ length: 2000 }, () => "/a") },
    { verb: "take" },
    { verb: "own" },
    { verb: "measure" },
  ];
  for (const change of wrong)
    assert.throws(
      () => parseRequest(JSON.stringify({ ...fine, ...change })),
      /another form/,
      JSON.stringify(change),
    );
  for (const text of ["", "null", "[]", "1", "{", '"x"'])
    assert.throws(() => parseRequest(text), /no JSON object/);
});

test("lines come whole, however they are cut, and none is without an end", () => {
  const lines = new Lines();
  const pieces = ["a", "bc\nde", "", "\n", "\nf"];
  assert.deepEqual(
    pieces.flatMap((piece) => lines.push(piece)),
    ["abc", "de", ""],
  );
  const piece = "x".repeat(1024 * 1024);
  assert.throws(() => {
    for (let count = 0; count < 10; count++) lines.push(piece);
  }, /too long/);
});

test("only users for builds, and only in a build's control group; anything else ends the connection", async () => {
  const folder = mkdtempSync(join(tmpdir(), "labgear-helper-"));
  const accounts = [{ name: "nobody", uid: 65_534, gid: 65_534, home: "/nonexistent" }];
  const agent = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
  const folders = { stateDir: "/var/lib/labgear", runtimeDir: "/run/labgear" };
  const server = createServer((socket) => void serve(socket, { ...folders, agent, accounts }));
  server.listen(join(folder, "socket"));
  await once(server, "listening");
  const ask = async (...requests: unknown[]) => {
    const socket = connect(join(folder, "socket"));
    const lines = new Lines();
    const answers: unknown[] = [];
    for (const request of requests)
      socket.write(`${typeof request === "string" ? request : JSON.stringify(request)}\n`);
    for await (const chunk of socket.setEncoding("utf8")) {
      answers.push(...lines.push(chunk).map((line) => JSON.parse(line).why));
      if (answers.length === requests.length) break;
    }
    return answers;
  };
  try {
    assert.match(String(await ask({ ...fine, user: "root" })), /root is no user for builds/);
    for (const group of ["/sys/fs/cgroup", "/sys/fs/cgroup/x", "/etc", "/sys/fs/cgroup/../../etc"])
      assert.match(String(await ask({ ...fine, group })), /is no control group of a build/, group);
    assert.deepEqual(await ask("{}"), []);
    assert.deepEqual(await ask("hello"), []);
  } finally {
    server.close();
    rmSync(folder, { recursive: true });
  }
});

test("a program that can't be started is an answer like others", { skip: lacksRoot() }, async () => {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "labgear-helper-")));
  const home = join(folder, "scratch/job.1/home");
  mkdirSync(home, { recursive: true });
  const folders = { stateDir: folder, runtimeDir: "/run/labgear" };
  const options = { ...folders, agent: { uid: 0, gid: 0 }, accounts: [] };
  const server = createServer((socket) => void serve(socket, options));
  server.listen(join(folder, "socket"));
  await once(server, "listening");
  // As this agent sees the box, there is no setpriv(1).
  const hide = 'mount --bind /dev/null "$(command -v setpriv)" && echo hidden && exec sleep 600';
  const agent = spawn("unshare", ["--mount", "sh", "-c", hide], { stdio: ["ignore", "pipe", "inherit"] });
  const left = once(agent, "exit");
  const socket = connect(join(folder, "socket"));
  try {
    await once(agent.stdout, "data");
    const requests = [
      { verb: "measure", id: 1, agent: agent.pid, path: home },
      { verb: "own", id: 2, agent: agent.pid, path: home, user: null },
      { verb: "take", id: 3, agent: agent.pid, belongings: [home] },
    ];
    const lines = new Lines();
    const answers = new Map<number, string>();
    for (const request of requests) socket.write(`${JSON.stringify(request)}\n`);
    for await (const chunk of socket.setEncoding("utf8")) {
      for (const { id, state } of lines.push(chunk).map((line) => JSON.parse(line))) answers.set(id, state);
      if (answers.size === requests.length) break;
    }
    assert.deepEqual(
      [1, 2, 3].map((id) => answers.get(id)),
      ["failed", "failed", "done"],
    );
  } finally {
    socket.destroy();
    agent.kill("SIGKILL");
    await left;
    server.close();
    rmSync(folder, { recursive: true });
  }
});
