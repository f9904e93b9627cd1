/** A build can be followed for days: what is kept doesn't grow with its events. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { ShownConsole } from "#/cli/build/console.ts";
import { followBuild } from "#/cli/build/follow.ts";
import type { JobEvent } from "#/gearman/client/client.ts";

setFlagsFromString("--expose-gc");
const gc: () => void = runInNewContext("gc");

const events = 200_000;

test("following 200,000 events keeps nothing of them", async () => {
  const heap: number[] = [];
  async function* progress(): AsyncGenerator<JobEvent> {
    for (let count = 0; count <= events; count++) {
      if (count % (events / 2) === 0) {
        gc();
        heap.push(process.memoryUsage().heapUsed);
      }
      yield { type: "status", numerator: 1, denominator: 100 };
    }
  }
  const renderer = { show() {}, [Symbol.dispose]() {} };
  const console = new ShownConsole({ show() {}, warn() {}, results: async () => undefined });
  await followBuild(progress(), { renderer, console, stop: async () => "stopping" });
  const [, half = 0, all = 0] = heap;
  // A reaction on a promise that stays is some 100 bytes, so 10 MB for the second half.
  assert.ok(all - half < 2_000_000, `the heap grew from ${half} to ${all} bytes`);
});
