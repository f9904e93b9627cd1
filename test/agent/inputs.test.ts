/** Files in, results out: what a client sends with a build, and what it gets of it, through real job servers. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdir, readdir, readFile, stat, symlink } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { parseArtifacts } from "#/exchange/fetch.ts";
import { BuildKey } from "#/exchange/key.ts";
import { maxPieceBytes } from "#/exchange/message.ts";
import { formatPiece } from "#/exchange/send.ts";
import { JobServer } from "#/gearman/server/server.ts";
import { TestAgent } from "../support/agent.ts";
import { lastData } from "../support/clients.ts";
import {
  announce,
  askInfo,
  call,
  fetchAll,
  fetchRange,
  type SentBuild,
  send,
  sha256,
  submitWith,
  wantsOf,
} from "../support/exchange.ts";
import { lacksMount, smallDisk } from "../support/folders.ts";
import { lacks } from "../support/parts.ts";
import { startGearmand, temporaryFolder } from "../support/servers.ts";

const yaml = `
name: box7
host: { classes: [lab1], executors: 3 }
inputs: { timeout: 5m, max-time: 30m }
jobs:
  copy:
    inputs: { app: { max: 8MiB }, overlay: { max: 1KiB, optional: true } }
    run: |
      sha256sum < "$LABGEAR_INPUT_APP"
      cp "$LABGEAR_INPUT_APP" out.bin
      echo "overlay: \${LABGEAR_INPUT_OVERLAY:-none}"
      echo '<testsuite name="s"><testcase classname="c" name="one"/><testcase name="two"><failure message="m"/></testcase></testsuite>' > r.xml
    artifacts: ["*.bin"]
    junit: ["*.xml"]
  other: { inputs: { app: { max: 8MiB } }, run: 'sha256sum < "$LABGEAR_INPUT_APP"' }
  spoil: { inputs: { app: { max: 8MiB } }, run: 'chmod u+w "$LABGEAR_INPUT_APP"; echo spoiled > "$LABGEAR_INPUT_APP"' }
  plain: { run: "true" }
  chat: { run: "echo begin; read line < ../../../gate" }
`;

interface Lab extends AsyncDisposable {
  readonly agent: TestAgent;
  readonly server: { readonly host: string; readonly port: number };
}

async function startLab(kind: "gearmand" | "embedded", config = yaml): Promise<Lab> {
  await using resources = new AsyncDisposableStack();
  const host = "127.0.0.1";
  let port: number;
  if (kind === "gearmand") port = resources.use(await startGearmand()).port;
  else {
    const server = resources.use(new JobServer({ software: "test" }));
    ({ port } = await server.listen({ host, port: 0 }));
  }
  const agent = resources.use(await TestAgent.start({ yaml: config, ports: [port] }));
  await agent.logged((line) => line.msg.startsWith("registered") && "exchange" in line);
  const kept = resources.move();
  return { agent, server: { host, port }, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

const isRefused = (code: string) => (error: unknown) => (error as { code?: string }).code === code;

/** What the agent keeps of inputs, and of them what is on its way or in use. */
async function kept(agent: TestAgent): Promise<{ kept: string[]; rest: string[] }> {
  const list = (name: string) => readdir(join(agent.stateDir, "inputs", name)).catch(() => []);
  const files = (await list("kept")).filter((name) => !name.endsWith(".owners"));
  return { kept: files, rest: [...(await list("partial")), ...(await list("builds"))] };
}

for (const kind of ["gearmand", "embedded"] as const) {
  describe(`through ${kind}`, { skip: kind === "gearmand" && lacks("gearmand") }, () => {
    let lab: Lab;
    before(async () => {
      lab = await startLab(kind);
    });
    after(() => lab?.[Symbol.asyncDispose]());

    test("an input arrives, the job reads it, and everything of the build comes back", async () => {
      const { agent, server } = lab;
      const bytes = randomBytes(3 * maxPieceBytes + 17);
      const build = await submitWith(server.port, "build:copy", [announce("app", bytes)]);
      const first = await build.started;
      assert.equal(first.manager, "box7");
      await build.dataPackets(2);
      assert.deepEqual(wantsOf(build)?.wants, [{ name: "app", offset: 0 }]);
      assert.equal(await send(server, "box7", build, "app", bytes), bytes.length);
      const last = await lastData(build);
      assert.deepEqual([last.result, last.cause], ["SUCCESS", "passed"]);
      const number = Number(last.number);
      const record = await agent.record("copy", number);
      assert.deepEqual(record.inputs, [{ name: "app", size: bytes.length, sha256: sha256(bytes) }]);

      const { uuid, key } = build;
      const console = await fetchAll(server, "box7", { uuid }, "console");
      assert.equal(console.sha256, sha256(console.bytes));
      assert.match(console.bytes.toString(), new RegExp(`^${sha256(bytes)}`, "m"));
      assert.match(console.bytes.toString(), /^overlay: none$/m);
      const list = parseArtifacts((await fetchAll(server, "box7", { uuid }, "artifacts")).bytes);
      const type = "application/octet-stream";
      assert.deepEqual(list, [{ path: "out.bin", size: bytes.length, sha256: sha256(bytes), type }]);
      const named = { name: "copy", number };
      const artifact = await fetchAll(server, "box7", named, "artifacts/out.bin", key);
      assert.ok(artifact.bytes.equals(bytes));
      assert.equal(artifact.sha256, sha256(bytes));
      const junit = (await fetchAll(server, "box7", named, "junit")).bytes.toString();
      assert.match(junit, /<testcase classname="c" name="one"/);
      assert.match(junit, /<failure message="m"/);
      const tests = JSON.parse((await fetchAll(server, "box7", named, "tests")).bytes.toString());
      assert.deepEqual([tests.totals.tests, tests.totals.failures, tests.cases.length], [2, 1, 2]);
      const fetched = JSON.parse((await fetchAll(server, "box7", named, "record")).bytes.toString());
      assert.equal(fetched.result, "SUCCESS");
      for (const path of ["serial", "artifacts/none", "artifacts/../build.json", "parameters.json", "x"])
        await assert.rejects(fetchRange(server, "box7", named, path), isRefused("not-found"), path);
      assert.deepEqual((await kept(agent)).rest, []);
    });

    test("the same bytes aren't sent again for the same job, and are for another one", async () => {
      const { agent, server } = lab;
      const bytes = randomBytes(2 * maxPieceBytes);
      const first = await submitWith(server.port, "build:copy", [announce("app", bytes)]);
      await first.dataPackets(2);
      await send(server, "box7", first, "app", bytes);
      assert.equal((await lastData(first)).result, "SUCCESS");
      const second = await submitWith(server.port, "build:copy", [announce("app", bytes)]);
      assert.equal((await lastData(second)).result, "SUCCESS");
      const other = await submitWith(server.port, "build:other", [announce("app", bytes)]);
      await other.dataPackets(2);
      assert.deepEqual(wantsOf(other)?.wants, [{ name: "app", offset: 0 }]);
      await send(server, "box7", other, "app", bytes);
      assert.equal((await lastData(other)).result, "SUCCESS");
      assert.equal((await kept(agent)).kept.filter((name) => name === sha256(bytes)).length, 1);
    });

    test("two clients that send the same file at once share the transfer", async () => {
      const { agent, server } = lab;
      const bytes = randomBytes(4 * maxPieceBytes);
      const builds = [
        await submitWith(server.port, "build:copy", [announce("app", bytes)]),
        await submitWith(server.port, "build:copy", [announce("app", bytes)]),
      ];
      await Promise.all(builds.map((build) => build.dataPackets(2)));
      const [one, two] = builds;
      assert.ok(one && two);
      await send(server, "box7", one, "app", bytes.subarray(0, 2 * maxPieceBytes));
      assert.equal((await readdir(join(agent.stateDir, "inputs", "partial"))).length, 1);
      await send(server, "box7", two, "app", bytes);
      for (const build of builds) assert.equal((await lastData(build)).result, "SUCCESS");
      assert.deepEqual((await kept(agent)).rest, []);
    });

    test("info says what the box is, and what its jobs take", async () => {
      const info = await askInfo(lab.server, "box7");
      assert.equal(info.manager, "box7");
      assert.deepEqual(info.nodes[0]?.classes, ["lab1"]);
      assert.equal(info.nodes[0]?.state, "free");
      const job = info.jobs.find(({ name }) => name === "copy");
      assert.deepEqual(job?.inputs, [
        { name: "app", max: 8 * 1024 * 1024, optional: false, url: false },
        { name: "overlay", max: 1024, optional: true, url: false },
      ]);
      assert.equal(info.counts.executors, 3);
    });
  });
}

describe("what goes wrong", () => {
  let lab: Lab;
  before(async () => {
    lab = await startLab("embedded");
  });
  after(() => lab?.[Symbol.asyncDispose]());

  const refused = async (parameters: Record<string, string>, reason: RegExp, job = "copy") => {
    const build = await submitWith(lab.server.port, `build:${job}`, [], parameters);
    const last = await lastData(build);
    assert.deepEqual([last.result, last.cause], ["FAILURE", "input"], String(last.reason));
    assert.match(String(last.reason), reason);
    const console = (await lab.agent.file(job, Number(last.number), "console.log")).toString();
    assert.match(console, reason);
    assert.deepEqual((await kept(lab.agent)).rest, []);
  };
  const bytes = Buffer.from("some firmware");
  const list = (...inputs: object[]) => ({ LABGEAR_INPUTS: JSON.stringify(inputs) });

  test("each announcement that can't be is one clear ending", async () => {
    const app = announce("app", bytes);
    await refused({ LABGEAR_INPUTS: "" }, /needs the input app/);
    await refused(list(app, announce("more", bytes)), /takes no input more/);
    await refused(list({ ...app, name: "../../app" }), /an input's name is/);
    await refused(list({ ...app, size: 9 * 1024 * 1024 }), /too large: it has 9MiB.*8MiB at most/);
    await refused(list(app, app), /announced twice/);
    await refused(list({ ...app, url: "https://x.example/" }), /from no URL/);
    const many = Array.from({ length: 65 }, (_, index) => ({ ...app, name: `app${index}` }));
    await refused(list(...many), /more than 64 inputs/);
    await refused({ LABGEAR_INPUTS: "nonsense" }, /not JSON/);
    await refused(list(app), /takes no input app; it takes none/, "plain");
    await refused({ ...list(app), LABGEAR_KEY: "x" }, /LABGEAR_KEY is no key/);
    await refused({ LABGEAR_CLIENT_TIMEOUT: "soon" }, /LABGEAR_CLIENT_TIMEOUT is a whole number/);
  });

  test("a wrong digest", async () => {
    const wrong = await submitWith(lab.server.port, "build:copy", [
      { ...announce("app", bytes), sha256: "0".repeat(64) },
    ]);
    await wrong.dataPackets(2);
    await send(lab.server, "box7", wrong, "app", bytes);
    assert.match(String((await lastData(wrong)).reason), /doesn't have the announced SHA-256/);
  });

  test("a client whose file isn't what it announced ends its build, and no other that waits for the same", async () => {
    const { server } = lab;
    const size = bytes.length;
    const endsAt = (build: SentBuild, offset: number) => {
      const piece = { uuid: build.uuid, name: "app", offset, bytes: Buffer.alloc(0) };
      return call(server, "send:box7", formatPiece(build.key, piece, Date.now()));
    };
    for (const [offset, reason] of [
      [
        size - 1,
        `the client can send only ${size - 1} of the ${size} bytes that it announced for the input app`,
      ],
      [size + 1, `the client's file for the input app has ${size + 1} bytes now, and it announced ${size}`],
    ] as const) {
      // The cache doesn't have it for this job.
      const [mine, other] = [
        await submitWith(server.port, "build:other", [announce("app", bytes)]),
        await submitWith(server.port, "build:other", [announce("app", bytes)]),
      ];
      await Promise.all([mine.dataPackets(2), other.dataPackets(2)]);
      await endsAt(mine, offset);
      const last = await lastData(mine);
      assert.deepEqual([last.result, last.cause, last.reason], ["FAILURE", "input", reason]);
      await endsAt(other, size);
      if (offset < size) await endsAt(other, 0);
      else assert.equal(await send(server, "box7", other, "app", bytes), size);
      assert.equal((await lastData(other)).result, offset < size ? "FAILURE" : "SUCCESS");
    }
    assert.deepEqual((await kept(lab.agent)).rest, []);
  });

  test("what isn't the client's is refused before its bytes are touched", async () => {
    const { server } = lab;
    const build = await submitWith(server.port, "build:copy", [announce("app", bytes)]);
    await build.dataPackets(2);
    const stranger = { uuid: build.uuid, key: BuildKey.generate() };
    await assert.rejects(send(server, "box7", stranger, "app", bytes), isRefused("signature"));
    const late = { time: Date.now() - 3_600_000 };
    await assert.rejects(send(server, "box7", build, "app", bytes, late), isRefused("clock"));
    const unsigned = Buffer.from(
      `${JSON.stringify({ uuid: build.uuid, name: "app", offset: 0, length: 1 })}\nx`,
    );
    assert.match((await call(server, "send:box7", unsigned)).toString(), /"error":"unsigned"/);
    await assert.rejects(send(server, "box7", build, "other", bytes), isRefused("unknown-input"));
    await assert.rejects(send(server, "box7", build, "app", bytes, { from: 1 }), isRefused("offset"));
    await assert.rejects(send(server, "box7", build, "app", Buffer.alloc(50)), isRefused("too-large"));
    const nobody = { uuid: "no-such-build", key: build.key };
    await assert.rejects(send(server, "box7", nobody, "app", bytes), isRefused("unknown-build"));
    assert.equal(await send(server, "box7", build, "app", bytes), bytes.length);
    assert.equal((await lastData(build)).result, "SUCCESS");
    await assert.rejects(send(server, "box7", build, "app", bytes), isRefused("unknown-build"));
  });

  test("a wrong piece of another client costs the honest one nothing but sending again", async () => {
    const { server } = lab;
    const file = randomBytes(1000);
    const [good, bad] = [
      await submitWith(server.port, "build:copy", [announce("app", file)]),
      await submitWith(server.port, "build:copy", [announce("app", file)]),
    ];
    await Promise.all([good.dataPackets(2), bad.dataPackets(2)]);
    await send(server, "box7", good, "app", file.subarray(0, 500));
    await send(server, "box7", bad, "app", Buffer.alloc(1000), { from: 500 });
    assert.equal(await send(server, "box7", good, "app", file), 1000);
    assert.equal((await lastData(good)).result, "SUCCESS");
    await send(server, "box7", bad, "app", Buffer.alloc(1000)).catch(() => {});
    assert.equal((await lastData(bad)).result, "FAILURE");
  });

  test("a job that writes to its input changes only its own", async () => {
    const file = randomBytes(2000);
    for (let round = 0; round < 2; round++) {
      const build = await submitWith(lab.server.port, "build:spoil", [announce("app", file)]);
      if (round === 0) {
        await build.dataPackets(2);
        await send(lab.server, "box7", build, "app", file);
      }
      assert.equal((await lastData(build)).result, "SUCCESS");
      const cached = join(lab.agent.stateDir, "inputs", "kept", sha256(file));
      assert.ok((await readFile(cached)).equals(file));
      assert.equal((await stat(join(lab.agent.stateDir, "inputs", "kept"))).mode & 0o077, 0);
    }
  });
});

test("a client that sends nothing holds its executor for no longer than the timeout", async () => {
  await using lab = await startLab("embedded", yaml.replace("timeout: 5m", "timeout: 1s"));
  const build = await submitWith(lab.server.port, "build:copy", [announce("app", Buffer.alloc(13))]);
  const last = await lastData(build);
  assert.deepEqual([last.result, last.cause], ["FAILURE", "input"]);
  assert.match(String(last.reason), /nothing came for 1s; 0B of 13B are here/);
  assert.deepEqual((await kept(lab.agent)).rest, []);
});

test("nor does one that drips, for no longer than max-time", async () => {
  await using lab = await startLab("embedded", yaml.replace("max-time: 30m", "max-time: 2s"));
  const build = await submitWith(lab.server.port, "build:copy", [announce("app", Buffer.alloc(1_000_000))]);
  await build.dataPackets(2);
  const ended = lastData(build);
  let isOver = false;
  void ended.finally(() => {
    isOver = true;
  });
  for (let offset = 0; !isOver; offset++)
    await send(lab.server, "box7", build, "app", Buffer.alloc(offset + 1), { from: offset }).catch(() => {});
  const last = await ended;
  assert.deepEqual([last.result, last.cause], ["FAILURE", "input"]);
  assert.match(String(last.reason), /longer than 2s/);
  assert.deepEqual((await kept(lab.agent)).rest, []);
});

test("a disk that fills: no result, nothing is left, and the box goes on", {
  skip: lacksMount(),
}, async () => {
  await using resources = new AsyncDisposableStack();
  const jobServer = resources.use(new JobServer({ software: "test" }));
  const { port } = await jobServer.listen({ host: "127.0.0.1", port: 0 });
  const disk = resources.use(smallDisk(4096));
  const { path: folder } = resources.use(await temporaryFolder());
  await mkdir(join(disk.path, "state"));
  await symlink(join(disk.path, "state"), join(folder, "state"));
  const config = `builds: { min-free: 0 }\n${yaml}`;
  const agent = resources.use(await TestAgent.start({ yaml: config, ports: [port], folder }));
  const server = { host: "127.0.0.1", port };
  const large = randomBytes(6 * maxPieceBytes);
  const build = await submitWith(port, "build:other", [announce("app", large)]);
  await build.dataPackets(2);
  await assert.rejects(send(server, "box7", build, "app", large), isRefused("unavailable"));
  const last = await lastData(build);
  assert.equal(last.result, undefined);
  assert.match(String(last.reason), /no space|full/i);
  assert.deepEqual(await kept(agent), { kept: [], rest: [] });
  const small = await submitWith(port, "build:other", [announce("app", bytesOf(100))]);
  await small.dataPackets(2);
  await send(server, "box7", small, "app", bytesOf(100));
  assert.equal((await lastData(small)).result, "SUCCESS");
});

function bytesOf(length: number): Buffer {
  return Buffer.alloc(length, "x");
}
