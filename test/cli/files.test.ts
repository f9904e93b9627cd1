/** Files in and results out on the command line: lost lines, digests, names that lead elsewhere, a client that is gone. */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import {
  appendFile,
  mkdir,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  truncate,
  writeFile,
} from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { execa } from "execa";
import { ExchangeError } from "#/exchange/errors.ts";
import { formatFetched, parseFetch } from "#/exchange/fetch.ts";
import { parsePublicKey, verifySignature } from "#/exchange/key.ts";
import { errorAnswer } from "#/exchange/message.ts";
import { formatReceived, parsePiece } from "#/exchange/send.ts";
import type { Job } from "#/gearman/worker/worker.ts";
import { labgear, TestAgent } from "../support/agent.ts";
import { becomes, startNetworkBoard } from "../support/boards.ts";
import { startWorker } from "../support/gearman.ts";
import { lacks } from "../support/parts.ts";
import { seeded } from "../support/random.ts";
import { type RunningServer, startGearmand, startRawServer, temporaryFolder } from "../support/servers.ts";
import { Running } from "./running.ts";

const skip = lacks("gearmand");

const yaml = `
name: box7
host: { classes: [lab1], executors: 2 }
builds: { min-free: 1MiB }
inputs: { timeout: 1m }
jobs:
  copy:
    inputs: { app: { max: 64MiB } }
    run: 'mkdir sub; cp "$LABGEAR_INPUT_APP" sub/copy.bin; echo text > note.txt; echo copied'
    artifacts: ["**/*.bin", "*.txt"]
  gate: { run: "echo begun; read line < ../../../gate; echo on; exit 7" }
  reported:
    run: 'echo "<testsuite><testcase name="a"/></testsuite>" > report.xml'
    junit: [report.xml]
  wait: { run: "echo waiting; exec sleep 300", grace: 1s }
`;

/** In front of a job server: cuts all connections after so many bytes both ways, once for each number. */
async function startCuttingProxy(port: number, cuts: number[] = []) {
  let to = port;
  const sockets = new Set<Socket>();
  let passed = 0;
  const cut = () => {
    for (const socket of sockets) socket.destroy();
    sockets.clear();
  };
  const proxy = await startRawServer((socket) => {
    const back = connect(to, "127.0.0.1").on("error", () => {});
    sockets.add(socket).add(back);
    for (const side of [socket, back])
      side.on("data", (bytes: Buffer) => {
        passed += bytes.length;
        if (cuts[0] === undefined || passed < cuts[0]) return;
        cuts.shift();
        cut();
      });
    socket
      .on("close", () => back.destroy())
      .pipe(back)
      .on("close", () => socket.destroy())
      .pipe(socket);
  });
  return {
    port: proxy.port,
    cut,
    /** From now on it is in front of another server. */
    move(port: number) {
      to = port;
      cut();
    },
    [Symbol.asyncDispose]: () => proxy[Symbol.asyncDispose](),
  };
}

describe("files in, results out", { skip }, () => {
  let server: RunningServer;
  let agent: TestAgent;
  before(async () => {
    server = await startGearmand();
    agent = await TestAgent.start({ yaml, ports: [server.port] });
    await agent.logged((line) => line.msg.startsWith("registered") && "exchange" in line);
  });
  after(async () => {
    await agent?.[Symbol.asyncDispose]();
    await server?.[Symbol.asyncDispose]();
  });
  const address = () => ["--server", `127.0.0.1:${server.port}`];

  test("a line that is cut at 20 places while files go in and out: they go on where they were", async () => {
    await using folder = await temporaryFolder();
    const bytes = randomBytes(12 * 1024 * 1024);
    const file = join(folder.path, "app.bin");
    await writeFile(file, bytes);
    const random = seeded(20);
    // Only what follows the submission goes on after a cut.
    const place = () => 1e5 + random(2 * bytes.length - 1e5);
    const cuts = Array.from({ length: 20 }, place).sort((a, b) => a - b);
    await using proxy = await startCuttingProxy(server.port, cuts);
    const out = join(folder.path, "out");
    const args = [
      "build",
      "copy",
      "--file",
      `app=${file}`,
      "--fetch",
      out,
      "--server",
      `127.0.0.1:${proxy.port}`,
    ];
    const { exitCode, stderr, stdout } = await labgear(args, { timeoutMs: 120_000 });
    assert.equal(exitCode, 0, stderr);
    assert.deepEqual(cuts, []);
    assert.match(stderr, /trying to come back\]$/m);
    assert.match(stdout, /^\[labgear\] input app: 12MiB received, [^\n]*\ncopied\n$/);
    assert.ok((await readFile(join(out, "artifacts/sub/copy.bin"))).equals(bytes));
    assert.equal(
      (await readdir(join(agent.stateDir, "builds", "copy"))).filter((name) => /^\d+$/.test(name)).length,
      1,
    );
    assert.deepEqual((await readdir(out)).sort(), ["artifacts", "build.json", "console.log"]);
  });

  test("results that can't be written here are 5, and the build's ending is still the last line", async () => {
    await using folder = await temporaryFolder();
    const [file, out] = [join(folder.path, "file"), join(folder.path, "out")];
    await writeFile(file, "image");
    await mkdir(out);
    for (const [where, why] of [
      [["--fetch", join(file, "below")], /^\[its results can't be fetched: ENOTDIR: .*\]$/m],
      [["--fetch", file], /^\[its results can't be fetched: E[A-Z]+: .*\]$/m],
      [["--junit", out], /^\[its results can't be fetched: "out" can't be written: .*out is a folder\]$/m],
    ] as const) {
      const args = ["build", "reported", ...where, ...address()];
      const { exitCode, stderr } = await labgear(args);
      assert.equal(exitCode, 5, stderr);
      assert.match(stderr, why);
      assert.match(stderr, /\nSUCCESS after [^\n]*\n$/);
    }
    assert.deepEqual(await readdir(folder.path), ["file", "out"]);
  });

  test("--quiet says nothing of results that were fetched", async () => {
    await using folder = await temporaryFolder();
    const out = join(folder.path, "out");
    const { exitCode, stderr } = await labgear([
      "build",
      "reported",
      "--fetch",
      out,
      "--quiet",
      ...address(),
    ]);
    assert.deepEqual([exitCode, stderr], [0, ""]);
    assert.deepEqual((await readdir(out)).sort(), ["build.json", "console.log", "junit.xml"]);
  });

  test("labgear fetch: later, by number or uuid, by pattern, resumed, and never over a wrong digest", async () => {
    await using folder = await temporaryFolder();
    const out = join(folder.path, "out");
    const fetch = (...args: string[]) =>
      labgear(["fetch", "box7", "copy#1", ...args, "--to", out, ...address()]);
    const whole = await readFile(join(agent.stateDir, "builds/copy/1/artifacts/sub/copy.bin"));
    await mkdir(join(out, "artifacts/sub"), { recursive: true });
    // What an earlier attempt has left: of this file, and of another one.
    const partial = join(out, "artifacts/sub/copy.bin.part");
    for (const left of [whole.subarray(0, 5_000_000), randomBytes(5_000_000)]) {
      await writeFile(partial, left);
      const { exitCode, stderr, stdout } = await fetch("sub/**");
      assert.equal(exitCode, 0, stderr);
      assert.match(stdout, /^1 file in .*, 12MiB, digests checked\n$/);
      assert.ok((await readFile(join(out, "artifacts/sub/copy.bin"))).equals(whole));
    }
    const { uuid } = await agent.record("copy", 1);
    const again = await labgear(["fetch", "box7", `${uuid}`, "console", "--to", out, ...address()]);
    assert.equal(again.exitCode, 0, again.stderr);
    assert.match(await readFile(join(out, "console.log"), "utf8"), /^copied$/m);
    const none = await fetch("*.none");
    assert.deepEqual(
      [none.exitCode, none.stderr],
      [1, "labgear: copy#1 of box7: it has nothing like *.none; its artifacts are note.txt, sub/copy.bin\n"],
    );
    const unknown = await labgear(["fetch", "box7", "copy#99", "--to", out, ...address()]);
    assert.equal(unknown.exitCode, 1);
    assert.match(unknown.stderr, /^labgear: copy#99 of box7: [^\n]+ no such build\n$/);
    const nameless = await labgear(["fetch", "box7", "copy", "--to", out, ...address()]);
    assert.match(nameless.stderr, /no such build; expected JOB#NUMBER or a uuid\n$/);
  });

  test("a line that is lost in the middle of a build: its agent is asked, and it isn't started anew", async () => {
    const gate = join(agent.stateDir, "gate");
    await execa("mkfifo", [gate]);
    await using proxy = await startCuttingProxy(server.port);
    await using running = Running.start(["build", "gate", "--server", `127.0.0.1:${proxy.port}`]);
    await running.until("stdout", "begun\n");
    proxy.cut();
    await running.until("stderr", "the line is back, and the build is there");
    await writeFile(gate, "go\n");
    assert.equal(await running.ended, 1, running.stderr);
    assert.equal(running.stdout, "begun\non\n[labgear] the job ended with exit code 7\n");
    assert.match(
      running.stderr,
      /^FAILURE after .*: the job ended with exit code 7 \(failed\); gate#1 on box7: /m,
    );
    await assert.rejects(stat(join(agent.stateDir, "builds/gate/2")), { code: "ENOENT" });
  });

  test("a client that is killed while its build runs: ABORTED, client-gone", async () => {
    await using running = Running.start(["build", "wait", "--client-timeout", "5s", ...address()]);
    await running.until("stdout", "waiting\n");
    running.child.kill("SIGKILL");
    await agent.logged(
      (line) => line.msg.includes("ended") && line.job === "wait" && line.result === "ABORTED",
    );
    const record = (await agent.record("wait", 1)) as { result: string; ending: { cause: string } };
    assert.deepEqual([record.result, record.ending.cause], ["ABORTED", "client-gone"]);
  });
});

test("files that change while their builds are queued: each build ends at once, with one clear line", {
  skip,
}, async () => {
  await using server = await startGearmand();
  await using folder = await temporaryFolder();
  await using agent = await TestAgent.start({ yaml: yaml.replace("1m", "1h"), ports: [server.port] });
  assert.equal((await agent.command("pause")).exitCode, 0);
  const changes: [string, (file: string) => Promise<void>, string][] = [
    [
      "longer",
      (file) => appendFile(file, "more"),
      "the client's file for the input app has 9 bytes now, and it announced 5",
    ],
    [
      "shorter",
      (file) => truncate(file, 2),
      "the client can send only 2 of the 5 bytes that it announced for the input app",
    ],
    [
      "gone",
      (file) => rm(file),
      "the client can send only 0 of the 5 bytes that it announced for the input app",
    ],
    ["other", (file) => writeFile(file, "12345"), "the input app doesn't have the announced SHA-256"],
  ];
  await using running = new AsyncDisposableStack();
  const builds = [];
  for (const [name] of changes) {
    const file = join(folder.path, name);
    await writeFile(file, "image");
    const args = ["build", "copy", "--file", `app=${file}`, "--server", `127.0.0.1:${server.port}`];
    const build = running.use(Running.start(args));
    await build.until("stderr", "is queued as");
    builds.push(build);
  }
  for (const [name, change] of changes) await change(join(folder.path, name));
  assert.equal((await agent.command("resume")).exitCode, 0);
  for (const [index, [name, , reason]] of changes.entries()) {
    const build = builds[index] as Running;
    assert.equal(await build.ended, 1, `${name}: ${build.stderr}`);
    const [last = ""] = build.stderr.match(/^FAILURE after .* \(input\); copy#\d+ on box7: .*$/m) ?? [];
    assert.ok(last.includes(reason), build.stderr);
  }
  assert.match((builds[2] as Running).stderr, /^\[a file can't be sent: ENOENT: .*\]$/m);
});

test("a job server that is replaced: the agent that has the build is found, and gets its file", {
  skip,
}, async () => {
  await using folder = await temporaryFolder();
  await using proxy = await startCuttingProxy(0);
  const file = join(folder.path, "app.bin");
  await writeFile(file, "image");
  await using first = await startGearmand();
  proxy.move(first.port);
  await using mute = await startWorker([first], ["build:here"]);
  const args = ["build", "here", "--file", `app=${file}`, "--client-timeout", "60s"];
  await using running = Running.start([...args, "--server", `127.0.0.1:${proxy.port}`]);
  const { unique } = await mute.jobs.next();
  // Its first data never comes. The other server knows nothing of it, but its agent is there.
  await using second = await startGearmand();
  const received: string[] = [];
  const record = { job: "here", number: 7, node: "box7", url: "http://box7/7" };
  const answers: Record<string, (bytes: Buffer) => Buffer> = {
    "send:box7": (bytes) => {
      const piece = parsePiece(bytes);
      if (piece.name !== undefined) received.push(`${piece.name} ${piece.offset} ${piece.bytes}`);
      return formatReceived(piece.bytes.length);
    },
    "fetch:box7": (bytes) => {
      const { build, path, offset, length } = parseFetch(bytes);
      assert.deepEqual(build, { uuid: unique });
      const hasEnded = received.length > 0;
      const ended = { ended: "now", result: "FAILURE", ending: { kind: "failed", reason: "the job failed" } };
      const text = path === "record" ? JSON.stringify({ ...record, ...(hasEnded && ended) }) : "output\n";
      const part = Buffer.from(text).subarray(offset, offset + length);
      const end = hasEnded && offset + part.length === text.length;
      return formatFetched({ size: text.length, offset, end, bytes: part });
    },
  };
  await using _box = await startWorker([second], Object.keys(answers), {
    onJob: async (job) => job.complete(answers[job.function]?.(job.argument) ?? ""),
  });
  proxy.move(second.port);
  assert.equal(await running.ended, 1, running.stderr);
  assert.deepEqual(received, ["app 0 image"]);
  assert.equal(running.stdout, "output\n");
  assert.match(running.stderr, /^here#7 runs on box7: http:\/\/box7\/7$/m);
  assert.match(
    running.stderr,
    /^FAILURE after .*: the job failed \(failed\); here#7 on box7: http:\/\/box7\/7\n$/m,
  );
});

test("a file that is gone when its build asks for it: the client says so, and follows the build", {
  skip,
}, async () => {
  await using server = await startGearmand();
  await using folder = await temporaryFolder();
  await using box = await startWorker([server], ["build:here"]);
  const file = join(folder.path, "app.bin");
  await writeFile(file, "image");
  const args = ["build", "here", "--file", `app=${file}`, "--server", `127.0.0.1:${server.port}`];
  await using running = Running.start([...args, "--client-timeout", "0"]);
  const job = await box.jobs.next();
  await rm(file);
  const facts = { name: "here", number: 1, manager: "box7", node_name: "box7", url: "http://box7" };
  job.data(JSON.stringify({ ...facts, wants: [{ name: "app", offset: 0 }], time: Date.now() }));
  await running.until("stderr", /^\[a file can't be sent: ENOENT: .*\]$/m);
  job.complete('{"result":"FAILURE","reason":"the input app didn\'t arrive","cause":"input"}');
  job.done();
  assert.equal(await running.ended, 1);
  assert.match(running.stderr, /^FAILURE after .*: the input app didn't arrive \(input\); here#1 [^\n]*\n$/m);
});

test("signs of life, signed by the build's key and by the agent's clock", { skip }, async () => {
  await using server = await startGearmand();
  await using box = await startWorker([server], ["build:here"]);
  await using manager = await startWorker([server], ["send:box7"]);
  const args = ["build", "here", "--client-timeout", "5s", "--server", `127.0.0.1:${server.port}`];
  await using running = Running.start(args);
  const job = await box.jobs.next();
  const { LABGEAR_KEY: key, LABGEAR_CLIENT_TIMEOUT: timeout } = JSON.parse(`${job.argument}`);
  assert.equal(timeout, "5");
  // A box whose clock is a year behind.
  const time = Date.now() - 365 * 86_400_000;
  const facts = { name: "here", number: 1, manager: "box7", node_name: "box7", url: "http://box7" };
  job.data(JSON.stringify(facts));
  const answer = async () => {
    const call = await manager.jobs.next();
    const { uuid, signed, signature } = parsePiece(Buffer.from(call.argument));
    assert.equal(uuid, job.unique);
    try {
      verifySignature(signed, signature, parsePublicKey(key), time);
      call.complete(formatReceived(0));
    } catch (error) {
      call.complete(errorAnswer(error as ExchangeError));
      return (error as ExchangeError).code;
    } finally {
      call.done();
    }
  };
  assert.equal(await answer(), "clock");
  for (const _ of [1, 2, 3]) assert.equal(await answer(), undefined);
  job.complete('{"result":"SUCCESS"}');
  job.done();
  assert.equal(await running.ended, 0, running.stderr);
});

test("nothing is written outside the folder, whatever an agent says", { skip }, async () => {
  await using server = await startGearmand();
  await using folder = await temporaryFolder();
  const out = join(folder.path, "out");
  const outside = join(folder.path, "outside");
  await mkdir(join(out, "artifacts"), { recursive: true });
  await mkdir(outside);
  await symlink(outside, join(out, "artifacts/link"));
  await symlink(join(outside, "victim"), join(out, "artifacts/final"));
  await symlink(join(outside, "victim"), join(out, "artifacts/part.part"));
  const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");
  let names: string[] = [];
  let digest = sha256("evil");
  const onJob = async (job: Job) => {
    const { path } = parseFetch(job.argument);
    const list = {
      artifacts: names.map((name) => ({ path: name, size: 4, sha256: digest, type: "text/plain" })),
    };
    const bytes = path === "artifacts" ? Buffer.from(JSON.stringify(list)) : Buffer.from("evil");
    const { offset, length } = parseFetch(job.argument);
    const missing = errorAnswer(new ExchangeError("not-found", "there is no such thing"));
    const part = bytes.subarray(offset, offset + length);
    const answer = {
      size: bytes.length,
      offset,
      end: offset + part.length === bytes.length,
      sha256: sha256(`${bytes}`),
      bytes: part,
    };
    job.complete(path.startsWith("artifacts") ? formatFetched(answer) : missing);
  };
  await using _evil = await startWorker([server], ["fetch:evil"], { onJob });
  const fetch = () =>
    labgear(["fetch", "evil", "job#1", "--to", out, "--server", `127.0.0.1:${server.port}`]);
  for (const name of ["../up", "a/../../up", "/etc/labgear-evil", "a//b", ".", "a/.", ""]) {
    names = [name];
    const { exitCode, stderr } = await fetch();
    assert.equal(exitCode, 1, name);
    assert.match(stderr, /^labgear: job#1 of evil: .*bad path\n$/, name);
  }
  names = ["link/file", "part", "final", "fine", "fine/below"];
  const { exitCode, stderr, stdout } = await fetch();
  assert.equal(exitCode, 1);
  assert.match(stdout, /^2 files in /);
  assert.match(stderr, /^labgear: "artifacts\/link\/file" .*link is no folder$/m);
  assert.match(stderr, /^labgear: "artifacts\/part" .*part\.part is in its way: remove it$/m);
  assert.match(stderr, /^labgear: "artifacts\/fine\/below" .*fine is no folder$/m);
  assert.deepEqual(await readdir(outside), []);
  assert.deepEqual((await readdir(out)).sort(), ["artifacts"]);
  assert.equal(
    await readFile(join(out, "artifacts/final"), "utf8"),
    "evil",
    "the link is replaced, not followed",
  );
  names = ["wrong"];
  digest = sha256("good");
  const wrong = await fetch();
  assert.equal(wrong.exitCode, 1);
  assert.match(wrong.stderr, /artifacts\/wrong of the build isn't what its digest says\n$/);
  assert.ok(!(await readdir(join(out, "artifacts"))).some((name) => name.startsWith("wrong")));
});

test("labgear fetch of a build that runs: its console up to what it was at that moment", {
  skip,
}, async () => {
  await using server = await startGearmand();
  await using folder = await temporaryFolder();
  const written = randomBytes(3000).toString("hex");
  let size = 1000;
  const onJob = async (job: Job) => {
    const { path, offset, length } = parseFetch(job.argument);
    if (path === "artifacts") {
      const bytes = Buffer.from('{"artifacts":[]}');
      return job.complete(formatFetched({ size: bytes.length, offset: 0, end: true, bytes }));
    }
    if (path !== "console")
      return job.complete(errorAnswer(new ExchangeError("not-found", "there is no such thing")));
    const bytes = Buffer.from(written.slice(offset, Math.min(size, offset + length)));
    job.complete(formatFetched({ size, offset, end: false, bytes }));
    // It goes on writing.
    size += 1000;
  };
  await using _box = await startWorker([server], ["fetch:busy"], { onJob });
  const args = ["fetch", "busy", "job#1", "--to", folder.path, "--server", `127.0.0.1:${server.port}`];
  // What another build has left can't be told from its beginning, since it has no digest yet.
  await writeFile(join(folder.path, "console.log.part"), "another build's");
  const { exitCode, stderr, stdout } = await labgear(args);
  assert.equal(exitCode, 0, stderr);
  assert.match(
    stdout,
    /^1 file in .*, as of now: the build runs, so there is no digest yet for any of them\n$/,
  );
  assert.equal(await readFile(join(folder.path, "console.log"), "utf8"), written.slice(0, 1000));
});

test("results that aren't public: with the build's key, or where the box says so", { skip }, async () => {
  await using server = await startGearmand();
  await using folder = await temporaryFolder();
  await writeFile(join(folder.path, "password"), "secret\n");
  const closed = `
name: box7
http: { listen: "127.0.0.1:0", auth: { user: lab, password-file: ${join(folder.path, "password")} } }
jobs: { quick: { run: "echo done", artifacts: ["*"] } }
`;
  await using agent = await TestAgent.start({ yaml: closed, ports: [server.port] });
  await agent.logged((line) => line.msg.startsWith("registered") && "exchange" in line);
  const address = ["--server", `127.0.0.1:${server.port}`];
  const [key, out] = [join(folder.path, "key"), join(folder.path, "out")];
  const fetch = (build: string, ...more: string[]) =>
    labgear(["fetch", "box7", build, "--to", out, ...more, ...address]);
  // As in CI, two builds at once make the key, and one of the detached ones uses it, too.
  const made = await Promise.all(
    ["--quiet", "--json"].map((how) => labgear(["build", "quick", how, "--key", key, ...address])),
  );
  for (const { exitCode, stderr } of made) assert.equal(exitCode, 0, stderr);
  assert.equal((await stat(key)).mode & 0o777, 0o600);
  assert.deepEqual((await readdir(folder.path)).sort(), ["key", "password"]);
  const later = await labgear(["build", "quick", "--detach", "--key", key, ...address]);
  assert.equal(later.exitCode, 0, later.stderr);
  await agent.logged((line) => line.msg.includes("ended") && line.number === 3);
  for (const number of [1, 2, 3]) {
    const { exitCode, stderr } = await fetch(`quick#${number}`, "--key", key);
    assert.equal(exitCode, 0, stderr);
    assert.match(await readFile(join(out, "console.log"), "utf8"), /^done$/m);
  }
  const keyless = await labgear(["build", "quick", "--detach", ...address]);
  assert.equal(keyless.exitCode, 0, keyless.stderr);
  await agent.logged((line) => line.msg.includes("ended") && line.number === 4);
  const other = join(folder.path, "other");
  await labgear(["build", "quick", "--quiet", "--key", other, ...address]);
  const refusals: [string[], number, RegExp][] = [
    [
      ["quick#1"],
      1,
      /its results aren't public \(http\.auth .*, only its client's key opens them; give the file of/,
    ],
    [["quick#1", "--key", other], 1, /the signature isn't by the build's key; give the file of/],
    [["quick#4", "--key", key], 1, /its results aren't public \(http\.auth .*, and its client set no key/],
    [["quick#1", "--key", join(folder.path, "none")], 2, /--key .*none can't be read: ENOENT/],
    [
      ["quick#1", "--key", join(folder.path, "password")],
      2,
      /--key .*: this is no Ed25519 private key in PEM/,
    ],
  ];
  for (const [[build = "", ...more], code, line] of refusals) {
    const { exitCode, stderr } = await fetch(build, ...more);
    assert.equal(exitCode, code, stderr);
    assert.match(stderr, new RegExp(`^labgear: [^\n]*${line.source}[^\n]*\n$`));
  }
});

test("build --fetch that leaves an artifact out is 5, and says which", { skip }, async () => {
  await using server = await startGearmand();
  await using folder = await temporaryFolder();
  const yaml = `
name: box7
jobs: { quick: { run: "mkdir sub; echo 1 > sub/one; echo 2 > two", artifacts: ["**"] } }
`;
  await using agent = await TestAgent.start({ yaml, ports: [server.port] });
  await agent.logged((line) => line.msg.startsWith("registered") && "exchange" in line);
  const out = join(folder.path, "out");
  await mkdir(join(out, "artifacts"), { recursive: true });
  await writeFile(join(out, "artifacts/sub"), "in the way");
  const args = ["build", "quick", "--fetch", out, "--server", `127.0.0.1:${server.port}`];
  const { exitCode, stderr } = await labgear(args);
  assert.equal(exitCode, 5, stderr);
  assert.match(stderr, /^\["artifacts\/sub\/one" .*sub is no folder\]$/m);
  assert.equal(await readFile(join(out, "artifacts/two"), "utf8"), "2\n");
});

test("what an earlier attempt has brought here whole isn't fetched again, unless it was changed", {
  skip,
}, async () => {
  await using server = await startGearmand();
  await using folder = await temporaryFolder();
  const whole = randomBytes(5000);
  const sha256 = createHash("sha256").update(whole).digest("hex");
  const list = Buffer.from(
    JSON.stringify({ artifacts: [{ path: "app", size: whole.length, sha256, type: "x/y" }] }),
  );
  let asked = 0;
  const onJob = async (job: Job) => {
    const { path, offset, length } = parseFetch(job.argument);
    if (!path.startsWith("artifacts"))
      return job.complete(errorAnswer(new ExchangeError("not-found", "there is no such thing")));
    const all = path === "artifacts" ? list : whole;
    const bytes = all.subarray(offset, offset + length);
    // One byte tells the size.
    if (all === whole && length > 1) asked += bytes.length;
    job.complete(
      formatFetched({ size: all.length, offset, end: offset + bytes.length === all.length, bytes }),
    );
  };
  await using _box = await startWorker([server], ["fetch:box7"], { onJob });
  const args = ["fetch", "box7", "job#1", "--to", folder.path, "--server", `127.0.0.1:${server.port}`];
  const file = join(folder.path, "artifacts/app");
  for (const expected of [5000, 5000, 10_000]) {
    if (expected === 10_000) await writeFile(file, randomBytes(5000));
    const { exitCode, stderr, stdout } = await labgear(args);
    assert.equal(exitCode, 0, stderr);
    assert.match(stdout, /^1 file in /);
    assert.equal(asked, expected);
    assert.ok((await readFile(file)).equals(whole));
    assert.deepEqual(await readdir(join(folder.path, "artifacts")), ["app"]);
  }
});

test("three boards, one broken: --retry-infra ends on a good one, once", { skip }, async () => {
  await using server = await startGearmand();
  await using folder = await temporaryFolder();
  await using resources = new AsyncDisposableStack();
  const boards = await Promise.all([1, 2, 3].map(startNetworkBoard));
  for (const board of boards) resources.use(board);
  const speaking = setInterval(() => {
    for (const board of boards) board.say("verdict: good\n");
  }, 200);
  resources.defer(() => clearInterval(speaking));
  // The first board that is flashed is the broken one.
  const broken = join(folder.path, "broken");
  const flash = `mkdir ${broken} 2>/dev/null && echo "$LABGEAR_DEVICE" > ${broken}/name; [ "$(cat ${broken}/name)" != "$LABGEAR_DEVICE" ]`;
  const verdict = (text: string) => `{ pass: '${text}', fail: 'verdict: good' }`;
  const device = (index: number) =>
    `  b${index}: { classes: [mcu], port: "tcp://127.0.0.1:${boards[index - 1]?.port}", console: raw }\n`;
  const config = `
name: box7
jobs:
  smoke: { nodes: [mcu], firmware: { flash: ${JSON.stringify(flash)}, verdict: { pass: 'verdict: good', fail: 'never' } } }
  fails: { nodes: [mcu], firmware: { flash: "true", verdict: ${verdict("never")} } }
devices:
${[1, 2, 3].map(device).join("")}`;
  const agent = resources.use(await TestAgent.start({ yaml: config, ports: [server.port] }));
  for (const index of [1, 2, 3]) await becomes(agent, `b${index}`, "ready");
  await agent.logged((line) => line.msg.startsWith("registered") && "exchange" in line);
  const build = (job: string) =>
    labgear(["build", job, "--node", "mcu", "--retry-infra", "2", "--server", `127.0.0.1:${server.port}`]);
  const { exitCode, stderr } = await build("smoke");
  assert.equal(exitCode, 0, stderr);
  const nodes = [...stderr.matchAll(/^smoke#\d+ runs on (b\d):/gm)].map(([, node]) => node);
  assert.equal(nodes.length, 2, stderr);
  assert.notEqual(nodes[0], nodes[1]);
  assert.match(
    stderr,
    new RegExp(`^\\[it ended without a result: trying again on ${nodes[1]}, attempt 2 of 3\\]$`, "m"),
  );
  const failed = await build("fails");
  assert.equal(failed.exitCode, 1, failed.stderr);
  assert.equal(failed.stderr.match(/is queued as/g)?.length, 1);
});
