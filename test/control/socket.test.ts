/** The control socket: its file and access rights, requests, and malformed ones. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import { chmod, chown, mkdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { request, type Server } from "node:http";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { ControlClient } from "#/control/client.ts";
import { ControlError } from "#/control/errors.ts";
import { type ControlRoutes, ControlServer } from "#/control/server.ts";
import { bounded, temporaryFolder } from "../support/servers.ts";

const routes: ControlRoutes = {
  "GET /hello": async ({ query }) => ({ json: { hello: query.get("who") } }),
  "POST /echo": async ({ body }) => ({ json: body }),
  "GET /fault": async () => Promise.reject(new TypeError("a fault")),
  "GET /refused": async () => Promise.reject(new ControlError("REFUSED", "not today")),
  "POST /typed": async ({ bytes }) => {
    const typed = bytes as AsyncGenerator<Buffer>;
    const { value: first } = await typed.next();
    return { bytes: echo(first, typed) };
  },
  "GET /endless": async ({ signal }) => ({ bytes: endless(signal) }),
};

async function* endless(signal: AbortSignal): AsyncGenerator<Buffer> {
  while (!signal.aborted) {
    yield Buffer.from("more\n");
    await once(signal, "abort", { signal: AbortSignal.timeout(50) }).catch(() => {});
  }
}

/** What the server logs. */
const warnings: string[] = [];

const listen = (file: string) =>
  ControlServer.listen(file, routes, { warn: (_, message) => void warnings.push(message) });

async function* echo(first: Buffer, rest: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  yield first;
  yield* rest;
}

const nobody = 65_534;
const main = new URL("../../src/main.ts", import.meta.url).pathname;

/** `labgear status` as some user. */
async function status(file: string, user: { uid?: number; gid?: number }) {
  const child = spawn(
    process.execPath,
    ["--disable-warning=ExperimentalWarning", main, "status", "--control", file],
    {
      stdio: ["ignore", "ignore", "pipe"],
      ...user,
    },
  );
  const [texts, [code]] = await bounded(
    Promise.all([child.stderr.setEncoding("utf8").toArray(), once(child, "exit")]),
  );
  return { code, stderr: texts.join("") };
}

/** A request as any HTTP client sends it; the answer's status and text. */
async function ask(
  file: string,
  method: string,
  path: string,
  body?: string | Buffer,
): Promise<[number, string]> {
  const asked = request({ socketPath: file, method, path, agent: false }).on("error", () => {});
  asked.end(body);
  const [response] = await bounded(once(asked, "response"));
  let text = "";
  for await (const chunk of response) text += chunk;
  return [response.statusCode, text];
}

describe("requests", () => {
  test("JSON in, JSON out", async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, "c.sock");
    await using _server = await listen(file);
    const client = new ControlClient(file);
    assert.deepEqual(await client.json("GET", "/hello?who=a%20b"), { hello: "a b" });
    assert.deepEqual(await client.json("POST", "/echo", { body: { a: [1] } }), { a: [1] });
    assert.deepEqual(await client.json("POST", "/echo"), {});
  });

  test("unknown paths, bad bodies, refusals and faults each have a status and a reason", async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, "c.sock");
    await using _server = await listen(file);
    const cases: [string, string, string | undefined, number, RegExp][] = [
      ["GET", "/nowhere", undefined, 404, /the agent knows no GET \/nowhere/],
      ["POST", "/hello", "{}", 404, /the agent knows no POST \/hello/],
      ["GET", "//", undefined, 404, /the agent knows no/],
      ["GET", "/__proto__", undefined, 404, /the agent knows no/],
      ["POST", "/echo", "{", 400, /no JSON object/],
      ["POST", "/echo", "[1]", 400, /no JSON object/],
      ["POST", "/echo", "null", 400, /no JSON object/],
      ["POST", "/echo", JSON.stringify("x".repeat(100_000)), 413, /65536 bytes at most/],
      ["POST", "/echo", "x".repeat(20_000_000), 413, /65536 bytes at most/],
      ["GET", "/refused", undefined, 400, /not today/],
      ["GET", "/fault", undefined, 500, /a fault/],
    ];
    for (const [method, path, body, status, reason] of cases) {
      const [got, text] = await ask(file, method, path, body);
      assert.equal(got, status, `${method} ${path}: ${text}`);
      assert.match(JSON.parse(text).error, reason);
    }
    assert.deepEqual(await new ControlClient(file).json("GET", "/hello"), { hello: null });
  });

  test("an error while accepting a connection is logged, and the server goes on", async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, "c.sock");
    await using _server = await listen(file);
    const client = new ControlClient(file);
    let server: Server | undefined;
    const onRequest = (message: unknown) => {
      ({ server } = message as { server: Server });
    };
    subscribe("http.server.request.start", onRequest);
    await client.json("GET", "/hello");
    unsubscribe("http.server.request.start", onRequest);
    // This is how Node reports a failed accept(2). The libuv of Node 26 retries by itself, so a real failure isn't reported.
    server?.emit("error", Object.assign(new Error("accept EMFILE"), { code: "EMFILE", syscall: "accept" }));
    assert.ok(warnings.includes("the control socket can't accept a connection: accept EMFILE"));
    assert.deepEqual(await client.json("GET", "/hello"), { hello: null });
  });

  test("a request goes on for longer than the 5 minutes that Node allows by default", {
    skip: !process.env.LABGEAR_TEST_LONG && "takes 6 min: npm run test:long",
  }, async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, "c.sock");
    await using _server = await listen(file);
    const typed = new PassThrough();
    const answer = new ControlClient(file).bytes("/typed", typed)[Symbol.asyncIterator]();
    typed.write("first\n");
    assert.equal(String((await answer.next()).value), "first\n");
    const next = answer.next();
    assert.equal(await Promise.race([next, delay(340_000, "still open")]), "still open");
    typed.end("last\n");
    assert.equal(String((await next).value), "last\n");
    assert.equal((await answer.next()).done, true);
  });

  test("half a request, garbage and a silent client block neither others nor the end", async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, "c.sock");
    const server = await listen(file);
    const pieces = [
      "",
      "POST /echo HT",
      "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 50\r\n\r\n{",
      "\u0000\u0001\n\n",
    ];
    const sockets = pieces.map((piece) => {
      const socket = connect(file).on("error", () => {});
      if (piece) socket.write(piece);
      return socket;
    });
    await Promise.all(sockets.map((socket) => bounded(once(socket, "connect"))));
    assert.deepEqual(await new ControlClient(file).json("GET", "/hello"), { hello: null });
    const bytes = new ControlClient(file).bytes("/endless")[Symbol.asyncIterator]();
    assert.equal(String((await bytes.next()).value), "more\n");
    const rest = (async () => {
      for (let next = await bytes.next(); !next.done; next = await bytes.next());
    })();
    await bounded(server[Symbol.asyncDispose]());
    await bounded(rest).catch((error) => assert.equal(error.code, "NO_AGENT"));
    await assert.rejects(stat(file), { code: "ENOENT" });
    for (const socket of sockets) socket.destroy();
  });
});

describe("the client", () => {
  const rejects = (file: string, code: string, message: RegExp, timeoutMs = 60_000) =>
    assert.rejects(new ControlClient(file).json("GET", "/hello", { timeoutMs }), (error: ControlError) => {
      assert.equal(error.code, code);
      assert.match(error.message, message);
      assert.ok(!error.message.includes("\n"));
      return true;
    });

  test("recognises a missing agent, a silent one, and what is no agent", async () => {
    await using folder = await temporaryFolder();
    await rejects(
      join(folder.path, "none"),
      "NO_AGENT",
      /no agent listens on .*: start it with `labgear agent`/,
    );
    const plain = join(folder.path, "file");
    await writeFile(plain, "");
    await rejects(plain, "NO_AGENT", /no agent listens on/);
    const answers: [string, RegExp][] = [
      ["hello\n", /is no labgear agent/],
      ["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", /is no labgear agent/],
      ["HTTP/1.1 500 Bad\r\ncontent-length: 2\r\n\r\nhi", /is no labgear agent/],
      ["HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nhi", /ended in the middle of its answer/],
    ];
    for (const [i, [answer, expected]] of answers.entries()) {
      const file = join(folder.path, `${i}.sock`);
      const server = createServer((socket) => socket.once("data", () => socket.end(answer))).listen(file);
      await once(server, "listening");
      await rejects(file, "NO_AGENT", expected);
      server.close();
    }
    const file = join(folder.path, "silent.sock");
    await using silent = createServer((socket) => socket.resume()).listen(file);
    await once(silent, "listening");
    await rejects(file, "NO_AGENT", /doesn't answer: see its log/, 200);
  });

  test("the mode keeps an unprivileged user out, and the error names the group", async () => {
    await using folder = await temporaryFolder();
    await chmod(folder.path, 0o755);
    const file = join(folder.path, "c.sock");
    await using _server = await listen(file);
    assert.equal((await stat(file)).mode & 0o777, 0o660);
    const isRoot = process.getuid?.() === 0;
    if (!isRoot) await chmod(file, 0);
    const { gid } = await stat(file);
    const groups = (await readFile("/etc/group", "utf8")).split("\n").map((line) => line.split(":"));
    const group = groups.find(([, , id]) => id === `${gid}`)?.[0] ?? gid;
    const advice = `be root, or join its group ${group} and log in again`;
    const refusal = `labgear: this user may not use the control socket ${file}: ${advice}\n`;
    const user = isRoot ? { uid: nobody, gid: nobody } : {};
    assert.deepEqual(await status(file, user), { code: 1, stderr: refusal });
    if (!isRoot) return;
    await chown(file, 0, nobody);
    const { stderr } = await status(file, user);
    assert.match(stderr, /the agent knows no GET \/status/, "its group is let in");
  });
});

describe("the socket's file", () => {
  const listens = (file: string, message: RegExp) =>
    assert.rejects(listen(file), (error: ControlError) => {
      assert.equal(error.code, "LISTEN");
      assert.match(error.message, message);
      return true;
    });

  test("a live agent's stays, a dead one's is replaced", async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, "run", "c.sock");
    {
      await using _live = await listen(file);
      await listens(file, /another agent listens there; choose another with --control$/);
      assert.deepEqual(await new ControlClient(file).json("GET", "/hello"), { hello: null });
    }
    const dead = join(folder.path, "dead.sock");
    const script = `require("net").createServer().listen(${JSON.stringify(dead)}, () => process.kill(process.pid, "SIGKILL"))`;
    await once(spawn(process.execPath, ["-e", script]), "exit");
    assert.ok((await stat(dead)).isSocket(), "the killed process left it");
    await using _next = await listen(dead);
    assert.deepEqual(await new ControlClient(dead).json("GET", "/hello"), { hello: null });
  });

  test("anything but a socket is left alone", async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, "thesis.txt");
    await writeFile(file, "years of work");
    await listens(file, /another file is in its place/);
    assert.equal(await readFile(file, "utf8"), "years of work");
    const link = join(folder.path, "link");
    await symlink(file, link);
    await listens(link, /another file is in its place/);
    const sub = join(folder.path, "folder");
    await mkdir(sub);
    await listens(sub, /another file is in its place/);
    await listens(join(file, "c.sock"), /ENOTDIR|EEXIST/);
    await listens(join(folder.path, "x".repeat(120)), /longer than 107 bytes/);
  });
});
