/** Jobs with slashes in their names, as folders of Jenkins have them: everywhere that a name goes. */
import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { labgear, TestAgent } from "../support/agent.ts";
import { functions } from "../support/clients.ts";
import { lacks } from "../support/parts.ts";
import { freePort, startGearmand, temporaryFolder } from "../support/servers.ts";

const jobs = ["a/b", "a%2Fb", "100%/c"];
const yaml = (http: number) => `
name: box7
host: { classes: [lab1] }
http: { listen: "127.0.0.1:${http}" }
builds: { min-free: 1MiB, offline-node: false }
jobs:
${jobs.map((job) => `  "${job}": { run: 'echo "I am $JOB_NAME"; echo x > out.txt', artifacts: [out.txt] }`).join("\n")}
`;

test("names with slashes, and those that look like their folders, are jobs of their own", {
  skip: lacks("gearmand"),
}, async () => {
  await using gearmand = await startGearmand();
  await using folder = await temporaryFolder();
  const http = await freePort();
  const options = { yaml: yaml(http), ports: [gearmand.port], folder: folder.path };
  const pages = async (path: string) => {
    const response = await fetch(`http://127.0.0.1:${http}${path}`);
    return { status: response.status, text: await response.text() };
  };
  {
    await using agent = await TestAgent.start(options);
    const registered = await functions(gearmand.port);
    for (const job of jobs) {
      assert.equal(registered.get(`build:${job}:lab1`)?.workers, 1, job);
      const args = ["build", job, "--server", `127.0.0.1:${gearmand.port}`];
      const { exitCode, stderr } = await labgear(args);
      assert.equal(exitCode, 0, stderr);
      assert.ok(stderr.includes(`/builds/${encodeURIComponent(job)}/1`), stderr);
    }
    const kept = (await readdir(join(agent.stateDir, "builds"))).sort();
    assert.deepEqual(kept, ["100%%2Fc", "a%252Fb", "a%2Fb"]);
    assert.deepEqual((await readdir(join(agent.stateDir, "workspaces", "0"))).sort(), kept);
    assert.match(
      (await labgear(["stop", "box7", "a/b#1", "--server", `127.0.0.1:${gearmand.port}`])).stderr,
      /a\/b#1/,
    );
  }
  // What an earlier agent has left is found again.
  await using agent = await TestAgent.start(options);
  for (const job of jobs) {
    assert.equal((await agent.command("log", `${job}#1`)).stdout, `I am ${job}\n`);
    assert.match((await agent.command("builds", job)).stdout, new RegExp(`${job}#1 +.*SUCCESS`));
    const url = `/builds/${encodeURIComponent(job)}/1`;
    assert.equal((await pages(`${url}/console`)).text, `I am ${job}\n`);
    assert.equal((await pages(`${url}/artifacts/out.txt`)).text, "x\n");
    assert.equal((await pages(url)).status, 200);
    assert.equal(JSON.parse((await pages(`/api${url}`)).text).job, job);
    const ofJob = await pages(`/jobs/${encodeURIComponent(job)}`);
    assert.equal(ofJob.status, 200);
    assert.ok(ofJob.text.includes(`href="${url}"`), job);
    const args = [
      "build",
      job,
      "--server",
      `127.0.0.1:${gearmand.port}`,
      "-p",
      "OFFLINE_NODE_WHEN_COMPLETE=1",
    ];
    assert.match((await labgear(args)).stderr, new RegExp(`^${job}#2 runs on`, "m"), "numbers go on");
    await agent.logged("OFFLINE_NODE_WHEN_COMPLETE is refused", jobs.indexOf(job) + 1);
  }
  assert.deepEqual((await agent.status()).nodes[0]?.reasons, []);
});
