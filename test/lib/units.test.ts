/** Durations, sizes and shares: what is read, what is refused, and that what we write can be read. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { formatDuration, formatSize, parseDuration, parseShare, parseSize } from "#/lib/units.ts";

test("durations", () => {
  const good = {
    "30m": 1_800_000,
    "10s": 10_000,
    "2h": 7_200_000,
    "1h30m": 5_400_000,
    "500ms": 500,
    "1d": 86_400_000,
  };
  for (const [text, milliseconds] of Object.entries(good))
    assert.equal(parseDuration(text), milliseconds, text);
  assert.equal(parseDuration("0s"), 0);
  for (const text of [
    "",
    "soon",
    "30",
    "30 m",
    "-3s",
    "1.5h",
    "30m1h",
    "1h1h",
    "1e3s",
    "3S",
    "9".repeat(20),
    `${"9".repeat(30)}d`,
  ]) {
    assert.equal(parseDuration(text), undefined, text);
  }
});

test("durations are written so that they can be read", () => {
  assert.deepEqual([0, 350, 1000, 59_999, 125_000, 5_400_000, 90_061_000].map(formatDuration), [
    "0s",
    "350ms",
    "1s",
    "1m",
    "2m5s",
    "1h30m",
    "1d1h1m1s",
  ]);
  for (const seconds of [1, 59, 60, 61, 3599, 3600, 86_399, 86_400, 123_456]) {
    assert.equal(parseDuration(formatDuration(seconds * 1000)), seconds * 1000);
  }
});

test("sizes", () => {
  const good = {
    "2GiB": 2 ** 31,
    "256MiB": 2 ** 28,
    "4GB": 4e9,
    "1.5KiB": 1536,
    "12": 12,
    "12B": 12,
    "3kB": 3000,
    "0": 0,
  };
  for (const [text, bytes] of Object.entries(good)) assert.equal(parseSize(text), bytes, text);
  for (const text of [
    "",
    "2G",
    "2 GiB",
    "-1",
    "1.5",
    "1.5B",
    ".5GiB",
    "0x10",
    "2gib",
    "constructor",
    "9000000TiB",
  ]) {
    assert.equal(parseSize(text), undefined, text);
  }
});

test("sizes are written so that they can be read", () => {
  const bytes = [0, 512, 1023, 1024, 1536, 2 ** 20 - 1, 2 ** 20, 2 ** 31, 5 * 2 ** 40, 3000 * 2 ** 40];
  assert.deepEqual(bytes.map(formatSize), [
    "0B",
    "512B",
    "1023B",
    "1KiB",
    "1.5KiB",
    "1MiB",
    "1MiB",
    "2GiB",
    "5TiB",
    "3000TiB",
  ]);
  for (const size of bytes) assert.ok(parseSize(formatSize(size)) !== undefined, String(size));
});

test("shares of a processor", () => {
  assert.deepEqual(["200%", "50%", "1%"].map(parseShare), [2, 0.5, 0.01]);
  for (const text of ["0%", "2", "200 %", "-5%", "%", "1.5%"])
    assert.equal(parseShare(text), undefined, text);
});
