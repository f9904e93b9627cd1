/** The gate under fire: made-up requests reach no function but the allowed one, and idle and slow clients keep nobody out. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Refusal } from "#/gate/errors.ts";
import type { Exchange } from "#/gate/exchange.ts";
import { type ConnectionLimits, type GateServer, startServer } from "#/gate/server.ts";
import { Admin } from "#/gearman/client/admin.ts";
import { seeded } from "../support/random.ts";
import { bounded } from "../support/servers.ts";
import { GateLab, staticToken } from "./gate-lab.ts";
import { githubPush } from "./issuer.ts";

const yaml = `
name: box7
host: { classes: [lab1], executors: 2 }
jobs:
  allowed: { run: "true", parameters: [REV] }
  secret: { run: "true" }
  other: { trust: changes, run: "true" }
`;
const rules = `
  - when: { issuer: github, repository_id: 74 , event_name: push }
    allow: { jobs: [allowed], classes: [lab1], parameters: { REV: "[0-9]{1,4}" }, at-once: 5 }
  - when: { token: jenkins }
    allow: { jobs: [allowed], at-once: 50 }
`;

let lab: GateLab;
before(async () => {
  lab = await GateLab.start({ yaml, rules });
});
after(() => lab[Symbol.asyncDispose]());

/** Sends bytes as they are; the first line of the answer, or nothing when the gate just closes. */
async function raw(text: string): Promise<string> {
  const socket = connect(lab.gate.address.port, "127.0.0.1");
  socket.on("error", () => {});
  let answer = "";
  socket.setEncoding("latin1").on("data", (chunk) => (answer += chunk));
  socket.end(text, "latin1");
  await bounded(once(socket, "close"));
  return answer.split("\r\n")[0] ?? "";
}

test("1,000 made-up requests reach no function but the allowed one", async () => {
  const random = seeded(20_261_129);
  const pick = <T>(values: readonly T[]): T => values[random(values.length)] as T;
  const noise = () => String.fromCharCode(...Array.from({ length: 1 + random(20) }, () => random(256)));
  const jobs = [
    "allowed",
    "secret",
    "other",
    "lease",
    "stop:box7",
    "allowed:lab1",
    "../secret",
    "",
    "allowed\n",
    "ALLOWED",
    "allowed ",
    "secret:lab1",
  ];
  const nodes = [undefined, "lab1", "box7", "lab1:x", "*", "", "lab1\u0000", 7];
  const parameters = [
    undefined,
    {},
    { REV: "12" },
    { REV: "x" },
    { REV: "12\n13" },
    { ZUUL_NODE: "x" },
    { LABGEAR_KEY: "x" },
    { OFFLINE_NODE_WHEN_COMPLETE: "1" },
    { __proto__x: "1" },
    [],
    "x",
    { REV: 12 },
  ];
  const values = [
    undefined,
    null,
    [],
    {},
    "high",
    "low",
    1e9,
    -1,
    [{ name: "app", size: 1, sha256: "a".repeat(64) }],
    true,
  ];
  const tokens = await Promise.all(
    Array.from({ length: 40 }, (_, index) =>
      lab.issuer.sign({ ...githubPush, sub: `s${index}`, repository_id: index % 4 === 0 ? "75" : "74" }),
    ),
  );
  const paths = [
    "/v1/builds",
    "/v1/builds/",
    "/v1//builds",
    "/v1/queue",
    "/V1/builds",
    "/v1/builds/00000000000000000000000000000000/events",
    "/v1/builds/%2e%2e/secret",
    "/",
    "/v1/openapi.json/..",
    "/metrics",
  ];
  const statuses = new Map<number, number>();
  const started: string[] = [];
  for (let count = 0; count < 1000; count++) {
    const isSubmission = random(4) > 0;
    const body =
      random(10) === 0
        ? noise()
        : JSON.stringify({
            job: pick(jobs),
            node: pick(nodes),
            parameters: pick(parameters),
            [pick(["inputs", "priority", "client_timeout", "x"])]: pick(values),
          });
    const method = isSubmission ? "POST" : pick(["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "POST"]);
    const response = await lab.request(
      isSubmission ? "/v1/builds" : pick(paths),
      pick([...tokens, ...tokens, undefined, "a.b.c"]),
      {
        method,
        headers: {
          "content-type": pick(["application/json", "application/json", "application/json", "text/plain"]),
          "idempotency-key": pick(["a", "b", crypto.randomUUID()]),
        },
        ...(method !== "GET" && { body }),
      },
    );
    statuses.set(response.status, (statuses.get(response.status) ?? 0) + 1);
    const answer = (await response.json().catch(() => ({}))) as { uuid?: string; key?: string };
    if (response.status !== 201) continue;
    const asked = JSON.parse(body) as { job: string; node?: string };
    assert.equal(asked.job, "allowed");
    assert.ok(asked.node === undefined || asked.node === "lab1" || asked.node === "box7");
    started.push(answer.uuid ?? "");
    await bounded(lab.follow({ uuid: answer.uuid ?? "", key: answer.key ?? "" }));
  }
  assert.ok(!statuses.has(500), JSON.stringify([...statuses]));
  const errors = lab.log.all.filter(({ level }) => level === "error");
  assert.deepEqual(errors, []);
  // What the job server knows: the agent's functions, and no made-up one.
  await using admin = await Admin.connect({ host: "127.0.0.1", port: lab.port });
  const names = (await admin.status()).filter(({ total, workers }) => total > 0 || workers === 0);
  assert.deepEqual(names, []);
  const { stdout } = await lab.agent.command("builds", "--json");
  const ran = JSON.parse(stdout) as { job: string }[] | { finished: { job: string }[] };
  const list = Array.isArray(ran) ? ran : ran.finished;
  assert.ok(list.every(({ job }) => job === "allowed"));
});

test("HTTP that two readers could understand differently is refused", async () => {
  const head = `POST /v1/builds HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer ${staticToken}\r\ncontent-type: application/json\r\n`;
  const body = '{"job":"allowed"}';
  for (const text of [
    `${head}content-length: ${body.length}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n${body}`,
    `${head}content-length: 5\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    `${head}transfer-encoding: xchunked\r\n\r\n${body}`,
    `${head}content-length : ${body.length}\r\n\r\n${body}`,
    `${head}x: ${"y".repeat(20_000)}\r\n\r\n`,
    `GET /v1/queue\u0000 HTTP/1.1\r\nhost: gate\r\n\r\n`,
    "\u0016\u0003\u0001",
  ])
    assert.match(await raw(text), /^(HTTP\/1\.1 4\d\d .*)?$/, JSON.stringify(text.slice(0, 200)));
});

test("bodies: too large, cut off, not wanted", async () => {
  const large = await lab.request("/v1/builds", staticToken, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ job: "x".repeat(300_000) }),
  });
  assert.equal(large.status, 413);
  const unasked = await raw(
    "PUT /v1/builds/00000000000000000000000000000000/inputs/app HTTP/1.1\r\nhost: gate\r\nexpect: 100-continue\r\ncontent-length: 1000000000\r\n\r\n",
  );
  // Refused before a byte of it is sent.
  assert.match(unasked, /^HTTP\/1\.1 404 /);
  assert.match(
    await raw(
      `POST /v1/builds HTTP/1.1\r\nhost: gate\r\nauthorization: Bearer ${staticToken}\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"job"`,
    ),
    /^(HTTP\/1\.1 400 .*)?$/,
  );
});

test("guessed tokens are slowed down; who has a good one isn't", async () => {
  const statuses = [];
  for (let count = 0; count < 100; count++)
    statuses.push((await lab.request("/v1/queue", `guess-${count}`)).status);
  assert.deepEqual([...new Set(statuses)].sort(), [401, 429]);
  const good = await lab.issuer.sign({ ...githubPush, sub: "good" });
  assert.equal((await lab.request("/v1/queue", good)).status, 200);
});

test("2,000 idle connections and slow bodies don't keep a good client from its build", async () => {
  const sockets: Socket[] = [];
  const open = async (text: string) => {
    const socket = connect(lab.gate.address.port, "127.0.0.1");
    socket.on("error", () => {});
    sockets.push(socket);
    await bounded(once(socket, "connect"));
    if (text !== "") socket.write(text);
  };
  try {
    for (let count = 0; count < 2000; count += 100)
      await Promise.all(Array.from({ length: 100 }, () => open("")));
    for (let count = 0; count < 200; count++)
      await open(
        `POST /v1/builds HTTP/1.1\r\nhost: gate\r\n${count % 2 === 0 ? `authorization: Bearer ${staticToken}\r\n` : ""}content-type: application/json\r\ncontent-length: 1000\r\n\r\n{`,
      );
    const build = await lab.submit(await lab.issuer.sign({ ...githubPush, sub: "patient" }), {
      job: "allowed",
    });
    assert.equal(build.status, 201, JSON.stringify(build));
    assert.equal((await bounded(lab.follow(build))).last.result, "SUCCESS");
  } finally {
    for (const socket of sockets) socket.destroy();
  }
});

test("a proxy that is believed says who asks: its last address alone", async () => {
  const file = join(lab.folder, "gate.yaml");
  const from = async (forwarded: string) => {
    await lab.request("/v1/queue", "no-token", { headers: { "x-forwarded-for": forwarded } });
    return lab.log.all.findLast(({ message }) => message.startsWith("refused GET /v1/queue"))?.from;
  };
  // Nobody is believed by default.
  assert.equal(await from("6.6.6.6"), "127.0.0.1");
  const config = readFileSync(file, "utf8");
  writeFileSync(file, config.replace("rules:", "proxies: [127.0.0.0/8]\nrules:"));
  await lab.gate.reload();
  assert.equal(await from("6.6.6.6, 10.7.0.9"), "10.7.0.9");
  assert.equal(await from("2001:db8::7"), "2001:db8::7");
  assert.equal(await from("6.6.6.6, <script>"), "127.0.0.1");
  assert.equal(await from(""), "127.0.0.1");
  writeFileSync(file, config);
  await lab.gate.reload();
});

test("connections: the oldest of strangers makes room, one that is idle is closed", async () => {
  const log = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };
  const start = (limits: Partial<ConnectionLimits>) =>
    startServer({
      ...{ listen: { host: "127.0.0.1", port: 0 }, proxies: () => [], log, onRefusal() {} },
      limits: { maxStrangers: 3, maxConnections: 100, idleTimeoutMs: 60_000, ...limits },
      async handle({ response, trusted }) {
        trusted();
        response.end("ok");
      },
    });
  await using server = await start({});
  const open = async (port: number) => {
    const socket = connect(port, "127.0.0.1");
    socket.on("error", () => {});
    await bounded(once(socket, "connect"));
    return { socket, closed: once(socket, "close") };
  };
  const { port } = server.address;
  const known = await open(port);
  known.socket.write("GET / HTTP/1.1\r\nhost: gate\r\n\r\n");
  await bounded(once(known.socket, "data"));
  const strangers = [await open(port), await open(port), await open(port)];
  // The first of the three strangers makes room for the fourth; the known one, older than all, stays.
  strangers.push(await open(port));
  await bounded(strangers[0]?.closed ?? Promise.reject(new Error("none")));
  assert.equal(known.socket.readyState, "open");
  await using impatient = await start({ idleTimeoutMs: 300 });
  const idle = await open(impatient.address.port);
  await bounded(idle.closed);
  for (const { socket } of [known, idle, ...strangers]) socket.destroy();
});

const upgrade =
  "GET / HTTP/1.1\r\nhost: gate\r\nupgrade: websocket\r\nconnection: upgrade\r\n" +
  "sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";

function startBare(handle: (exchange: Exchange) => Promise<void>): Promise<GateServer> {
  const log = { debug() {}, info() {}, warn() {}, error() {}, child: () => log };
  return startServer({
    ...{ listen: { host: "127.0.0.1", port: 0 }, proxies: () => [], log, onRefusal() {}, handle },
    limits: { maxStrangers: 3, maxConnections: 100, idleTimeoutMs: 60_000 },
  });
}

test("an upgrade that is refused ends its connection, also when the client doesn't", async () => {
  const server = await startBare(async () => {
    throw new Refusal("not-found", "no such build");
  });
  const socket = connect({ ...server.address, allowHalfOpen: true });
  socket.write(upgrade);
  const [answer] = await bounded(once(socket, "data"));
  assert.match(`${answer}`, /^HTTP\/1\.1 404 /);
  // It waits for all connections.
  await bounded(server[Symbol.asyncDispose]());
  socket.destroy();
});

test("a malformed frame that comes with the upgrade ends its connection alone", async () => {
  const closed = Promise.withResolvers<void>();
  await using server = await startBare(async ({ upgrade: accept }) => {
    const webSocket = await accept?.();
    webSocket?.on("close", closed.resolve);
  });
  const socket = connect({ ...server.address });
  socket.on("error", () => {}).resume();
  socket.write(Buffer.concat([Buffer.from(upgrade), Buffer.alloc(8, 0xff)]));
  await bounded(closed.promise);
  socket.destroy();
});
