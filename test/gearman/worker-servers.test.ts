/** A worker with several job servers, and with servers that hang, go away, come back, or are odd. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Client } from "#/gearman/client.ts";
import { encode } from "#/gearman/packet.ts";
import { PacketParser } from "#/gearman/parser.ts";
import { eventsOf, startWorker, statusOf, submitDetached, type TestWorker } from "../support/gearman.ts";
import { lacks } from "../support/parts.ts";
import { startRecorder } from "../support/recorder.ts";
import { bounded, freePort, startGearmand, startPerlServer, startRawServer } from "../support/servers.ts";

/** Resolves when the worker has told that a server came, or went, that often in all. */
const told = (box: TestWorker, type: "up" | "down", port: number, times = 1) =>
  box.events.until((all) => {
    return all.filter((event) => event.type === type && event.server === `127.0.0.1:${port}`).length >= times;
  });

/** A server that answers a registration as real ones do, and everything else as the test says. */
const startScriptedServer = (answer: (type: string, send: (bytes: Buffer) => void) => void) =>
  startRawServer((socket) => {
    const parser = new PacketParser({ magic: "REQ" });
    socket.on("data", (chunk: Buffer) => {
      for (const item of parser.push(chunk)) {
        if ("line" in item) continue;
        if (item.type === "GET_STATUS")
          socket.write(encode("RES", "STATUS_RES", "H:none:0", "0", "0", "0", "0"));
        else answer(item.type, (bytes) => void socket.write(bytes));
      }
    });
  });

describe("a worker of several servers", { skip: lacks("gearmand") }, () => {
  test("does 40 jobs of two servers, in turn, and never two at once", async () => {
    await using one = await startGearmand();
    await using two = await startGearmand();
    let running = 0;
    let most = 0;
    const order: string[] = [];
    await using box = await startWorker([one, two], ["f"], {
      onJob: async (job) => {
        running += 1;
        most = Math.max(most, running);
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
    assert.equal(most, 1);
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
    assert.equal(box.events.all.filter((event) => event.type === "oddity").length, 0);
    const assigned = [one, two].flatMap(({ lines }) => lines.filter((line) => / JOB_ASSIGN/.test(line)));
    assert.equal(new Set(assigned).size, 30, "each job was given once");
  });

  test("a server that accepts and never answers doesn't hold up the others", async () => {
    await using hung = await startRawServer(() => {});
    await using gearmand = await startGearmand();
    await using box = await startWorker([hung, gearmand], ["f"], { answerTimeout: 300 });
    await submitDetached(gearmand, "f");
    const job = await box.jobs.next();
    job.complete();
    job.done();
    await told(box, "down", hung.port);
    const link = box.worker.links.find(({ server }) => server.endsWith(`:${hung.port}`));
    assert.match(link?.lastError?.message ?? "", /no answer to the registration within 0\.3 s/);
    assert.equal(link?.lastError?.code, "TIMEOUT");
  });

  test("a server that hangs when it is asked for a job loses its connection, and the slot goes on", async () => {
    await using hung = await startScriptedServer(() => {});
    await using gearmand = await startGearmand();
    await using box = await startWorker([hung], ["f"], { answerTimeout: 300 });
    await submitDetached(gearmand, "f");
    box.worker.setServers([hung, gearmand]);
    const job = await box.jobs.next();
    assert.equal(job.server, `127.0.0.1:${gearmand.port}`);
    const down = box.events.all.find((event) => event.type === "down");
    assert.match(
      down?.type === "down" ? down.error.message : "",
      /no answer to a request for a job within 0\.3 s/,
    );
    job.complete();
    job.done();
  });

  test("servers are added and taken away while it runs; one that gave the job in hand stays until the end", async () => {
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
    assert.deepEqual(
      box.worker.links.map(({ server }) => server),
      [`127.0.0.1:${two.port}`],
    );
    box.worker.setServers([]);
    await bounded(box.worker.settled());
    assert.deepEqual(box.worker.links, []);
  });

  test("a server that isn't there yet is tried until it is", async () => {
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

  test("a server that is killed while idle: the functions are there again as soon as it is", async () => {
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

  test("a connection lost with a job: the job knows, the functions come back, no job is asked for until it is over", async () => {
    await using gearmand = await startGearmand();
    await using recorder = await startRecorder(gearmand);
    await using box = await startWorker([recorder], ["f"]);
    const handle = await submitDetached(gearmand, "f");
    const job = await box.jobs.next();
    recorder.cut();
    await told(box, "up", recorder.port, 2);
    assert.equal(job.lost.aborted, true);
    assert.equal(job.lost.reason.code, "CLOSED");
    assert.equal(await statusOf(gearmand, "f"), "1 0 1", "requeued, registered, not taken");
    job.data("late");
    job.complete("late");
    assert.equal(box.worker.idle, false);
    job.done();
    const again = await box.jobs.next();
    assert.equal(again.handle, handle);
    again.complete();
    again.done();
    await recorder.until((lines) => lines.includes(`worker WORK_COMPLETE ${handle} `));
    const said = recorder.packets.filter(({ packet }) => packet.type.startsWith("WORK_"));
    assert.deepEqual(
      said.map(({ connection, packet }) => [connection, packet.type]),
      [[2, "WORK_COMPLETE"]],
    );
  });
});

describe("a worker of the Perl server", { skip: lacks("perlGearmand") }, () => {
  test("falls back to GRAB_JOB, and bears the ERROR that WORK_DATA brings", async () => {
    await using server = await startPerlServer();
    await using box = await startWorker([server], ["f"]);
    await using client = await Client.connect(server);
    for (const round of ["one", "two"]) {
      const submission = await client.submit({ function: "f", unique: "u", data: round });
      const job = await box.jobs.next();
      assert.deepEqual([job.handle, job.unique, String(job.argument)], [submission.handle, "", round]);
      job.data("lost on this server");
      job.status(1, 2);
      job.complete(round);
      job.done();
      assert.deepEqual(await eventsOf(submission), ["status 1/2", `complete ${round}`]);
    }
    await box.events.until((all) =>
      all.some((event) => event.type === "oddity" && /CMD_work_data/.test(event.text)),
    );
  });
});

describe("a worker of odd servers", () => {
  test("a job that nobody asked for ends the connection with a reason", async () => {
    await using pushy = await startScriptedServer((type, send) => {
      if (type === "GRAB_JOB_UNIQ") send(encode("RES", "NO_JOB"));
      if (type === "PRE_SLEEP") send(encode("RES", "JOB_ASSIGN", "H:x:1", "f", ""));
    });
    await using box = await startWorker([pushy], ["f"]);
    await told(box, "down", pushy.port);
    assert.match(box.worker.links[0]?.lastError?.message ?? "", /gave a job that nobody asked for/);
    assert.equal(box.jobs.all.length, 0);
  });

  test("packets that no state expects are told and borne", async () => {
    await using chatty = await startScriptedServer((type, send) => {
      if (type !== "PRE_SLEEP") return send(encode("RES", "NO_JOB"));
      send(
        Buffer.concat([
          encode("RES", "NO_JOB"),
          encode("RES", "ECHO_RES", "x"),
          encode("RES", "ERROR", "E", "a\nb"),
        ]),
      );
    });
    await using box = await startWorker([chatty], ["f"]);
    await box.events.until((all) =>
      all.some((event) => event.type === "oddity" && event.text.endsWith("ERROR: E a\\nb")),
    );
    assert.equal(box.worker.links[0]?.state, "asleep");
  });

  test("a peer that speaks something else is given up with what it said", async () => {
    await using http = await startRawServer((socket) => socket.write("HTTP/1.1 400 Bad Request\r\n\r\n"));
    await using good = await startScriptedServer(() => {});
    await using box = await startWorker([http, good], ["f"]);
    await told(box, "down", http.port);
    const link = box.worker.links.find(({ server }) => server.endsWith(`:${http.port}`));
    assert.match(link?.lastError?.message ?? "", /the peer speaks HTTP: "HTTP\/1\.1 400/);
  });
});
