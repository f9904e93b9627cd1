/** Waiting between tries to connect. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Backoff } from "#/gearman/backoff.ts";

test("the ceiling doubles from 0.1 s to 30 s, and starts over after a reset", () => {
  const backoff = new Backoff(() => 1);
  const ceilings = Array.from({ length: 12 }, () => backoff.next());
  assert.deepEqual(ceilings, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000, 30_000]);
  backoff.reset();
  assert.equal(backoff.next(), 100);
});

test("the delay is anywhere from nothing to the ceiling", () => {
  const numbers = [0, 0.5, 0.25];
  const backoff = new Backoff(() => numbers.shift() ?? 0);
  assert.deepEqual([backoff.next(), backoff.next(), backoff.next()], [0, 100, 100]);
});

test("it stays at 30 s for as long as it takes", () => {
  const backoff = new Backoff(() => 0.5);
  for (let i = 0; i < 5000; i++) backoff.next();
  assert.equal(backoff.next(), 15_000);
});
