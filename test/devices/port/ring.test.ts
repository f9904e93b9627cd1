import assert from "node:assert/strict";
import { test } from "node:test";
import { Ring } from "#/devices/port/ring.ts";
import { seeded } from "../../support/random.ts";

function all(ring: Ring, from: number): string {
  let text = "";
  for (let next = from; ; ) {
    const chunk = ring.read(next);
    if (!chunk) return text;
    text += Buffer.from(chunk.bytes).toString("latin1");
    next = chunk.offset + chunk.bytes.length;
  }
}

test("bytes are found by their offset, with the time they came", () => {
  const ring = new Ring(100);
  ring.append(Buffer.from("one"), 10);
  ring.append(Buffer.from("two"), 10);
  ring.append(Buffer.from("three"), 20);
  assert.deepEqual(ring.read(0), { offset: 0, at: 10, bytes: Buffer.from("onetwo") });
  assert.deepEqual(ring.read(4), { offset: 4, at: 10, bytes: Buffer.from("wo") });
  assert.deepEqual(ring.read(7), { offset: 7, at: 20, bytes: Buffer.from("hree") });
  assert.deepEqual(ring.read(7, 2), { offset: 7, at: 20, bytes: Buffer.from("hr") });
  assert.equal(ring.read(11), undefined);
});

test("bytes that are gone are skipped, and the chunk says where it starts", () => {
  const ring = new Ring(8);
  ring.append(Buffer.from("abcdefghij"), 1);
  assert.equal(ring.start, 2);
  assert.equal(all(ring, 0), "cdefghij");
  assert.equal(ring.read(0)?.offset, 2);
  ring.append(Buffer.from("KLM"), 2);
  assert.equal(all(ring, 0), "fghijKLM");
});

test("for any sizes and times, the ring has the last bytes, and no time is later than the real one", () => {
  const random = seeded(7);
  const ring = new Ring(1000);
  let written = Buffer.alloc(0);
  const times: number[] = [];
  let now = 0;
  for (let round = 0; round < 20_000; round++) {
    const bytes = Buffer.from(Array.from({ length: random(8) }, () => 33 + random(90)));
    now += random(3);
    ring.append(bytes, now);
    for (const _ of bytes) times.push(now);
    written = Buffer.concat([written, bytes]).subarray(-1000);
    if (round % 500 !== 0) continue;
    assert.equal(ring.end, times.length);
    assert.equal(all(ring, 0), written.toString("latin1"));
    const from = ring.start + random(900);
    const chunk = ring.read(from);
    if (chunk) assert.ok(chunk.at <= (times[from] ?? 0));
  }
});

test("a slow line for a long time: recent times exact, memory bounded, old times coarse", () => {
  const ring = new Ring();
  for (let at = 0; at < 100_000; at++) ring.append(Buffer.from([at % 256]), at);
  assert.equal(ring.start, 0);
  assert.equal(ring.read(99_999)?.at, 99_999);
  assert.equal(ring.read(99_000)?.at, 99_000);
  const old = ring.read(50_000);
  assert.ok(old && old.at <= 50_000 && old.bytes[0] === 50_000 % 256);
});
