/** Authentication, and clients that try to use up the server. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { TestAgent } from "../support/agent.ts";
import { lacks } from "../support/parts.ts";
import { bounded, freePort } from "../support/servers.ts";
import { get, WebLab } from "./web-lab.ts";

const basic = (user: string, password: string) => ({
  authorization: `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`,
});

/** An agent without jobs or a reachable job server. */
async function startAgent(http: string, folder?: string): Promise<TestAgent> {
  const yaml = `name: box\nhttp: ${http}\n`;
  return TestAgent.start({ yaml: `servers: ["127.0.0.1:1"]\n${yaml}`, ...(folder && { folder }) });
}

async function secretFolder(secret: string): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), "labgear-web-"));
  await writeFile(join(path, "secret"), `${secret}\n`);
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

test("a password is required, and can be changed", async () => {
  await using folder = await secretFolder("pass:word ü");
  const http = '{ listen: "127.0.0.1:0", auth: { user: lab, password-file: secret } }';
  await using agent = await startAgent(http, folder.path);
  const url = `${(await agent.logged("the pages are at")).url}`;
  const look = async (headers: Record<string, string> = {}, path = "/api/status") =>
    (await get(url, path, headers)).status;
  const refused = await get(url, "/");
  assert.equal(refused.status, 401);
  assert.match(`${refused.headers["www-authenticate"]}`, /^Basic realm="labgear"/);
  assert.equal(await look(basic("lab", "pass:word ü")), 200);
  for (const headers of [
    basic("lab", ""),
    basic("lab", "pass:word"),
    basic("", "pass:word ü"),
    { authorization: "Bearer pass:word" },
    { authorization: "Basic" },
    { authorization: "Basic !" },
  ])
    assert.equal(await look(headers), 401);
  for (const path of ["/metrics", "/events", "/builds/x/1/console", "/healthzz", "//healthz", "/healthz/../"])
    assert.equal(await look({}, path), 401, path);
  assert.deepEqual([await look({}, "/healthz"), await look({}, "/readyz?x")], [200, 503]);
  await writeFile(join(folder.path, "secret"), "another");
  assert.deepEqual(
    [await look(basic("lab", "pass:word ü")), await look(basic("lab", "another"))],
    [401, 200],
  );
  await writeFile(join(folder.path, "secret"), "\n");
  assert.equal(await look(basic("lab", "")), 401);
  await rm(join(folder.path, "secret"));
  assert.equal(await look(basic("lab", "another")), 503);
  await agent.logged("can't read the password or token of the pages");
});

test("a token, also as a password in a browser", async () => {
  await using folder = await secretFolder("t0ken");
  const http = '{ listen: "127.0.0.1:0", auth: { token-file: secret } }';
  await using agent = await startAgent(http, folder.path);
  const url = `${(await agent.logged("the pages are at")).url}`;
  const look = async (headers: Record<string, string>) => (await get(url, "/api/status", headers)).status;
  assert.equal(await look({ authorization: "Bearer t0ken" }), 200);
  assert.equal(await look({ authorization: "bearer t0ken" }), 200);
  assert.equal(await look(basic("anybody", "t0ken")), 200);
  assert.equal(await look({ authorization: "Bearer t0keN" }), 401);
  assert.equal(await look({ authorization: "t0ken" }), 401);
});

test("an agent that anyone can reach logs a warning", async () => {
  await using agent = await startAgent('{ listen: "0.0.0.0:0" }');
  const { level } = await agent.logged("http has no auth");
  assert.equal(level, 40);
});

test("with its address in use, the agent runs without pages; a reload can move them", async () => {
  await using first = await startAgent('{ listen: "127.0.0.1:0" }');
  const { port } = await first.logged("the pages are at");
  await using second = await startAgent(`{ listen: "127.0.0.1:${port}" }`);
  await second.logged("another program is listening there");
  const free = await freePort();
  await writeFile(
    second.config,
    `servers: ["127.0.0.1:1"]\nname: box\nhttp: { listen: "127.0.0.1:${free}" }\n`,
  );
  await second.command("reload");
  const { url } = await second.logged("the pages are at");
  assert.equal(url, `http://127.0.0.1:${free}`);
  assert.equal((await get(`${url}`, "/healthz")).status, 200);
});

test("slow requests are ended, and a thousand idle viewers don't block others", {
  skip: lacks("gearmand"),
}, async () => {
  await using lab = await WebLab.start('jobs: { talk: { run: "echo begun; sleep 60" } }\n');
  const build = await lab.submit("talk", "uuid-1");
  await build.said("begun");
  const { port } = new URL(lab.url);
  const sockets: Socket[] = [];
  const hangUp = () => {
    for (const socket of sockets) socket.destroy();
  };
  using _ = { [Symbol.dispose]: hangUp };
  const open = async (text: string) => {
    const socket = connect(Number(port), "127.0.0.1");
    socket.on("error", () => {});
    sockets.push(socket);
    await bounded(once(socket, "connect"));
    socket.write(text);
    return socket;
  };
  // Slowloris clients that send a header now and then.
  const loris = await Promise.all(
    Array.from({ length: 50 }, () => open("GET / HTTP/1.1\r\nHost: localhost\r\n")),
  );
  const ends = loris.map((socket) => new Promise((resolve) => socket.once("close", resolve)));
  const drip = setInterval(() => {
    for (const socket of loris) socket.write("X: y\r\n");
  }, 500);
  using _1 = { [Symbol.dispose]: () => clearInterval(drip) };
  const before = await memory(lab);
  for (let batch = 0; batch < 10; batch++) {
    const opened = Array.from({ length: 100 }, async () => {
      const socket = await open("GET /builds/talk/1/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
      await bounded(once(socket, "data"));
      socket.resume();
    });
    await Promise.all(opened);
  }
  const metrics = (await lab.get("/metrics")).body.toString();
  assert.match(metrics, /^labgear_viewers 1000$/m);
  assert.equal((await lab.get("/builds/talk/1")).status, 200);
  assert.ok((await memory(lab)) - before < 150e6, "a viewer costs little");
  await bounded(Promise.all(ends), 100_000);
  assert.equal((await lab.get("/healthz")).status, 200);
  hangUp();
  // Viewers that disconnect are no longer counted.
  for (let viewers = ""; viewers !== "labgear_viewers 0"; )
    viewers = /^labgear_viewers \d+$/m.exec((await lab.get("/metrics")).body.toString())?.[0] ?? "";
});

async function memory(lab: WebLab): Promise<number> {
  const text = (await lab.get("/metrics")).body.toString();
  return Number(/^process_resident_memory_bytes (\S+)$/m.exec(text)?.[1]);
}
