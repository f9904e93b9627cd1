/** Frames come together again with foreign lines in the middle, and what is damaged is no frame. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { checksum } from "#/devices/consoles/linux/checksum.ts";
import { type Answer, AnswerReader } from "#/devices/consoles/linux/framing.ts";
import { seeded, seededBytes } from "../../support/random.ts";

const bytes = seededBytes(seeded(5), 500);
const token = "abcdefgh";

/** As the board sends it. */
function frame(content: Buffer, place = "3:8:1012"): string {
  const header = `${place}:${checksum("cksum", content)}`;
  const lines = content.toString("base64").replace(/.{76}/g, "$&\n");
  return `\n~${token}#${header}\n${lines}\n~${token}.${header}\n`;
}

const whole: Answer = { kind: "frame", token, segment: 3, unit: 8, size: 1012, bytes };

/** The answers, whichever way the text is cut. */
function answers(text: string): Answer[] {
  const read = (length: number) => {
    const reader = new AnswerReader("cksum", "base64");
    const found: Answer[] = [];
    for (let from = 0; from < text.length; from += length) {
      found.push(...reader.feed(text.slice(from, from + length)));
    }
    return found;
  };
  const found = read(text.length);
  for (const length of [1, 7]) assert.deepEqual(read(length), found);
  return found;
}

test("frames: bytes come back as they were, whatever they are", () => {
  assert.deepEqual(answers(frame(bytes)), [whole]);
  assert.deepEqual(answers(frame(bytes).replaceAll("\n", "\r\n")), [whole]);
  const none = Buffer.alloc(0);
  assert.deepEqual(answers(frame(none, "0:0:0")), [
    { kind: "frame", token, segment: 0, unit: 0, size: 0, bytes: none },
  ]);
});

test("frames: hexadecimal, as od prints it", () => {
  const reader = new AnswerReader("md5sum", "hex");
  const header = `0:0:3:${checksum("md5sum", Buffer.from("abc"))}`;
  const found = reader.feed(`~${token}#${header}\n 61 62\n 63\n~${token}.${header}\n`);
  assert.deepEqual(found, [
    { kind: "frame", token, segment: 0, unit: 0, size: 3, bytes: Buffer.from("abc") },
  ]);
});

test("frames: ASCII in eight bits, with other programs' lines anywhere", () => {
  const content = Buffer.from("one\ttwo [1.2] <3>\r\n\0 ~\x7f\n".repeat(20));
  const header = `0:0:${content.length}:${checksum("cksum", content)}`;
  const high = Buffer.from(content.map((byte) => byte | 0x80)).toString("latin1");
  const dense = `\n~${token}=${header}\n${high}\n~${token}.${header}\n`;
  const expected: Answer[] = [
    { kind: "frame", token, segment: 0, unit: 0, size: content.length, bytes: content, isDense: true },
  ];
  assert.deepEqual(answers(dense), expected);
  const from = dense.indexOf("\n", 1) + 1;
  for (let at = from; at <= from + high.length; at += 7) {
    const spoilt = `${dense.slice(0, at)}some daemon: words, and a number 12\r\n${dense.slice(at)}`;
    assert.deepEqual(answers(spoilt), expected, `at ${at}`);
  }
  const sevenBits = dense.replace(/[\x80-\xff]/g, (character) =>
    String.fromCharCode(character.charCodeAt(0) & 0x7f),
  );
  assert.deepEqual(answers(sevenBits), [{ kind: "damaged", token, isDense: true }]);
});

/** As the board's `tr` makes it. */
function withRare(content: Buffer): string {
  const replaced = [0x00, 0x0a, 0x0d, 0x11, 0x13, 0x1b, 0x3c, 0x5b, 0x7e, 0xff];
  const isRare = (byte: number) => byte >= 0xf1 && byte <= 0xfb;
  const letters = String.fromCharCode(...[...content].filter(isRare).map((byte) => byte - 0xf1 + 0x61));
  const text = content.map((byte) => {
    if (isRare(byte)) return 0xfb;
    return replaced.includes(byte) ? 0xf1 + replaced.indexOf(byte) : byte;
  });
  const header = `0:0:${content.length}:${checksum("cksum", content)}`;
  return `\n~${token}+${header}\n${letters}\n${Buffer.from(text).toString("latin1")}\n~${token}.${header}\n`;
}

test("frames: any bytes in eight bits, with another program's line anywhere", () => {
  for (const content of [
    Buffer.from([0xff]),
    Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)),
    Buffer.alloc(100),
    Buffer.alloc(100, 0xfb),
    seededBytes(seeded(8), 500),
  ]) {
    const dense = withRare(content);
    const size = content.length;
    const expected: Answer[] = [
      { kind: "frame", token, segment: 0, unit: 0, size, bytes: content, isDense: true },
    ];
    assert.deepEqual(answers(dense), expected);
    assert.deepEqual(answers(dense.replaceAll("\n", "\r\n")), expected);
    const from = dense.indexOf("\n", dense.indexOf("\n", 1) + 1) + 1;
    for (let at = from; at < dense.lastIndexOf("\n~"); at += 7) {
      const spoilt = `${dense.slice(0, at)}some daemon: words, and a number 12\r\n${dense.slice(at)}`;
      assert.deepEqual(answers(spoilt), expected, `at ${at}`);
    }
    for (let at = 1; at < dense.length - 1; at++) {
      const other =
        dense.slice(0, at) + String.fromCharCode(dense.charCodeAt(at) ^ 0x20) + dense.slice(at + 1);
      for (const answer of answers(other))
        if (answer.kind === "frame")
          assert.deepEqual(answer, { ...expected[0], token: answer.token }, `at ${at}`);
    }
  }
});

test("frames: a foreign line without any mark, in the middle of one or between two", () => {
  const text = frame(bytes);
  for (let at = text.indexOf("\n", 2) + 1; at < text.lastIndexOf("~"); at++) {
    const spoilt = `${text.slice(0, at)}some daemon: words, and a number 12\r\n${text.slice(at)}`;
    assert.deepEqual(answers(spoilt), [whole], `at ${at}`);
  }
});

test("frames: every single damage is found", () => {
  const text = frame(bytes);
  for (let at = 1; at < text.length - 1; at++) {
    const others = [
      text.slice(0, at) + text.slice(at + 1),
      text.slice(0, at) + text[at] + text.slice(at),
      text.slice(0, at) + String.fromCharCode(text.charCodeAt(at) ^ 1) + text.slice(at + 1),
    ];
    for (const spoilt of others) {
      for (const answer of answers(spoilt)) {
        if (answer.kind === "frame") assert.deepEqual(answer, { ...whole, token: answer.token }, `at ${at}`);
      }
    }
  }
});

test("words: both copies have to agree", () => {
  assert.deepEqual(answers("junk~abcdefgh:wait:12:0:wait:12:0\r\n"), [
    { kind: "words", token, words: ["wait", "12", "0"] },
  ]);
  assert.deepEqual(answers("~abcdefgh:wait:12:0:wait:13:0\n~abcdefgh:wait:12\n~abcdefgh:a:b:c\n"), []);
});

test("answers: a flood without line ends, or without an end of the frame, stays bounded", () => {
  const reader = new AnswerReader("cksum", "base64");
  const found: Answer[] = reader.feed(`~${token}#0:0:10:1\n`);
  for (let sent = 0; sent < 1000; sent++) found.push(...reader.feed("x".repeat(10_000)));
  for (let sent = 0; sent < 1000; sent++) found.push(...reader.feed(`${"QUJD".repeat(19)}\n`.repeat(100)));
  assert.deepEqual(found, [{ kind: "damaged", token }]);
});
