/** The packet parser: any chunking, garbage, limits. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { GearmanError } from "#/gearman/wire/errors.ts";
import { encode, headerSize, type Packet } from "#/gearman/wire/packet.ts";
import { PacketParser, type ParserOptions, type TextLine } from "#/gearman/wire/parser.ts";

const large = Buffer.alloc(5000, "x\0y");
const stream = Buffer.concat([
  encode("RES", "NOOP"),
  encode("RES", "JOB_ASSIGN_UNIQ", "H:box:1", "build:unit", "u1", large),
  encode("RES", "JOB_CREATED", "H:box:2"),
  encode("RES", "WORK_COMPLETE", "H:box:2", ""),
  encode("RES", "NO_JOB"),
]);
const mixed = Buffer.concat([
  Buffer.from("status\r\n\n"),
  encode("REQ", "CAN_DO", "wörk"),
  Buffer.from("maxqueue wörk 5\n"),
  encode("REQ", "PRE_SLEEP"),
]);

/** Reads the stream in pieces of the given size. */
function readInPieces(bytes: Buffer, size: number, options: ParserOptions): (Packet | TextLine)[] {
  const parser = new PacketParser(options);
  const items: (Packet | TextLine)[] = [];
  for (let at = 0; at < bytes.length; at += size) items.push(...parser.push(bytes.subarray(at, at + size)));
  assert.equal(parser.idle, true);
  return items;
}

/** The error from pushing these bytes, and the items before it. */
function readToError(bytes: Buffer, options: ParserOptions) {
  const parser = new PacketParser(options);
  const items: (Packet | TextLine)[] = [];
  try {
    for (const item of parser.push(bytes)) items.push(item);
  } catch (error) {
    assert(error instanceof GearmanError);
    assert.throws(() => [...parser.push(Buffer.from([0]))], error, "a broken parser stays broken");
    return { items, error };
  }
  return { items, error: undefined };
}

const show = (items: (Packet | TextLine)[]) =>
  items.map((item) => ("line" in item ? item.line : [item.type, ...item.args.map(String)]));

test("packets come out the same whatever pieces they arrive in", () => {
  const whole = readInPieces(stream, stream.length, { magic: "RES" });
  assert.deepEqual(show(whole), [
    ["NOOP"],
    ["JOB_ASSIGN_UNIQ", "H:box:1", "build:unit", "u1", large.toString()],
    ["JOB_CREATED", "H:box:2"],
    ["WORK_COMPLETE", "H:box:2", ""],
    ["NO_JOB"],
  ]);
  for (const size of [1, 2, 3, 5, 7, 11, 12, 13, 17, 255, 256, 257, 4096]) {
    assert.deepEqual(readInPieces(stream, size, { magic: "RES" }), whole, `pieces of ${size}`);
  }
});

test("text lines and packets share a connection", () => {
  for (const size of [1, 2, 3, 7, 1000]) {
    assert.deepEqual(
      show(readInPieces(mixed, size, { magic: "REQ", text: true })),
      ["status", "", ["CAN_DO", "wörk"], "maxqueue wörk 5", ["PRE_SLEEP"]],
      `pieces of ${size}`,
    );
  }
});

test("packets hold copies: the chunk may be reused", () => {
  const chunk = encode("RES", "JOB_CREATED", "H:box:1");
  const items = [...new PacketParser({ magic: "RES" }).push(chunk)];
  chunk.fill(0);
  assert.deepEqual(show(items), [["JOB_CREATED", "H:box:1"]]);
});

test("garbage is explained and shown, after the items before it", () => {
  const cases: [Buffer, RegExp][] = [
    [
      Buffer.from("HTTP/1.1 400 Bad Request\r\nServer: x"),
      /speaks HTTP: "HTTP\/1\.1 400 Bad Request\\r\\nServer: x"/,
    ],
    [Buffer.from("16030100c0010000bc", "hex"), /speaks TLS \(a handshake\).*"\\x16\\x03\\x01/],
    [Buffer.from("15030100020228", "hex"), /speaks TLS \(an alert\)/],
    [Buffer.from("SSH-2.0-OpenSSH_9.2\r\n"), /speaks SSH/],
    [encode("REQ", "GRAB_JOB"), /sends requests/],
    [Buffer.alloc(100, "z"), /: "z{40}…"$/],
    [Buffer.from('\0RE"\\'), /: "\\x00RE\\"\\\\"$/],
    [Buffer.from("\0RES\0\0\0\x63\0\0\0\0"), /packet type 99/],
    [Buffer.from("\0RES\0\0\0\x0b\0\0\0\x01x"), /JOB_ASSIGN has 1 of its 3 arguments/],
  ];
  for (const [bytes, expected] of cases) {
    const { items, error } = readToError(Buffer.concat([stream, bytes]), { magic: "RES" });
    assert.equal(items.length, 5);
    assert.equal(error?.code, "GARBAGE");
    assert.match(error.message, expected);
  }
});

test("geard's WORK_FAIL with the magic of a request is accepted", () => {
  const items = readInPieces(encode("REQ", "WORK_FAIL", "H:box:1"), 1, { magic: "RES" });
  assert.deepEqual(show(items), [["WORK_FAIL", "H:box:1"]]);
  assert.match(
    readToError(encode("RES", "WORK_FAIL", "h"), { magic: "REQ" }).error?.message ?? "",
    /job server/,
  );
});

test("a wrong magic is explained even when it comes byte by byte", () => {
  const parser = new PacketParser({ magic: "RES" });
  const bytes = encode("REQ", "GRAB_JOB");
  assert.throws(() => {
    for (const byte of bytes) Array.from(parser.push(Buffer.from([byte])));
  }, /sends requests/);
});

test("a TLS handshake isn't taken for a text line", () => {
  const { error } = readToError(Buffer.from("160301000a0a", "hex"), { magic: "REQ", text: true });
  assert.match(error?.message ?? "", /speaks TLS/);
});

test("a packet is refused by its header, before any of its data", () => {
  const header = encode("RES", "WORK_DATA", "h", "12345678").subarray(0, headerSize);
  const { error } = readToError(header, { magic: "RES", maxPacket: 9 });
  assert.equal(error?.code, "TOO_LARGE");
  assert.match(error.message, /10 bytes is over the limit of 9/);
  assert.equal(readToError(header, { magic: "RES", maxPacket: 10 }).error, undefined);
});

test("a line over the limit is refused, with or without its end", () => {
  const options: ParserOptions = { magic: "REQ", text: true, maxLine: 10 };
  assert.deepEqual(show(readInPieces(Buffer.from("0123456789\n"), 3, options)), ["0123456789"]);
  assert.equal(readToError(Buffer.from("0123456789a"), options).error?.code, "TOO_LARGE");
  assert.equal(readToError(Buffer.from("0123456789a\n"), options).error?.code, "TOO_LARGE");
});

test("a truncated packet is no item and no error", () => {
  for (let length = 1; length < 40; length++) {
    const parser = new PacketParser({ magic: "RES" });
    const bytes = encode("RES", "JOB_ASSIGN", "H:box:1", "build:unit", "some data").subarray(0, length);
    assert.deepEqual([...parser.push(bytes)], []);
    assert.equal(parser.idle, false);
  }
});

test("a large packet in a million pieces takes linear time", () => {
  const packet = encode("RES", "WORK_DATA", "h", Buffer.alloc(16 * 1024 * 1024, 1));
  const [item] = readInPieces(packet, 16, { magic: "RES" });
  assert(item && "args" in item);
  assert.equal(item.args[1]?.length, 16 * 1024 * 1024);
});

test("2,000 seeded pieces of garbage: an item or a GearmanError, nothing else", () => {
  const random = seeded(20_130_714);
  for (let round = 0; round < 2000; round++) {
    const bytes = Buffer.from(stream.subarray(0, 200));
    const hits = 1 + Math.floor(random() * 8);
    for (let i = 0; i < hits; i++) bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
    if (round % 2 === 0) for (let i = 0; i < bytes.length; i++) bytes[i] = Math.floor(random() * 256);
    const options: ParserOptions = { magic: "RES", text: round % 3 === 0, maxPacket: 10_000 };
    const { items, error } = readToError(bytes, options);
    if (error) assert.match(error.message, /^[ -~…]+$/, "one printable line");
    const parser = new PacketParser(options);
    const again: (Packet | TextLine)[] = [];
    try {
      for (const byte of bytes) again.push(...parser.push(Buffer.from([byte])));
    } catch (thrown) {
      assert.equal((thrown as GearmanError).code, error?.code, "the same verdict byte by byte");
    }
    assert.deepEqual(again, items);
  }
});

/** A small generator of numbers from 0 to 1 (mulberry32), so that a failure can be repeated. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
