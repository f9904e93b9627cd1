/** A suspect board on every surface: its page, the page of a build that failed on it, the API, the metrics and the lab. */
import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { LabView } from "#/lib/lab.ts";
import type { DeviceStatus } from "#/lib/status.ts";
import { labgear, TestAgent } from "../support/agent.ts";
import { lacks } from "../support/parts.ts";
import { bounded, freePort, startGearmand, temporaryFolder } from "../support/servers.ts";
import { get } from "./web-lab.ts";

const dayMs = 86_400_000;

/** Two builds a day up to yesterday, as the agent writes them. */
async function writeHistory(
  stateDir: string,
  device: string,
  fails: (build: number) => boolean,
): Promise<void> {
  const folder = join(stateDir, "devices", device, "history");
  await mkdir(folder, { recursive: true });
  const lines = Array.from({ length: 40 }, (_, index) => {
    const at = new Date(Date.now() - 21 * dayMs + (index * dayMs) / 2).toISOString();
    const ending = fails(index) ? "failed" : "passed";
    return { at, build: `boot-smoke#${index + 1}`, ending, cause: ending };
  });
  for (const [month, ofMonth] of Map.groupBy(lines, ({ at }) => at.slice(0, 7)))
    await writeFile(
      join(folder, `${month}.jsonl`),
      ofMonth.map((line) => `${JSON.stringify(line)}\n`).join(""),
    );
}

async function writeBuild(stateDir: string): Promise<void> {
  const folder = join(stateDir, "builds", "boot-smoke", "40");
  await mkdir(folder, { recursive: true });
  const at = new Date(Date.now() - dayMs).toISOString();
  const record = {
    ...{
      version: 1,
      job: "boot-smoke",
      number: 40,
      uuid: "u-40",
      node: "mcu-1",
      device: "mcu-1",
      labels: ["mcu"],
    },
    ...{ executor: 0, server: "s:1", url: "", parameters: {}, assigned: at, started: at, ended: at },
    ...{
      ending: { kind: "failed", reason: "the job ended with exit code 1", exitCode: 1 },
      result: "FAILURE",
    },
  };
  await writeFile(join(folder, "build.json"), JSON.stringify(record));
  await writeFile(join(folder, "console.log"), "");
}

test("a board that fails more often than its siblings is suspect wherever it is shown", {
  skip: lacks("gearmand"),
}, async () => {
  await using server = await startGearmand();
  await using home = await temporaryFolder();
  const stateDir = join(home.path, "state");
  await writeHistory(stateDir, "mcu-1", (build) => build % 2 === 1);
  await writeHistory(stateDir, "mcu-2", (build) => build === 9);
  await writeBuild(stateDir);
  const port = await freePort();
  const device = `classes: [mcu], port: "tcp://127.0.0.1:${port}", console: raw`;
  const yaml = `
name: box
jobs:
  boot-smoke: { nodes: [mcu], steps: [{ expect: never }] }
devices:
  mcu-1: { ${device} }
  mcu-2: { ${device.replace(`${port}`, `${await freePort()}`)} }
`;
  await using agent = await TestAgent.start({ yaml, ports: [server.port], folder: home.path });
  await agent.logged("mcu-1 is suspect");
  const url = agent.log.find(({ msg }) => msg.includes("the pages are at"))?.url;
  const page = async (path: string) => (await get(`${url}`, path)).body.toString();

  const [first, second] = JSON.parse((await agent.command("devices", "--json")).stdout) as DeviceStatus[];
  const [suspicion] = first?.suspect ?? [];
  assert.deepEqual([suspicion?.job, suspicion?.failed, suspicion?.builds], ["boot-smoke", 20, 40]);
  assert.deepEqual([suspicion?.siblingFailed, suspicion?.siblingBuilds], [1, 40]);
  assert.equal(second?.suspect, undefined);
  assert.match(
    await page("/devices/mcu-1"),
    /suspect.*This board failed 20 of 40 <bdi>boot-smoke<\/bdi>, its siblings 1 of 40 in 30 days\./,
  );
  assert.match(
    await page("/builds/boot-smoke/40"),
    /board is suspect.*This board failed 10 of its last 20 <bdi>boot-smoke<\/bdi>, its siblings 1 of 40/,
  );
  assert.match(await page("/metrics"), /^labgear_device_suspect{device="mcu-1",job="boot-smoke"} 1$/m);
  assert.match(
    await page("/metrics"),
    /^labgear_device_out_of_order_seconds{device="mcu-1",cause="unplugged"} [\d.e-]+$/m,
  );
  const ask = async (): Promise<LabView> => {
    for (;;) {
      const { stdout } = await labgear(["lab", "--json", "--server", `127.0.0.1:${server.port}`]);
      // A loaded box may answer too late.
      if (stdout.includes('"mcu-1"')) return JSON.parse(stdout);
    }
  };
  const lab = await bounded(ask());
  assert.equal(
    lab.boards.find(({ name }) => name === "mcu-1")?.suspect,
    "failed 20 of 40 boot-smoke in 30 days, its siblings 1 of 40",
  );
});
