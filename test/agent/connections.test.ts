/** Status, pages and metrics speak for every connection to a job server, not for the manager's alone. */
import assert from "node:assert/strict";
import { connect, type Socket } from "node:net";
import { test } from "node:test";
import { TestAgent } from "../support/agent.ts";
import { Arrivals } from "../support/gearman.ts";
import { lacks } from "../support/parts.ts";
import { startGearmand, startRawServer } from "../support/servers.ts";
import { get } from "../web/web-lab.ts";

const skip = lacks("gearmand");

const yaml = `
name: box7
host: { classes: [lab1], executors: 2 }
builds: { min-free: 1MiB }
jobs:
  quick: { run: "echo quick" }
`;

/** A proxy that passes so many connections, and swallows what comes on the others. */
async function startSwallower(port: number, passed: number) {
  const sockets = new Arrivals<Socket>();
  const server = await startRawServer((socket) => {
    sockets.add(socket);
    if (sockets.all.length > passed) return void socket.resume();
    const upstream = connect(port, "127.0.0.1");
    upstream.on("error", () => {});
    socket.pipe(upstream).pipe(socket);
    socket.on("close", () => upstream.destroy());
  });
  return { port: server.port, sockets, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

test("executors that aren't registered: not ready, and counted", { skip }, async () => {
  await using gearmand = await startGearmand();
  await using proxy = await startSwallower(gearmand.port, 1);
  await using agent = await TestAgent.launch({ yaml, ports: [proxy.port] });
  const { url } = await agent.logged("the pages are at");
  await agent.logged((line) => line.msg.startsWith("registered with"));
  await proxy.sockets.until((all) => all.length >= 3);

  const [server] = (await agent.status()).servers;
  assert.deepEqual(server?.connections, { registered: 1, total: 4 });
  assert.ok(["registering", "connecting", "waiting"].includes(`${server?.state}`), server?.state);
  assert.match((await agent.command("status")).stdout, /1 of 4 connections registered; the worst is /);
  assert.equal((await get(`${url}`, "/readyz")).status, 503);
  assert.match((await get(`${url}`, "/")).body.toString(), /1 of 4 connections registered/);
  const metrics = (await get(`${url}`, "/metrics")).body.toString();
  const label = `{server="127.0.0.1:${proxy.port}"}`;
  assert.ok(metrics.includes(`labgear_job_server_connected${label} 0\n`), metrics);
  assert.ok(metrics.includes(`labgear_job_server_connections${label} 4\n`));
  assert.ok(metrics.includes(`labgear_job_server_connections_registered${label} 1\n`));
  const doctor = await agent.command("doctor", "--config", agent.config, "--state-dir", agent.stateDir);
  assert.match(doctor.stdout, /1 of 4 connections registered/);
});

test("an executor that reconnects counts, and the box is ready again", { skip }, async () => {
  await using gearmand = await startGearmand();
  await using proxy = await startSwallower(gearmand.port, 100);
  await using agent = await TestAgent.start({ yaml, ports: [proxy.port] });
  const { url } = await agent.logged("the pages are at");
  assert.equal((await get(`${url}`, "/readyz")).status, 200);
  const [server] = (await agent.status()).servers;
  assert.deepEqual(server?.connections, { registered: 4, total: 4 });
  proxy.sockets.all[2]?.destroy();
  await agent.logged("trying again");
  const isBack = (line: { msg: string }) => line.msg.startsWith("registered with");
  await agent.logged(isBack, 5);
  const metrics = (await get(`${url}`, "/metrics")).body.toString();
  assert.ok(metrics.includes("labgear_reconnects_total 1\n"), metrics);
  assert.equal((await get(`${url}`, "/readyz")).status, 200);
});
