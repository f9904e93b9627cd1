/** Durations, sizes and shares: what is read, what is refused, and that what we write can be read. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  formatDuration,
  formatElapsed,
  formatSeconds,
  formatSize,
  parseDuration,
  parseShare,
  parseSize,
} from "#/lib/units.ts";

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
    "59s999ms",
    "2m5s",
    "1h30m",
    "1d1h1m1s",
  ]);
  for (const ms of [0, 1, 999, 1001, 1500, 59_999, 60_000, 3_599_000, 86_399_999, 123_456_789])
    assert.equal(parseDuration(formatDuration(ms)), ms);
  assert.deepEqual([499, 59_999, 90_499].map(formatSeconds), ["0s", "1m", "1m30s"]);
});

test("measured durations", () => {
  const elapsed = {
    "0 ms": -5,
    "850 ms": 850.4,
    "12.3 s": 12_345,
    "59.9 s": 59_940,
    "1 min 00 s": 59_960,
    "4 min 05 s": 245_000,
    "3 h 07 min": 11_220_000,
    "2 d 4 h": 187_200_000,
  };
  for (const [text, ms] of Object.entries(elapsed)) assert.equal(formatElapsed(ms), text);
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
