/** How commands find their job servers, and what they say of bad ones: gone, silent, of another kind, hostile. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { describe, test } from "node:test";
import { encode } from "#/gearman/wire/packet.ts";
import { labgear } from "../support/agent.ts";
import { makeCa, makeCertificate } from "../support/certificates.ts";
import { startWorker } from "../support/gearman.ts";
import { lacks } from "../support/parts.ts";
import {
  bounded,
  freePort,
  startGearmand,
  startPerlServer,
  startRawServer,
  startStunnel,
  temporaryFolder,
} from "../support/servers.ts";
import { Running } from "./running.ts";

const noServer = async (args: readonly string[], expected: RegExp) => {
  const { exitCode, stderr } = await labgear(args);
  assert.equal(exitCode, 7, stderr);
  assert.match(stderr, /^labgear: [^\n]+\n$/, "one line");
  assert.match(stderr, expected);
};

describe("7, and a line, when there is no job server", { concurrency: 2 }, () => {
  test("nobody listens, or there is no such host", async () => {
    const port = await freePort();
    for (const command of [["build", "x"], ["functions"], ["stop", "m", "x#1"]]) {
      await noServer([...command, "--server", `127.0.0.1:${port}`], new RegExp(`127.0.0.1:${port}`));
    }
    await noServer(["build", "x", "--server", "no-such-host.invalid"], /no-such-host\.invalid/);
  });

  test("it speaks HTTP", async () => {
    await using http = createServer((_request, response) => response.end("hello"));
    await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
    const { port } = http.address() as { port: number };
    await noServer(["build", "x", "--server", `127.0.0.1:${port}`], new RegExp(`127.0.0.1:${port}`));
  });

  test("it takes the connection and says nothing", async () => {
    await using silent = await startRawServer(() => {});
    await noServer(["build", "x", "--server", `127.0.0.1:${silent.port}`], /no answer to "status"/);
  });

  test("functions shows the servers that answer, and fails for the one that doesn't", {
    skip: lacks("gearmand"),
  }, async () => {
    await using server = await startGearmand();
    await using _box = await startWorker([server], ["build:here"]);
    await using folder = await temporaryFolder();
    const config = join(folder.path, "labgear.yaml");
    const gone = await freePort();
    await writeFile(config, `servers: ["127.0.0.1:${gone}", "127.0.0.1:${server.port}"]\n`);
    const { exitCode, stdout, stderr } = await labgear(["functions", "--config", config]);
    assert.equal(exitCode, 7);
    assert.match(stdout, /^build:here /m);
    assert.match(stderr, new RegExp(`^labgear: [^\\n]*127.0.0.1:${gone}[^\\n]*\\n$`));
    const missing = await labgear(["build", "there", "--config", config]);
    assert.equal(missing.exitCode, 6, "one that answers knows it isn't registered");
    assert.match(missing.stderr, new RegExp(`build:there is not registered.*127.0.0.1:${gone}`));
  });
});

describe("which server", { skip: lacks("gearmand") }, () => {
  test("LABGEAR_SERVER counts; --server and --config count more", async () => {
    await using server = await startGearmand();
    await using _box = await startWorker([server], ["build:here"]);
    await using folder = await temporaryFolder();
    const config = join(folder.path, "labgear.yaml");
    await writeFile(config, `servers: ["127.0.0.1:${server.port}"]\n`);
    const address = `127.0.0.1:${server.port}`;
    const wrong = `127.0.0.1:${await freePort()}`;
    for (const [environment, ...args] of [
      [address],
      [wrong, "--server", address],
      [wrong, "--config", config],
    ]) {
      const env = { LABGEAR_SERVER: environment };
      const { exitCode, stdout, stderr } = await labgear(["functions", ...args], { env });
      assert.equal(exitCode, 0, stderr);
      assert.match(stdout, /^build:here /m);
    }
    assert.equal((await labgear(["functions"], { env: { LABGEAR_SERVER: wrong } })).exitCode, 7);
  });

  test("TLS: by the configuration and by options; a wrong CA is refused", {
    skip: lacks("stunnel", "openssl"),
  }, async () => {
    await using server = await startGearmand();
    await using _box = await startWorker([server], ["build:here"], {
      onJob: async (job) => job.complete('{"result":"SUCCESS"}'),
    });
    await using folder = await temporaryFolder();
    const [ca, other] = [await makeCa(folder.path, "ca"), await makeCa(folder.path, "other")];
    const mine = await makeCertificate(folder.path, "mine", ca, "IP:127.0.0.1");
    await using tls = await startStunnel({ to: server.port, ...mine, clientCa: ca.cert });
    const config = join(folder.path, "labgear.yaml");
    await writeFile(
      config,
      `servers: ["127.0.0.1:${tls.port}"]\ntls: { ca: ca.pem, cert: mine.pem, key: mine.key }\n`,
    );
    assert.equal((await labgear(["build", "here", "--config", config])).exitCode, 0);
    const client = ["--tls-cert", mine.cert, "--tls-key", mine.key];
    const build = ["build", "here", "--server", `127.0.0.1:${tls.port}`, ...client];
    assert.equal((await labgear([...build, "--tls-ca", ca.cert])).exitCode, 0);
    await noServer([...build, "--tls-ca", other.cert], /^labgear: TLS to 127/);
    await noServer([...build, "--tls-ca", mine.key], /^labgear: /);
    await noServer(
      ["functions", "--server", `127.0.0.1:${server.port}`, "--tls-ca", ca.cert],
      /does that port speak TLS/,
    );
  });
});

describe("a line that is lost in the middle of a build", { skip: lacks("gearmand") }, () => {
  /** In front of a job server; its connections can be cut. */
  const startProxy = async (server: { port: number; host: string }) => {
    const sockets = new Set<Socket>();
    const proxy = await startRawServer((socket) => {
      sockets.add(socket);
      socket
        .pipe(connect(server.port, server.host))
        .on("error", () => {})
        .pipe(socket);
    });
    const cut = () => {
      for (const socket of sockets) socket.destroy();
    };
    return { port: proxy.port, cut, [Symbol.asyncDispose]: () => proxy[Symbol.asyncDispose]() };
  };

  test("7 when it doesn't come back", async () => {
    await using server = await startGearmand();
    await using box = await startWorker([server], ["build:here"]);
    await using proxy = await startProxy(server);
    const args = ["build", "here", "--client-timeout", "5s", "--server", `127.0.0.1:${proxy.port}`];
    await using running = Running.start(args);
    const job = await box.jobs.next();
    await running.until("stderr", "is queued as");
    await proxy[Symbol.asyncDispose]();
    assert.equal(await running.ended, 7);
    assert.match(running.stderr, /^\[[^\n]* closed the connection[^\n]*; trying to come back\]$/m);
    assert.match(
      running.stderr,
      /\nlabgear: [^\n]* closed the connection[^\n]*; the build may still be running\n$/,
    );
    job.done();
  });

  test("a queued build, which went with its client, is submitted once more", async () => {
    await using server = await startGearmand();
    await using box = await startWorker([server], ["build:here", "build:before"]);
    await using before = Running.start(["build", "before", "--server", `127.0.0.1:${server.port}`]);
    const first = await box.jobs.next();
    await using proxy = await startProxy(server);
    await using running = Running.start(["build", "here", "--server", `127.0.0.1:${proxy.port}`]);
    await running.until("stderr", "is queued as");
    proxy.cut();
    await running.until("stderr", "the line is back; the build is queued again");
    first.complete('{"result":"SUCCESS"}');
    first.done();
    assert.equal(await before.ended, 0, before.stderr);
    const job = await box.jobs.next();
    job.complete('{"result":"SUCCESS"}');
    job.done();
    assert.equal(await running.ended, 0, running.stderr);
    assert.equal(box.jobs.all.length, 2);
  });
});

describe("the reason of an exception", () => {
  const build = async (server: { port: number }) => {
    const { exitCode, stderr } = await bounded(
      labgear(["build", "here", "--server", `127.0.0.1:${server.port}`]),
    );
    assert.equal(exitCode, 1, stderr);
    assert.match(stderr, /^FAILURE after .*: no such \\u\{1b\}board$/m);
  };
  const onJob = async (job: { exception(text: string): void; fail(): void }) => {
    job.exception("no such \u001bboard");
    job.fail();
  };

  test("of gearmand", { skip: lacks("gearmand") }, async () => {
    await using server = await startGearmand();
    await using _box = await startWorker([server], ["build:here"], { onJob });
    await build(server);
  });

  test("of the Perl server", { skip: lacks("perlGearmand") }, async () => {
    await using server = await startPerlServer();
    await using _box = await startWorker([server], ["build:here"], { onJob });
    await build(server);
  });

  test("of a server that ends the job with it and never answers OPTION_REQ, as geard does", async () => {
    await using geard = await startRawServer((socket) => {
      socket.on("data", (bytes: Buffer) => {
        if (String(bytes).startsWith("status")) socket.write("build:here\t0\t0\t1\n.\n");
        if (!bytes.includes("build:here")) return;
        socket.write(encode("RES", "JOB_CREATED", "H:1"));
        socket.write(encode("RES", "WORK_EXCEPTION", "H:1", "no such \u001bboard"));
      });
    });
    await build(geard);
  });
});

test("a hostile worker can't steer the terminal but by the console", {
  skip: lacks("gearmand"),
}, async () => {
  await using server = await startGearmand();
  const evil = "\u001b[2J\u009b1m\u202e";
  await using _box = await startWorker([server], ["build:here"], {
    onJob: async (job) => {
      const facts = { name: evil, number: evil, manager: evil, node_name: evil, url: `http://x/${evil}\n` };
      job.data("no JSON");
      job.data(JSON.stringify(facts));
      for (const [n, d] of [
        [1e300, 1],
        [-5, 10],
        [1, 0],
        [50, 100],
      ] as const)
        job.status(n, d);
      job.data(JSON.stringify({ output: "text\n", offset: 1e9 }));
      job.data(JSON.stringify({ output: "more\n", offset: "x" }));
      job.data(JSON.stringify({ ...facts, result: evil }));
      job.complete("null");
    },
  });
  const args = ["build", "here", "--server", `127.0.0.1:${server.port}`];
  const { exitCode, stdout, stderr } = await labgear(args);
  assert.deepEqual([exitCode, stdout], [1, "text\nmore\n"]);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the ones that must not be there
  assert.doesNotMatch(stderr, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
  const json = await labgear([...args, "--json"]);
  for (const line of json.stdout.trim().split("\n")) JSON.parse(line);
  await using terminal = Running.onTerminal(args, { columns: 60 });
  assert.equal(await terminal.ended, 1, terminal.stdout);
  assert.ok(!terminal.stdout.includes("\u001b[2J"));
});
