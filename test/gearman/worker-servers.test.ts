/** A worker with several job servers, and with servers that go away and come back. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Client } from "#/gearman/client/client.ts";
import { eventsOf, startWorker, statusOf, submitDetached, told } from "../support/gearman.ts";
import { lacks } from "../support/parts.ts";
import { startRecorder } from "../support/recorder.ts";
import { bounded, freePort, startGearmand, startRawServer } from "../support/servers.ts";

describe("a worker of several servers", { skip: lacks("gearmand") }, () => {
  test("does 40 jobs of two servers in turn, never two at once", async () => {
    await using one = await startGearmand();
    await using two = await startGearmand();
    let running = 0;
    let max = 0;
    const order: string[] = [];
    await using box = await startWorker([one, two], ["f"], {
      onJob: async (job) => {
        running += 1;
        max = Math.max(max, running);
        order.push(job.server);
        await new Promise((resolve) => setImmediate(resolve));
        running -= 1;
        job.complete(job.argument);
      },
    });
    await Promise.all([told(box, "up", one.port), told(box, "up", two.port)]);
    box.worker.pause();
    await bounded(box.worker.settled());
    await using clients = new AsyncDisposableStack();
    const submitted = [one, two].map(async (server) => {
      const client = clients.use(await Client.connect(server));
      return Promise.all(
        Array.from({ length: 20 }, (_, i) => client.submit({ function: "f", data: `${i}` })),
      );
    });
    const submissions = (await Promise.all(submitted)).flat();
    box.worker.resume();
    const ends = await bounded(Promise.all(submissions.map(eventsOf)));
    const expected = Array.from({ length: 20 }, (_, i) => [`complete ${i}`]);
    assert.deepEqual(ends, [...expected, ...expected]);
    assert.equal(max, 1);
    const switches = order.filter((server, i) => i > 0 && server !== order[i - 1]).length;
    assert(switches >= 30, `the servers take turns: ${switches} changes in ${order.length} jobs`);
  });

  test("asks one server at a time", async () => {
    await using gearmand = await startGearmand();
    await using one = await startRecorder(gearmand);
    await using two = await startRecorder(gearmand);
    await using box = await startWorker([one, two], ["g"], { onJob: async (job) => job.complete() });
    await Promise.all([told(box, "up", one.port), told(box, "up", two.port)]);
    await using client = await Client.connect(gearmand);
    const submissions = await Promise.all(
      Array.from({ length: 30 }, () => client.submit({ function: "g", data: "" })),
    );
    await bounded(Promise.all(submissions.map(eventsOf)));
    assert.equal(box.events.all.filter((event) => event.type === "warning").length, 0);
    const assigned = [one, two].flatMap(({ lines }) => lines.filter((line) => / JOB_ASSIGN/.test(line)));
    assert.equal(new Set(assigned).size, 30, "each job was given once");
  });

  test("a server that accepts and never answers doesn't block the others", async () => {
    await using hung = await startRawServer(() => {});
    await using gearmand = await startGearmand();
    await using box = await startWorker([hung, gearmand], ["f"], { answerTimeoutMs: 300 });
    await submitDetached(gearmand, "f");
    const job = await box.jobs.next();
    job.complete();
    job.done();
    await told(box, "down", hung.port);
    const link = box.worker.links.find(({ server }) => server.endsWith(`:${hung.port}`));
    assert.match(link?.lastError?.message ?? "", /no answer to the registration within 0\.3 s/);
    assert.equal(link?.lastError?.code, "TIMEOUT");
  });

  test("servers are added and removed while it runs; one whose job is held stays until the end", async () => {
    await using one = await startGearmand();
    await using two = await startGearmand();
    await using box = await startWorker([one], ["f"]);
    await using client = await Client.connect(one);
    const submission = await client.submit({ function: "f", data: "" });
    const job = await box.jobs.next();
    box.worker.setServers([two]);
    await told(box, "up", two.port);
    assert.equal(await statusOf(two, "f"), "0 0 1");
    assert.equal(await statusOf(one, "f"), "1 1 1");
    job.complete("here");
    job.done();
    assert.deepEqual(await eventsOf(submission), ["complete here"]);
    assert.equal(await bounded(job.delivered), true, "it isn't closed before that is known");
    assert.deepEqual(
      box.worker.links.map(({ server }) => server),
      [`127.0.0.1:${two.port}`],
    );
    box.worker.setServers([]);
    await bounded(box.worker.settled());
    assert.deepEqual(box.worker.links, []);
  });

  test("a server that isn't up yet is retried until it is", async () => {
    const port = await freePort();
    const address = { host: "127.0.0.1", port };
    const { promise: waited, resolve } = Promise.withResolvers<void>();
    const registered = startWorker([address], ["f"], { random: () => 0.1, onEvent: () => resolve() });
    await waited;
    await using _gearmand = await startGearmand({ port });
    await using box = await registered;
    const [link] = box.worker.links;
    assert.match(link?.status ?? "", /^1 function registered/);
  });

  test("a server is killed and restarted: the functions are registered again", async () => {
    const first = await startGearmand();
    const { port } = first;
    await using box = await startWorker([first], ["f"]);
    await first[Symbol.asyncDispose]();
    await told(box, "down", port);
    assert.match(box.worker.links[0]?.lastError?.message ?? "", new RegExp(`127.0.0.1:${port} `));
    await using again = await startGearmand({ port });
    await told(box, "up", port, 2);
    assert.equal(await statusOf(again, "f"), "0 0 1");
    await submitDetached(again, "f");
    const job = await box.jobs.next();
    job.complete();
    job.done();
  });

  test("a connection lost with a job: the job's signal aborts, and it is handed out again beside its onJob", async () => {
    await using gearmand = await startGearmand();
    await using recorder = await startRecorder(gearmand);
    await using box = await startWorker([recorder], ["f"]);
    const handle = await submitDetached(gearmand, "f");
    const job = await box.jobs.next();
    recorder.cut();
    await told(box, "up", recorder.port, 2);
    assert.equal(job.lost.aborted, true);
    assert.equal(job.lost.reason.code, "CLOSED");
    assert.equal(await job.delivered, false);
    const again = await box.jobs.next();
    assert.equal(again.handle, handle);
    job.data("late");
    job.complete("late");
    again.complete();
    again.done();
    assert.equal(await again.delivered, true);
    assert.equal(box.worker.idle, false, "the first onJob is still under way");
    job.done();
    await bounded(box.worker.settled());
    const said = recorder.packets.filter(({ packet }) => packet.type.startsWith("WORK_"));
    assert.deepEqual(
      said.map(({ connection, packet }) => [connection, packet.type]),
      [[2, "WORK_COMPLETE"]],
    );
  });

  test("`delivered` is true when the server has the ending, also while paused, and false when the connection goes", async () => {
    await using gearmand = await startGearmand();
    await using box = await startWorker([gearmand], ["f"]);
    await submitDetached(gearmand, "f");
    const job = await box.jobs.next();
    box.worker.pause();
    job.complete();
    job.done();
    assert.equal(await bounded(job.delivered), true);
    box.worker.resume();
    await submitDetached(gearmand, "f");
    const unheard = await box.jobs.next();
    gearmand.signal("SIGSTOP");
    unheard.complete();
    unheard.done();
    gearmand.signal("SIGKILL");
    assert.equal(await bounded(unheard.delivered), false);
  });
});
