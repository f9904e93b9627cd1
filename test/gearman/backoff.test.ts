/** The delays between tries to connect. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { GearmanError, type GearmanErrorCode } from "#/gearman/wire/errors.ts";
import { Backoff } from "#/gearman/worker/backoff.ts";

const reason = (code: GearmanErrorCode) => new GearmanError(code, "as the test says");

test("the ceiling doubles from 0.1 s to 30 s, and starts over after a stable connection", () => {
  const backoff = new Backoff(() => 1);
  const ceilings = Array.from({ length: 12 }, () => {
    backoff.down(0, reason("UNREACHABLE"));
    return backoff.next();
  });
  assert.deepEqual(ceilings, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000, 30_000]);
  backoff.up(1000);
  backoff.down(31_000, reason("CLOSED"));
  assert.equal(backoff.next(), 100);
});

test("the delay is anywhere between 0 and the ceiling", () => {
  const numbers = [0, 0.5, 0.25];
  const backoff = new Backoff(() => numbers.shift() ?? 0);
  assert.deepEqual([backoff.next(), backoff.next(), backoff.next()], [0, 100, 100]);
});

test("it stays at 30 s", () => {
  const backoff = new Backoff(() => 0.5);
  for (let i = 0; i < 5000; i++) backoff.next();
  assert.equal(backoff.next(), 15_000);
});

/** The ceilings after connections that ended for these reasons, each soon after its registration. */
function ceilings(codes: readonly GearmanErrorCode[]): number[] {
  const backoff = new Backoff(() => 1);
  return codes.map((code, index) => {
    backoff.up(index);
    backoff.down(index, reason(code));
    return backoff.next();
  });
}

test("a server that keeps restarting is retried within a second", () => {
  assert.deepEqual(ceilings(Array(6).fill("CLOSED")), [200, 400, 800, 800, 800, 800]);
});

test("a server that keeps sending garbage is retried ever more slowly", () => {
  const all = ceilings(Array(12).fill("GARBAGE"));
  assert.deepEqual(all, [200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000, 30_000, 30_000]);
  assert.deepEqual(ceilings(["TOO_LARGE", "GARBAGE", "CLOSED", "GARBAGE"]), [200, 400, 800, 1600]);
});
