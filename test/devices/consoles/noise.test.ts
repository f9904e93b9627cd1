/** Kernel lines, terminal escapes and echoes are taken out of a stream, however it is cut; nothing else is. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { NoiseFilter } from "#/devices/consoles/linux/noise.ts";
import { seeded } from "../../support/random.ts";

/** What is left, fed in pieces of the length, or of odd ones. */
function filtered(text: string, length: number, echo?: string): string {
  const filter = new NoiseFilter();
  filter.echo = echo;
  const random = seeded(length);
  let clean = "";
  for (let from = 0; from < text.length; ) {
    const to = from + (length === 0 ? 1 + random(40) : length);
    clean += filter.feed(text.slice(from, to));
    from = to;
  }
  return clean + filter.flush();
}

const cases: readonly (readonly [name: string, text: string, clean: string])[] = [
  ["a kernel line in the middle", "abc[   12.345678] noise of it\r\ndef\r\n", "abcdef\r\n"],
  ["several, one after the other", "a[    0.000001] x\r\n[12345.678901] y [1.0] z\r\nb\n", "ab\n"],
  ["with the caller's id", "a[   12.345678][   T1] x\r\nb[   12.345678][ C0] y\r\nc", "abc"],
  ["with a level, with and without the time", "a<6>[   12.345678] x\r\nb<3>y\r\nc", "abc"],
  ["escapes of the shell's line", "\x1b[?2004h$ \x1b[6n\x1b[Jls\x1b[0;1;32m\x1b]0;title\x07!\x1b(B", "$ ls!"],
  ["NUL bytes", "a\0b", "ab"],
  [
    "brackets and angles of others",
    "[root@board ~]# a<b> [12] [1.] x<> [ 1.2]y\n",
    "[root@board ~]# a<b> [12] [1.] x<> [ 1.2]y\n",
  ],
  ["what could have become one", "prompt [   12.34", "prompt [   12.34"],
];
for (const [name, text, clean] of cases) {
  test(`noise: ${name}`, () => {
    for (const length of [text.length, 1, 2, 3, 7, 0])
      assert.equal(filtered(text, length), clean, `${length}`);
  });
}

test("noise: our own line comes back as an echo", () => {
  const text = "QUJDkey12345 o abcdef01 0 0\r\nREVGkey1234\r\nkey12345 p\r\nX";
  for (const length of [text.length, 1, 5, 0]) {
    assert.equal(filtered(text, length, "key12345 "), "QUJDREVGkey1234\r\nX", `${length}`);
  }
});

test("noise: ten million bytes of the worst kind take linear time", () => {
  const filter = new NoiseFilter();
  for (const piece of ["[", "[ 1", "\x1b]", "<", "[   12.345678] x\r\n", "[   12.345678] x"]) {
    const chunk = piece.repeat(Math.floor(4096 / piece.length));
    for (let sent = 0; sent < 2_000_000; sent += chunk.length) filter.feed(chunk);
  }
});
