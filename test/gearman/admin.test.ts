/** The admin protocol against real servers, and at ports that speak something else. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { describe, test } from "node:test";
import { Admin, type AdminOptions } from "#/gearman/client/admin.ts";
import { Client } from "#/gearman/client/client.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import type { GearmanError, GearmanErrorCode } from "#/gearman/wire/errors.ts";
import { eventsOf, startWorker, submitDetached } from "../support/gearman.ts";
import { lacks } from "../support/parts.ts";
import { bounded, startGearmand, startPerlServer, startRawServer } from "../support/servers.ts";

/** Asserts that asking for the status fails with a code and a text. */
async function statusFails(
  address: ServerAddress,
  code: GearmanErrorCode,
  text: RegExp,
  options: AdminOptions = {},
) {
  await using admin = await Admin.connect(address, options);
  await assert.rejects(bounded(admin.status()), (error: GearmanError) => {
    assert.equal(error.code, code, error.message);
    assert.match(error.message, text);
    return true;
  });
}

const refused = (error: GearmanError) => error.code === "REFUSED";

describe("gearmand's admin protocol", { skip: lacks("gearmand") }, () => {
  test("functions, connections, jobs, version", async () => {
    await using server = await startGearmand();
    await using admin = await Admin.connect(server);
    assert.deepEqual(await admin.status(), []);
    await using box = await startWorker([server], ["build:a", "build:b"], { clientId: "box/1" });
    const handle = await submitDetached(server, "build:a");
    await box.jobs.next();
    await submitDetached(server, "wörk");
    const status = (await admin.status()).toSorted((a, b) => a.function.localeCompare(b.function));
    assert.deepEqual(status, [
      { function: "build:a", total: 1, running: 1, workers: 1 },
      { function: "build:b", total: 0, running: 0, workers: 1 },
      { function: "wörk", total: 1, running: 0, workers: 0 },
    ]);
    const worker = (await admin.workers()).find(({ clientId }) => clientId === "box/1");
    assert.equal(worker?.address, "127.0.0.1");
    assert.deepEqual(worker.functions.toSorted(), ["build:a", "build:b"]);
    assert((await admin.showJobs()).some((job) => job.handle === handle));
    assert.deepEqual(await admin.showUniqueJobs(), ["", ""]);
    assert.match(await admin.version(), /^\d+\.\d+/);
  });

  test("a queued job can be cancelled, and its client gets WORK_FAIL", async () => {
    await using server = await startGearmand();
    await using client = await Client.connect(server);
    const submission = await client.submit({ function: "waits", data: "" });
    await using admin = await Admin.connect(server);
    await admin.cancelJob(submission.handle);
    assert.deepEqual(await bounded(eventsOf(submission)), ["fail"]);
    await assert.rejects(admin.cancelJob("H:x:1"), refused);
    await assert.rejects(admin.cancelJob("H:x:1\nshutdown"), TypeError);
  });

  test("a command may be sent before the last one is answered", async () => {
    await using server = await startGearmand();
    await using admin = await Admin.connect(server);
    const [status, version, workers, none] = await Promise.allSettled([
      admin.status(),
      admin.version(),
      admin.workers(),
      admin.cancelJob("H:x:1"),
    ]);
    assert.deepEqual(
      [status.status, version.status, workers.status, none.status],
      ["fulfilled", "fulfilled", "fulfilled", "rejected"],
    );
  });
});

test("the Perl server: what it knows, and what it refuses", { skip: lacks("perlGearmand") }, async () => {
  await using server = await startPerlServer();
  await using _box = await startWorker([server], ["f"], { clientId: "box" });
  await using admin = await Admin.connect(server);
  assert.deepEqual(await admin.status(), [{ function: "f", total: 0, running: 0, workers: 1 }]);
  assert(
    (await admin.workers()).some(({ clientId, functions }) => clientId === "box" && functions[0] === "f"),
  );
  assert.match(await admin.version(), /^v1\./);
  await assert.rejects(admin.showJobs(), refused);
  await assert.rejects(admin.cancelJob("H:x:1"), refused);
});

test("a port that speaks HTTP is recognised", async () => {
  const web = createServer((_request, response) => response.end("hello")).listen(0, "127.0.0.1");
  await once(web, "listening");
  const { port } = web.address() as { port: number };
  await statusFails(
    { host: "127.0.0.1", port },
    "GARBAGE",
    new RegExp(`127.0.0.1:${port}: the peer speaks HTTP: "HTTP/1.1 400`),
  );
  web.close();
  await once(web, "close");
});

test("a port that speaks another protocol: the error shows what it sent", async () => {
  await using ssh = await startRawServer((socket) => socket.write("SSH-2.0-OpenSSH_9.2\r\n"));
  await statusFails(ssh, "GARBAGE", /speaks SSH: "SSH-2\.0-OpenSSH_9\.2/);
  await using tls = await startRawServer((socket) => socket.write(Buffer.from("15030100020228", "hex")));
  await statusFails(tls, "GARBAGE", /speaks TLS \(an alert\)/);
  await using mail = await startRawServer((socket) => socket.write("220 mail.example ESMTP\r\n"));
  await statusFails(mail, "GARBAGE", /"220 mail\.example ESMTP"/);
});

test("no answer, as from geard to an unknown command, is a TIMEOUT", async () => {
  await using silent = await startRawServer(() => {});
  await statusFails(silent, "TIMEOUT", /no answer to "status" within 0\.2 s/, { answerTimeoutMs: 200 });
});

test("an answer that breaks off is CLOSED, one that never ends is TOO_LARGE", async () => {
  await using broken = await startRawServer((socket) =>
    socket.once("data", () => socket.end("f\t1\t0\t1\n")),
  );
  await statusFails(broken, "CLOSED", /closed the connection/);
  const lines = Buffer.from("f\t1\t0\t1\n".repeat(10_000));
  await using endless = await startRawServer((socket) => {
    const push = () => {
      while (socket.writable && socket.write(lines));
    };
    socket.once("data", push).on("drain", push);
  });
  await statusFails(endless, "TOO_LARGE", /over 200000 lines/);
});
