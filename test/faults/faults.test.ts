/** Random builds and random faults: nothing is lost, doubled or left over, and each verdict is the job's own. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { lacksMount } from "../support/folders.ts";
import { lacks } from "../support/parts.ts";
import { scale } from "../support/scale.ts";
import { planOf } from "./plan.ts";
import { playSeeds, replayOf } from "./seeds.ts";

const skip = lacks("gearmand", "gearadmin", "perlGearmand", "faketime") || lacksMount();

/** One of each world, in `npm test`. */
const few = scale([1, 7, 14, 19, 21, 23, 31, 33, 36, 41], []);
for (const seed of few) {
  test(`seed ${seed}: ${planOf(seed).world}`, { skip }, async (t) => {
    const say = (line: string) => t.diagnostic(line);
    const { failed } = await playSeeds(seed, seed, { jobs: 1, again: true, say });
    assert.deepEqual(failed, [], `again: ${replayOf(seed)}`);
  });
}

/** Each shard goes on after the seeds that have passed with these sources. */
const shards = scale(0, 20);
const perShard = 100;
for (let shard = 0; shard < shards; shard++) {
  const [first, last] = [shard * perShard + 1, (shard + 1) * perShard];
  test(`seeds ${first} to ${last}`, { skip, timeout: 3_600_000 }, async (t) => {
    const say = (line: string) => t.diagnostic(line);
    const { failed, resumed } = await playSeeds(first, last, { jobs: 2, again: false, say });
    if (resumed > 0) t.diagnostic(`${resumed} have passed before`);
    assert.deepEqual(failed, []);
  });
}
