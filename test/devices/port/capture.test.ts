import assert from "node:assert/strict";
import {
  appendFileSync,
  createReadStream,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { openCapture } from "#/devices/port/capture.ts";
import { CaptureParser, encodeHead, encodeRecord, readCapture } from "#/lib/capture.ts";
import { testFolder } from "../../support/folders.ts";
import { lacks } from "../../support/parts.ts";
import { seeded, seededBytes } from "../../support/random.ts";
import { hears, portAt, reaches, until } from "./ports.ts";
import { Pty } from "./pty.ts";

const skip = lacks("socat");

async function records(path: string) {
  const found: { kind: string; text: string; at: number }[] = [];
  for await (const { kind, bytes, at } of readCapture(createReadStream(path)))
    found.push({ kind, text: Buffer.from(bytes).toString("latin1"), at });
  return found;
}

const joined = (found: { kind: string; text: string }[], kind: string) =>
  found.flatMap((record) => (record.kind === kind ? [record.text] : [])).join("");

test("both directions are captured byte for byte, from what the ring already has", { skip }, async () => {
  using folder = testFolder();
  const path = join(folder.path, "serial.capture");
  await using pty = new Pty(join(folder.path, "dev"));
  await pty.plug();
  await using port = portAt(pty.path);
  await reaches(port, "open");
  await pty.say("not this");
  await hears(port, "this");
  const from = port.ring.end;
  await pty.say("before");
  await hears(port, "before");
  const bytes = seededBytes(seeded(3), 100_000);
  {
    await using capture = await openCapture(path, port, from);
    using writer = port.acquire("test");
    await writer.write(Buffer.from("sent\xff\0", "latin1"));
    await pty.say(bytes);
    await until(() => port.ring.end === from + 6 + bytes.length, "read");
    capture.note("half-way");
    await pty.unplug();
    await reaches(port, "absent");
  }
  const found = await records(path);
  assert.equal(joined(found, "received"), `before${bytes.toString("latin1")}`);
  assert.equal(joined(found, "sent"), "sent\xff\0");
  assert.equal(joined(found, "note"), "half-waythe port is absent");
  assert.ok(found.every(({ at }, index) => at >= (found[index - 1]?.at ?? 0) && at < 60_000));
  assert.match(readFileSync(path, "latin1"), /^labgear capture 1\nbegan 20\d\d-.*\n\nBoth directions/);
});

test("a file cut anywhere yields its complete records; a damaged file and any other file are refused", async () => {
  using folder = testFolder();
  const path = join(folder.path, "capture");
  const head = encodeHead(1_700_000_000_000);
  const body = Buffer.concat([
    ...encodeRecord({ kind: "received", at: 1, bytes: Buffer.from("hello") }),
    ...encodeRecord({ kind: "sent", at: 2.6, bytes: Buffer.from("you") }),
  ]);
  for (let cut = 0; cut <= body.length; cut++) {
    writeFileSync(path, Buffer.concat([head, body.subarray(0, cut)]));
    const found = await records(path);
    assert.equal(found.length, cut < 14 ? 0 : cut < 26 ? 1 : 2);
  }
  assert.deepEqual(await records(path), [
    { kind: "received", text: "hello", at: 1 },
    { kind: "sent", text: "you", at: 3 },
  ]);
  appendFileSync(path, Buffer.alloc(20, "?"));
  await assert.rejects(records(path), /damaged/);
  writeFileSync(path, "something else");
  await assert.rejects(records(path), /no capture/);
  truncateSync(path, 0);
  assert.deepEqual(await records(path), []);
});

test("a capture is parsed in pieces of any size", () => {
  const bytes = seededBytes(seeded(5), 70_000);
  const file = Buffer.concat([encodeHead(5), ...encodeRecord({ kind: "received", at: 9, bytes })]);
  for (const size of [1, 7, 1000, file.length]) {
    const parser = new CaptureParser();
    const parts: Uint8Array[] = [];
    for (let from = 0; from < file.length; from += size)
      for (const record of parser.push(file.subarray(from, from + size)))
        parts.push(Buffer.from(record.bytes));
    assert.equal(Buffer.concat(parts).equals(bytes), true);
    assert.equal(parser.pending, 0);
    assert.equal(parser.began, 5);
  }
});

test("a capture stops at its maximum size, and says so", { skip }, async () => {
  using folder = testFolder();
  const path = join(folder.path, "capture");
  await using pty = new Pty(join(folder.path, "dev"));
  await pty.plug();
  await using port = portAt(pty.path);
  await reaches(port, "open");
  {
    await using _ = await openCapture(path, port, undefined, { maxBytes: 20_000 });
    await pty.say(Buffer.alloc(100_000, "x"));
    await until(() => port.counters.received === 100_000, "read");
  }
  assert.ok(statSync(path).size < 21_000);
  const found = await records(path);
  assert.match(found.at(-1)?.text ?? "", /full/);
});
