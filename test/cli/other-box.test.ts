/** Commands that read from another box, through a job server and without its control socket. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { test } from "node:test";
import { execa } from "execa";
import type { Finding } from "#/cli/doctor/finding.ts";
import type { NodeInfo } from "#/exchange/info.ts";
import { labgear, TestAgent } from "../support/agent.ts";
import { lastData, submit } from "../support/clients.ts";
import { lacks } from "../support/parts.ts";
import { freePort, startGearmand } from "../support/servers.ts";
import { Running } from "./running.ts";

test("labgear log BOX, show BOX and devices BOX; boards on the box", {
  skip: lacks("gearmand"),
}, async () => {
  await using server = await startGearmand();
  const yaml = `
name: rack7
jobs:
  hello: { run: 'echo hello from $LABGEAR_JOB' }
  slow: { run: 'echo begun; read -r line <../../../words; echo "heard $line"' }
devices:
  mcu-1: { classes: [mcu], port: "tcp://127.0.0.1:${await freePort()}", console: raw }
`;
  await using agent = await TestAgent.start({ yaml, ports: [server.port] });
  const at = ["--server", `127.0.0.1:${server.port}`];
  await lastData(await submit(server.port, { function: "build:hello", unique: "u-1", data: "" }));
  const log = await labgear(["log", "rack7", "hello#1", ...at]);
  assert.equal(log.exitCode, 0, log.stderr);
  assert.match(log.stdout, /^hello from hello\n/m);
  assert.equal((await labgear(["log", "rack7", "u-1", ...at])).stdout, log.stdout);

  await execa("mkfifo", [`${agent.stateDir}/words`]);
  const slow = await submit(server.port, { function: "build:slow", unique: "u-2", data: "" });
  await using follower = Running.start(["log", "rack7", "u-2", "-f", ...at]);
  await follower.until("stdout", "begun");
  await writeFile(`${agent.stateDir}/words`, "a word\n");
  await follower.until("stdout", "heard a word");
  await slow.ended;
  assert.equal(await follower.ended, 0);

  const none = await labgear(["log", "rack7", "hello#9", ...at]);
  assert.equal(none.exitCode, 1);
  assert.match(none.stderr, /^labgear: hello#9 of rack7: /);
  const gone = await labgear(["log", "rack8", "hello#1", ...at]);
  assert.equal(gone.exitCode, 6);

  const devices = await labgear(["devices", "rack7", ...at]);
  assert.match(devices.stdout, /^DEVICE +STATE +FOR +CLASSES +WHY\nmcu-1 +absent .* mcu .*can't be reached/);
  const [board] = JSON.parse((await labgear(["devices", "rack7", "--json", ...at])).stdout) as NodeInfo[];
  assert.equal(board?.outage?.cause, "unplugged");

  const shown = await labgear(["show", "rack7", "hello#1", ...at]);
  assert.match(shown.stdout, /^hello#1\n {2}result +SUCCESS\n.*^ {2}node +rack7$/ms);
  assert.equal((await labgear(["show", "rack7", "hello#9", ...at])).exitCode, 1);

  // On the box itself, a name is one of its boards first.
  const own = await agent.command("devices", "mcu-1");
  assert.match(
    own.stdout,
    /^mcu-1\n {2}state +absent\n {2}out of order +\d.*\n {2}why +out of order since .*unplugged.*\n {2}what ends it +connect it/,
  );
  assert.match(own.stdout, /\nout of order in 30 days\n {2}SINCE +FOR +CAUSES .*\n.* unplugged /);
  const { outages } = JSON.parse((await agent.command("devices", "mcu-1", "--json")).stdout);
  assert.equal(outages.length, 1);
  const args = ["doctor", "--json", "--config", agent.config, "--state-dir", agent.stateDir];
  const findings = JSON.parse((await agent.command(...args)).stdout) as Finding[];
  const boards = findings.filter(({ about }) => about === "board");
  assert.equal(boards.length, 1);
  assert.match(boards[0]?.text ?? "", /^mcu-1 out of order since .*, last: unplugged: .* can't be reached/);
  assert.equal(boards[0]?.advice, "connect it: the agent finds it by itself");
});
