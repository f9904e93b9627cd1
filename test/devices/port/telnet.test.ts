import assert from "node:assert/strict";
import { test } from "node:test";
import {
  encodeData,
  encodeOption,
  encodeSub,
  type TelnetEvent,
  TelnetParser,
} from "#/devices/port/telnet.ts";
import { seeded, seededBytes } from "../../support/random.ts";

function parse(bytes: Uint8Array, size: number, binary = true): TelnetEvent[] {
  const parser = new TelnetParser();
  parser.binary = binary;
  const events: TelnetEvent[] = [];
  for (let from = 0; from < bytes.length; from += size)
    for (const event of parser.push(bytes.subarray(from, from + size))) {
      const last = events.at(-1);
      if (event.kind === "data" && last?.kind === "data")
        events[events.length - 1] = { kind: "data", bytes: Buffer.concat([last.bytes, event.bytes]) };
      else events.push(event.kind === "data" ? { ...event, bytes: Buffer.from(event.bytes) } : event);
    }
  return events;
}

test("data, options and subnegotiations, in chunks of any size", () => {
  const wire = Buffer.concat([
    Buffer.from("log\xff\xffin", "latin1"),
    encodeOption("will", 44),
    encodeSub(44, [101, 0, 255, 194, 0]),
    // NOP and AYT mean nothing here.
    Uint8Array.of(255, 241, 255, 246),
    Buffer.from(": "),
    encodeOption("dont", 1),
  ]);
  const expected = [
    { kind: "data", bytes: Buffer.from("log\xffin", "latin1") },
    { kind: "option", verb: "will", option: 44 },
    { kind: "sub", option: 44, bytes: Uint8Array.of(101, 0, 255, 194, 0) },
    { kind: "data", bytes: Buffer.from(": ") },
    { kind: "option", verb: "dont", option: 1 },
  ];
  for (const size of [1, 2, 3, 5, wire.length]) assert.deepEqual(parse(wire, size), expected);
});

test("all bytes pass in both modes", () => {
  const bytes = seededBytes(seeded(11), 20_000);
  for (const binary of [true, false])
    for (const size of [1, 13, 20_000]) {
      const [event, ...others] = parse(encodeData(bytes, binary), size, binary);
      assert.deepEqual(others, []);
      assert.ok(event?.kind === "data" && Buffer.from(event.bytes).equals(bytes));
    }
});

test("without binary mode, CR is followed by NUL on the wire (RFC 854)", () => {
  assert.deepEqual(encodeData(Buffer.from("ls\r"), false), Uint8Array.from(Buffer.from("ls\r\0")));
  assert.deepEqual(parse(Buffer.from("a\r\nb\r\0c"), 1, false), [
    { kind: "data", bytes: Buffer.from("a\r\nb\rc") },
  ]);
});

test("garbage throws nothing, and the memory it takes is bounded", () => {
  const random = seeded(23);
  const parser = new TelnetParser();
  for (let round = 0; round < 2000; round++) {
    const bytes = seededBytes(random, 200).map((byte) => (byte < 60 ? 255 : byte < 90 ? 250 : byte));
    for (const event of parser.push(bytes)) assert.ok(event.kind !== "sub" || event.bytes.length <= 1024);
  }
});
