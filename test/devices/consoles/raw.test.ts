/** A raw console has nothing to run commands at. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { RawConsole } from "#/devices/consoles/raw.ts";
import { play } from "./play.ts";

test("a raw console is there at once, and runs nothing", () => {
  const silent = { write: () => assert.fail("nothing is to be typed"), say: () => "" };
  const raw = new RawConsole();
  assert.equal(play(raw.enter(), silent, 1).took, 0);
  assert.equal(play(raw.interrupt(), silent, 1).value, true);
  assert.throws(() => play(raw.run(), silent, 1), {
    reason: "mismatch",
    message: /use steps with send and expect/,
  });
});
