/** Consoles over HTTP: whole, ranges, followed, lines, search. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { appendFile, readdir, readlink, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { join } from "node:path";
import { test } from "node:test";
import { lacks } from "../support/parts.ts";
import { bounded } from "../support/servers.ts";
import { WebLab } from "./web-lab.ts";

const yaml = `
jobs:
  talk: { run: "seq 1 2500" }
  slow: { run: 'echo first; while [ ! -e "$LABGEAR_ARTIFACTS/go" ]; do sleep 0.05; done; echo last' }
host: { executors: 2 }
`;
const said = Buffer.from(Array.from({ length: 2500 }, (_, n) => `${n + 1}\n`).join(""));

interface Lines {
  readonly from: number;
  readonly total: number | null;
  readonly lines: readonly { n: number; offset: number; text: string; at?: number; cut?: number }[];
}

test("consoles over HTTP", { skip: lacks("gearmand") }, async (t) => {
  await using lab = await WebLab.start(yaml);
  await lab.run("talk", "uuid-1");
  const path = "/builds/talk/1/console";

  await t.test("the whole console, with an ETag", async () => {
    const { status, body, headers } = await lab.get(path);
    assert.equal(status, 200);
    assert.deepEqual(body, said);
    assert.match(`${headers["content-type"]}`, /^text\/plain/);
    assert.equal((await lab.get(path, { "if-none-match": `${headers.etag}` })).status, 304);
  });

  const ranges: [string, number, number, number][] = [
    ["bytes=0-0", 206, 0, 1],
    ["bytes=10-19", 206, 10, 20],
    ["bytes=100-", 206, 100, said.length],
    ["bytes=-7", 206, said.length - 7, said.length],
    ["bytes=5-99999999", 206, 5, said.length],
    ["bytes=0-1,4-5", 200, 0, said.length],
    ["bytes=9-3", 200, 0, said.length],
    ["lines=1-2", 200, 0, said.length],
  ];
  for (const [range, status, from, to] of ranges) {
    await t.test(`Range: ${range}`, async () => {
      const answer = await lab.get(path, { range });
      assert.equal(answer.status, status);
      assert.deepEqual(answer.body, said.subarray(from, to));
      if (status === 206)
        assert.equal(answer.headers["content-range"], `bytes ${from}-${to - 1}/${said.length}`);
    });
  }

  await t.test("a range beyond the end", async () => {
    for (const range of [`bytes=${said.length}-`, "bytes=-0"]) {
      const { status, headers } = await lab.get(path, { range });
      assert.deepEqual([status, headers["content-range"]], [416, `bytes */${said.length}`]);
    }
  });

  await t.test("If-Range with another ETag sends everything", async () => {
    const { status } = await lab.get(path, { range: "bytes=0-1", "if-range": '"another"' });
    assert.equal(status, 200);
  });

  await t.test("HEAD sends only the headers", async () => {
    const { status, headers, body } = await lab.get(path, {}, "HEAD");
    assert.deepEqual([status, headers["content-length"], body.length], [200, `${said.length}`, 0]);
  });

  await t.test("HEAD of the text without escapes leaves no file open", async () => {
    await lab.run("talk", "uuid-3");
    const { status, body } = await lab.get("/builds/talk/2/console?plain", {}, "HEAD");
    assert.deepEqual([status, body.length], [200, 0]);
    const descriptors = `/proc/${lab.agent.child.pid}/fd`;
    const names = await readdir(descriptors);
    const files = await Promise.all(names.map((name) => readlink(join(descriptors, name)).catch(() => "")));
    assert.deepEqual(
      files.filter((file) => file.endsWith("/talk/2/console.log")),
      [],
    );
  });

  await t.test("lines from anywhere", async () => {
    const lines = async (query: string) =>
      (await lab.json(`/api/builds/talk/1/lines?${query}`)) as unknown as Lines;
    const middle = await lines("from=1234&count=3");
    assert.deepEqual(
      middle.lines.map(({ n, text, offset }) => [n, text, said.subarray(offset, offset + 4).toString()]),
      [1234, 1235, 1236].map((n) => [n, `${n + 1}`, `${n + 1}`]),
    );
    assert.equal(typeof middle.lines[0]?.at, "number");
    const end = await lines("from=-2");
    assert.deepEqual(
      [end.from, end.total, end.lines.map(({ text }) => text)],
      [2498, 2500, ["2499", "2500"]],
    );
    assert.deepEqual((await lines("from=99999")).lines, []);
  });

  await t.test("a search continues where it ended", async () => {
    const found: number[] = [];
    for (let next: unknown = 0; next !== null; ) {
      const answer = await lab.json(`/api/builds/talk/1/search?q=9&from=${next}`);
      const hits = answer.hits as { n: number; text: string }[];
      assert.ok(hits.length <= 100);
      found.push(...hits.map(({ n }) => n));
      next = answer.next;
    }
    const wanted = Array.from({ length: 2500 }, (_, n) => n).filter((n) => `${n + 1}`.includes("9"));
    assert.deepEqual(found, wanted);
  });

  await t.test("a follower gets the rest live, and the end", async () => {
    const build = await lab.submit("slow", "uuid-2");
    await build.said("first");
    const following = request(`${lab.url}/builds/slow/1/console?follow`).end();
    const [answer] = await bounded(once(following, "response"));
    answer.setEncoding("utf8");
    const [first] = await bounded(once(answer, "data"));
    assert.equal(first, "first\n");
    const rest: string[] = [];
    answer.on("data", (text: string) => rest.push(text));
    await writeFile(join(lab.agent.stateDir, "builds/slow/1/artifacts/go"), "");
    await bounded(once(answer, "end"));
    assert.equal(rest.join(""), "last\n");
    await build.ended;
  });

  await t.test("binary bytes, very long lines, and 40 MB of lines", async () => {
    const file = join(lab.agent.stateDir, "builds/talk/1/console.log");
    const long = "x".repeat(100_000);
    await appendFile(file, Buffer.concat([Buffer.from([0xff, 0xfe, 10]), Buffer.from(`${long}\nNeedle\n`)]));
    const answer = (await lab.json("/api/builds/talk/1/lines?from=2500&count=3")) as unknown as Lines;
    assert.deepEqual(
      answer.lines.map(({ text, cut }) => [text.length, cut]),
      [
        [2, undefined],
        [16_384, 100_000 - 16_384],
        [6, undefined],
      ],
    );
    assert.equal(answer.lines[0]?.text, "\ufffd\ufffd");
    const line = `${"y".repeat(79)}\n`;
    await appendFile(file, line.repeat(500_000));
    const last = (await lab.json("/api/builds/talk/1/lines?from=-1")) as unknown as Lines;
    assert.deepEqual([last.total, last.lines[0]?.n], [502_503, 502_502]);
    const { hits } = (await lab.json("/api/builds/talk/1/search?q=nEEDLE")) as { hits: { n: number }[] };
    assert.deepEqual(
      hits.map(({ n }) => n),
      [2502],
    );
  });
});
