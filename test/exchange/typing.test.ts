/** What the holder of a lease types: who may, what is refused, and when the box does it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ExchangeError } from "#/exchange/errors.ts";
import { BuildKey, parsePublicKey, verifySignature } from "#/exchange/key.ts";
import {
  formatLeaseRequest,
  parseLeaseEvent,
  parseLeaseFunction,
  parseLeaseTerms,
} from "#/exchange/lease.ts";
import { PlayOut } from "#/exchange/play-out.ts";
import { formatTyping, type Operation, parseBurst, parseTyped, parseTyping } from "#/exchange/typing.ts";
import { seeded } from "../support/random.ts";

const key = BuildKey.generate();
const session = "0123456789abcdef".repeat(2);
const now = 1_800_000_000_000;
const facts = { number: 3, session, sequence: 7, time: now };
const burst = {
  sent: 2000,
  operations: [
    { at: 1000, op: "dtr", on: false },
    { at: 1500, op: "write", data: "aGk=" },
  ] satisfies Operation[],
};

function verify(message: Buffer, by = key): void {
  const { signed, signature } = parseTyping(message);
  verifySignature(signed, signature, parsePublicKey(by.publicKey), now);
}

const refusal = (code: string) => (error: unknown) => error instanceof ExchangeError && error.code === code;

test("a message comes as it was sent; a sign of life has neither sequence nor operations", () => {
  const message = formatTyping(key, facts, burst);
  verify(message);
  assert.deepEqual(parseBurst(parseTyping(message).operations), burst);
  const sign = formatTyping(key, { ...facts, sequence: 0 });
  verify(sign);
  assert.equal(parseTyping(sign).operations.length, 0);
  assert.deepEqual(parseTyped(Buffer.from('{"next":8,"done":7,"left":1000}')), {
    next: 8,
    done: 7,
    left: 1000,
  });
});

test("a signature is good for one lease, board, order and content alone", () => {
  const message = formatTyping(key, facts, burst).toString();
  const forged = [
    message.replace('"number":3', '"number":4'),
    message.replace(session, session.replace("0", "1")),
    message.replace('"sequence":7', '"sequence":8'),
    message.replace(`"time":${now}`, `"time":${now + 1}`),
    message.replace("aGk=", "aGo="),
    message.replace('"at":1000', '"at":1001'),
  ];
  for (const text of forged) {
    assert.notEqual(text, message);
    assert.throws(() => verify(Buffer.from(text)), refusal("signature"), text);
  }
  assert.throws(() => verify(Buffer.from(message), BuildKey.generate()), refusal("signature"));
  // Signed for another function by the same key.
  const other = key.sign({
    operation: "send",
    build: { name: "lease", number: 3 },
    what: "",
    ...{ offset: 0, length: 0, time: now },
  });
  const sign = formatTyping(key, { ...facts, sequence: 0 }).toString();
  assert.throws(
    () => verify(Buffer.from(sign.replace(/"signature":"[^"]*"/, `"signature":"${other}"`))),
    refusal("signature"),
  );
});

test("operations that can't be are refused", () => {
  const bad = [
    { op: "write", at: 0, data: "no base64" },
    { op: "write", at: 0, data: "A".repeat(128 * 1024 + 1) },
    { op: "write", data: "aGk=" },
    { op: "baud", at: 0, baud: 0 },
    { op: "baud", at: 0, baud: 1e9 },
    { op: "format", at: 0, bits: 9, parity: "none", stop: 1 },
    { op: "format", at: 0, bits: 8, parity: "both", stop: 1 },
    { op: "flow", at: 0, flow: "dtrdsr" },
    { op: "dtr", at: 0, on: 1 },
    { op: "break", at: 0, ms: 60_000 },
    { op: "power", at: 0, action: "explode" },
    { op: "extend", at: 0, seconds: -1 },
    { op: "release", at: 0, reason: "two\nlines" },
    { op: "put", at: 0, to: "", size: 1, sha256: "00".repeat(32) },
    { op: "constructor", at: 0 },
    { op: "reset", at: -1 },
    null,
    7,
  ];
  const read = (operations: unknown) => parseBurst(Buffer.from(JSON.stringify({ sent: 1, operations })));
  for (const operation of bad)
    assert.throws(() => read([operation]), refusal("malformed"), JSON.stringify(operation)?.slice(0, 80));
  assert.throws(() => read([]), refusal("malformed"));
  assert.throws(() => read("reset"), refusal("malformed"));
  // Time doesn't go back within a message.
  const reset = { op: "reset" };
  assert.throws(
    () =>
      read([
        { at: 2, ...reset },
        { at: 1, ...reset },
      ]),
    refusal("malformed"),
  );
});

test("any bytes are understood or refused, and nothing else happens", () => {
  const random = seeded(16);
  const good = formatTyping(key, facts, burst);
  for (let round = 0; round < 3000; round++) {
    const bytes = Buffer.from(good);
    for (let count = 1 + random(4); count > 0; count--) bytes[random(bytes.length)] = random(256);
    const message = bytes.subarray(0, random(2) ? bytes.length : random(bytes.length));
    try {
      parseBurst(parseTyping(message).operations);
    } catch (error) {
      assert.ok(error instanceof ExchangeError, `${error}`);
    }
  }
});

test("a request for a lease: terms, and what is refused", () => {
  const text = formatLeaseRequest({ forMs: 90_000, reason: "why", who: "me@here" }, key.publicKey);
  const parameters = new Map(
    Object.entries(JSON.parse(text)).map(([name, value]) => [
      name,
      typeof value === "string" ? value : JSON.stringify(value),
    ]),
  );
  assert.deepEqual(parseLeaseTerms(parameters), { forMs: 90_000, reason: "why", who: "me@here" });
  for (const [name, value] of [
    ["for", "-1"],
    ["for", "1.5"],
    ["reason", "two\nlines"],
    ["who", "x".repeat(201)],
    ["LABGEAR_KEY", "none"],
  ] as const)
    assert.throws(() => parseLeaseTerms(new Map([...parameters, [name, value]])), refusal("malformed"));
  assert.equal(parseLeaseFunction("lease:rpi4"), "rpi4");
  for (const name of ["lease:", "lease", "lease:a:b", "build:lease"])
    assert.equal(parseLeaseFunction(name), undefined);
});

test("a lease's data: what any worker may send is understood or left alone", () => {
  assert.deepEqual(parseLeaseEvent({ serial: "aGk=", offset: 5 }), {
    ...{ kind: "serial", offset: 5 },
    bytes: Buffer.from("hi"),
  });
  assert.deepEqual(parseLeaseEvent({ lines: { cts: true, ri: 7, other: true } }), {
    kind: "lines",
    lines: { cts: true },
  });
  assert.deepEqual(parseLeaseEvent({ done: 3, error: "no" }), { kind: "done", sequence: 3, error: "no" });
  const news = { session, device: "a", baud: 9600, left: 5 };
  assert.deepEqual(parseLeaseEvent({ lease: news }), { kind: "lease", news });
  for (const odd of [{}, { lease: 1 }, { lease: { ...news, session: "x" } }, { serial: 5 }, { done: -1 }])
    assert.equal(parseLeaseEvent(odd), undefined);
});

test("what doesn't depend on time is done at once, and a reset sequence with its spacing", () => {
  const playOut = new PlayOut();
  // A network of 200 ms, whose jitter is up to 50 ms.
  const random = seeded(17);
  for (let at = 0; at < 1_000; at += 100) playOut.heard(at, at + 200 + random(50));
  const write = { at: 1_100_000, op: "write", data: "aGk=" } as const;
  assert.equal(playOut.due(write, 1320), 1320);
  const edges = [2000, 2050, 2150, 2200];
  const done = edges.map((sentMs, index) => {
    const arrived = sentMs + 200 + (index % 2 === 0 ? 0 : 30);
    playOut.heard(sentMs, arrived);
    const due = playOut.due({ at: sentMs * 1000, op: "dtr", on: index % 2 === 0 }, arrived);
    return Math.max(due, arrived);
  });
  assert.deepEqual(
    done.map((ms) => ms - (done[0] ?? 0)),
    edges.map((ms) => ms - 2000),
  );
  // What is written right behind it keeps its place, too; a later one doesn't wait.
  const soon = playOut.due({ at: 2_250_000, op: "write", data: "aGk=" }, 2455);
  assert.equal(soon - (done[0] ?? 0), 250);
  assert.equal(playOut.due({ at: 9_000_000, op: "write", data: "aGk=" }, 9210), 9210);
});

test("a message that is very late delays what follows, and the spacing stays", () => {
  const playOut = new PlayOut();
  playOut.heard(0, 10);
  const first = playOut.due({ at: 0, op: "rts", on: true }, 10);
  const late = playOut.due({ at: 50_000, op: "rts", on: false }, 400);
  const next = playOut.due({ at: 150_000, op: "rts", on: true }, 401);
  assert.deepEqual([first, late, next], [10, 400, 500]);
});
