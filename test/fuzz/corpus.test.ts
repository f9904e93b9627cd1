/** The inputs that the fuzzer starts from, and those that it has found: each decoder takes or refuses them, and all others. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { seeded, seededBytes } from "../support/random.ts";
import { targets } from "./targets.ts";

const corpus = new URL("corpus", import.meta.url).pathname;

/** A few of each, damaged at random: chance that is the same in every run. */
function damaged(bytes: Buffer, random: (bound: number) => number): Buffer {
  const copy = Buffer.from(bytes);
  for (let count = random(4); count >= 0 && copy.length > 0; count--) copy[random(copy.length)] = random(256);
  return random(3) === 0 ? copy.subarray(0, random(copy.length + 1)) : copy;
}

test("every target has inputs", () => {
  assert.deepEqual(readdirSync(corpus).toSorted(), Object.keys(targets).toSorted());
});

for (const [name, target] of Object.entries(targets)) {
  test(name, async () => {
    const random = seeded(7);
    for (const file of readdirSync(join(corpus, name))) {
      const bytes = readFileSync(join(corpus, name, file));
      await target(bytes);
      for (let count = 0; count < 20; count++) await target(damaged(bytes, random));
      await target(seededBytes(random, 50));
    }
  });
}
