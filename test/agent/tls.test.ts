/** The agent through TLS: stunnel in front of gearmand, which checks the box's certificate as the box checks its own. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { TestAgent } from "../support/agent.ts";
import { type Certificate, makeCa, makeCertificate } from "../support/certificates.ts";
import { gearman, object, submit } from "../support/clients.ts";
import { announce, fetchAll, send, submitWith } from "../support/exchange.ts";
import { lacks } from "../support/parts.ts";
import { startGearmand, startStunnel, temporaryFolder } from "../support/servers.ts";

const skip = lacks("gearmand", "gearman", "stunnel", "openssl");

const resources = new AsyncDisposableStack();
let plain: number;
let secure: number;
let ca: Certificate;
let otherCa: Certificate;
let box: Certificate;

before(async () => {
  if (skip) return;
  const { path } = resources.use(await temporaryFolder());
  [ca, otherCa] = await Promise.all([makeCa(path, "ca"), makeCa(path, "other-ca")]);
  const server = await makeCertificate(path, "server", ca, "IP:127.0.0.1");
  box = await makeCertificate(path, "box", ca, "DNS:box7");
  const gearmand = resources.use(await startGearmand());
  const stunnel = resources.use(await startStunnel({ to: gearmand.port, ...server, clientCa: ca.cert }));
  plain = gearmand.port;
  secure = stunnel.port;
});

after(() => resources.disposeAsync());

const yaml = (tls: object) => `
name: box7
host: { classes: [lab1] }
tls: ${JSON.stringify(tls)}
jobs:
  pass: { run: "echo out" }
  takes: { inputs: { app: { max: 1MiB } }, run: 'cat "$LABGEAR_INPUT_APP"' }
  wait: { run: "exec sleep 300" }
`;

/** Starts an agent that can't get through, sees what it logs, and that it goes on. */
async function refused(tls: object, message: RegExp): Promise<void> {
  await using agent = await TestAgent.launch({ yaml: yaml(tls), ports: [secure] });
  await agent.logged("is up");
  const line = await agent.logged((line) => "manager" in line && line.code === "TLS");
  assert.match(line.msg, message);
  assert.ok(!line.msg.includes("\n"));
  const [server] = (await agent.status()).servers;
  assert.match(server?.status ?? "", message, "the agent goes on, and its status says why");
  const told = agent.log.filter(({ code }) => code === "TLS");
  assert.ok(told.length <= 3, `the same failure is told once by each connection: ${told.length}`);
}

test("a build passes and a stop works through TLS with a client's certificate", { skip }, async () => {
  const tls = { ca: ca.cert, cert: box.cert, key: box.key };
  await using agent = await TestAgent.start({ yaml: yaml(tls), ports: [secure] });
  assert.equal((await gearman(plain, ["-f", "build:pass:lab1", "-u", "t-pass", "{}"])).exitCode, 0);
  const server = { host: "127.0.0.1", port: plain };
  const bytes = Buffer.from("over TLS\n");
  const sent = await submitWith(plain, "build:takes", [announce("app", bytes)]);
  await sent.dataPackets(2);
  await send(server, "box7", sent, "app", bytes);
  await sent.ended;
  const console = await fetchAll(server, "box7", { uuid: sent.uuid }, "console", sent.key);
  assert.match(console.bytes.toString(), /^over TLS$/m);
  const build = await submit(plain, { function: "build:wait", unique: "t-wait", data: "{}" });
  await build.started;
  assert.equal((await gearman(plain, ["-f", "stop:box7", "t-wait"])).exitCode, 0);
  assert.equal(object((await build.ended).at(-2)).result, "ABORTED");
  assert.equal((await agent.record("wait", 1)).server, `127.0.0.1:${secure}`);
});

test("a server that another CA signed: one clear line, and the agent goes on", { skip }, async () => {
  await refused(
    { ca: otherCa.cert, cert: box.cert, key: box.key },
    /TLS to 127\.0\.0\.1:\d+: its certificate .*tls\.ca/,
  );
});

test("no client certificate where one is demanded: a line that says what to set", { skip }, async () => {
  await refused({ ca: ca.cert }, /demands a client certificate: set tls\.cert and tls\.key/);
});

test("a TLS file that isn't there ends the start with its name", { skip }, async () => {
  await using agent = await TestAgent.launch({ yaml: yaml({ ca: "no-such.pem" }), ports: [secure] });
  assert.notEqual(await agent.ended(), 0);
  assert.match(agent.log.map((line) => line.msg).join("\n"), /no-such\.pem/);
  assert.ok(agent.log.length <= 2, "no stack trace");
});
