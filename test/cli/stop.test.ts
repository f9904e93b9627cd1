/** `labgear stop UUID`, without a manager: builds that are queued, that run, and that aren't there. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Admin } from "#/gearman/client/admin.ts";
import { JobServer } from "#/gearman/server/server.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { labgear } from "../support/agent.ts";
import { submit } from "../support/clients.ts";
import { startWorker } from "../support/gearman.ts";
import { lacks } from "../support/parts.ts";
import { startGearmand, startPerlServer } from "../support/servers.ts";

const stop = (server: ServerAddress, ...args: string[]) =>
  labgear(["stop", ...args, "--server", `127.0.0.1:${server.port}`]);

/** gearmand keeps a cancelled one until it is its turn. */
async function jobsOf(server: ServerAddress): Promise<number> {
  await using admin = await Admin.connect(server);
  return (await admin.showJobs()).filter(({ ignored }) => !ignored).length;
}

async function queuedAndRunning(server: ServerAddress): Promise<void> {
  await using box = await startWorker([server], ["build:slow", "build:other"]);
  await using _manager = await startWorker([server], ["stop:box7"], {
    onJob: async (job) => (`${job.argument}`.includes('"running-1"') ? job.complete() : job.fail()),
  });
  const { port } = server;
  const build = (name: string, unique: string) =>
    submit(port, { function: `build:${name}`, unique, data: "{}", background: true });
  await build("slow", "running-1");
  const job = await box.jobs.next();
  await build("slow", "queued-1");
  await build("other", "queued-2");
  await build("other", "queued-3");

  const second = await stop(server, "queued-2");
  assert.deepEqual(
    [second.exitCode, second.stdout],
    [0, "queued-2 was queued and is cancelled\n"],
    second.stderr,
  );
  assert.equal(await jobsOf(server), 3, "the others stay");

  const running = await stop(server, "running-1");
  assert.deepEqual([running.exitCode, running.stdout], [0, "running-1 is being stopped\n"], running.stderr);

  const again = await stop(server, "queued-2");
  assert.deepEqual([again.exitCode, again.stderr], [1, "labgear: no build queued-2 is running or queued\n"]);
  assert.equal(await jobsOf(server), 3, "nothing of the search is left");

  job.complete();
  job.done();
  const left: string[] = [];
  for (let count = 0; count < 2; count++) {
    const next = await box.jobs.next();
    left.push(next.unique);
    next.complete();
    next.done();
  }
  assert.deepEqual(left.sort(), ["queued-1", "queued-3"]);
}

describe("labgear stop UUID", () => {
  test("on gearmand", { skip: lacks("gearmand") }, async () => {
    await using server = await startGearmand();
    await queuedAndRunning(server);
  });

  test("on the embedded server", async () => {
    await using server = new JobServer();
    await queuedAndRunning(await server.listen({ port: 0 }));
  });

  test("the Perl server can't cancel: a line says what to do", { skip: lacks("perlGearmand") }, async () => {
    await using server = await startPerlServer();
    const { exitCode, stderr } = await stop(server, "queued-1");
    assert.equal(exitCode, 1);
    assert.match(
      stderr,
      /^labgear: no build queued-1 is running; .* can't cancel queued ones: end the client that waits\n$/,
    );
  });

  test("JOB#NUMBER needs a manager", async () => {
    const { exitCode, stderr } = await labgear(["stop", "slow#1"]);
    assert.deepEqual(
      [exitCode, stderr],
      [2, "labgear: no agent runs here, so slow#1 needs its MANAGER: `labgear stop MANAGER slow#1`\n"],
    );
  });
});
