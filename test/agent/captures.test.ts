/** What three real Zuuls put on the wire (captures/README.md), replayed to the agent through gearmand. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { TestAgent } from "../support/agent.ts";
import { object, submit, type Watched } from "../support/clients.ts";
import { lacks } from "../support/parts.ts";
import { startGearmand, temporaryFolder } from "../support/servers.ts";

const captures = new URL("../zuul/captures/", import.meta.url).pathname;
const skip = lacks("gearmand");

type Recorded =
  | {
      scenario: string;
      packet: "SUBMIT_JOB" | "SUBMIT_JOB_HIGH" | "SUBMIT_JOB_LOW";
      function: string;
      unique: string;
      argument: string;
    }
  | { scenario: string; packet?: undefined; admin: string };

/** What each dialect reads of a build's data packets. */
const keys = {
  first: {
    2013: ["full_url", "number", "master"],
    2: [
      ...["number", "manager", "url", "worker_name", "worker_hostname", "worker_ips", "worker_fqdn"],
      ...["worker_program", "worker_version", "worker_extra"],
    ],
  },
  last: { 2013: ["result"], 2: ["result", "node_labels", "node_name", "url"] },
} as const;

for (const file of readdirSync(captures).filter((name) => name.endsWith(".jsonl"))) {
  const lines = readFileSync(join(captures, file), "utf8").trim().split("\n");
  const recorded = lines.map((line) => JSON.parse(line) as Recorded);
  const dialect = file.includes("2013") ? 2013 : 2;
  for (const [scenario, packets = []] of Object.entries(Object.groupBy(recorded, (one) => one.scenario))) {
    test(`${file}: ${scenario}`, { skip }, () => replay(scenario, packets, dialect));
  }
}

/** Sends the packets as they are, one after the other, to an agent whose first build is number 1. */
async function replay(scenario: string, packets: Recorded[], dialect: 2013 | 2): Promise<void> {
  await using server = await startGearmand();
  await using folder = await temporaryFolder();
  // The job goes on to its end where the scenario lets it.
  const hold = join(folder.path, "hold");
  if (packets.some((one) => one.packet && !one.function.startsWith("build:"))) await writeFile(hold, "");
  const yaml = `
name: box7
host: { classes: [lab1] }
jobs:
  unit-tests: { run: "test ! -e ${hold} || exec sleep 300" }
`;
  await using agent = await TestAgent.start({ yaml, folder: folder.path, ports: [server.port] });
  const cancels = packets.some((one) => "admin" in one);
  if (cancels) assert.equal((await agent.command("pause")).exitCode, 0);
  const sent: Watched[] = [];
  for (const one of packets) {
    if (!one.packet) {
      assert.equal(await adminLine(server.port, one.admin.replace(/H:\S+/, sent[0]?.handle ?? "")), "OK");
      continue;
    }
    const priority = ({ SUBMIT_JOB: "normal", SUBMIT_JOB_HIGH: "high", SUBMIT_JOB_LOW: "low" } as const)[
      one.packet
    ];
    const { unique, argument } = one;
    sent.push(await submit(server.port, { function: one.function, unique, data: argument, priority }));
    if (sent.length < packets.length && !cancels) await sent[0]?.started;
  }
  const [build, order] = sent as [Watched, ...Watched[]];
  if (order) assert.equal((await order.ended).at(-1)?.type, "complete", "the manager has carried it out");

  if (cancels) {
    assert.deepEqual(await build.ended, [{ type: "fail" }]);
    assert.equal((await agent.command("resume")).exitCode, 0);
    const next = await submit(server.port, { function: "build:unit-tests", unique: "next", data: "{}" });
    assert.equal((await next.started).number, 1, "what was cancelled in the queue never ran");
    return void (await next.ended);
  }
  const description = scenario.startsWith("description");
  if (description) {
    const stop = { function: "stop:box7", unique: "stop", data: '{"name":"unit-tests","number":1}' };
    await (await submit(server.port, stop)).ended;
  }
  const events = await build.ended;
  const [first, last] = [object(events[0]), object(events.at(-2))];
  for (const key of keys.first[dialect]) assert.ok(first[key] !== undefined && first[key] !== null, key);
  for (const key of keys.last[dialect]) assert.ok(last[key] !== undefined && last[key] !== null, key);
  assert.equal(first.number, 1);
  assert.equal(last.result, order ? "ABORTED" : "SUCCESS");
  assert.equal(events.at(-1)?.type, order ? "fail" : "complete");
  const record = await agent.record("unit-tests", 1);
  const [launch] = packets;
  assert.ok(launch?.packet);
  assert.equal(record.uuid, launch.unique);
  assert.equal(record.description, description ? "<b>a description</b>" : undefined);
  assert.equal(record.target, launch.function.split(":")[2]);
  assert.deepEqual(record.parameters, JSON.parse(launch.argument));
}

/** Sends a line of the text protocol as it is; resolves with the answer's line. */
async function adminLine(port: number, line: string): Promise<string> {
  const socket = connect(port, "127.0.0.1").setEncoding("utf8");
  socket.write(`${line}\n`);
  const [answer] = await once(socket, "data", { signal: AbortSignal.timeout(60_000) });
  socket.destroy();
  return String(answer).trim();
}
