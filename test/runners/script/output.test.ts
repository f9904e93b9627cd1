/** What is in the pipe when a job has ended is read, however late this process gets to it. */
import assert from "node:assert/strict";
import { closeSync, openSync, writeSync } from "node:fs";
import { test } from "node:test";
import { OutputPipe } from "#/runners/script/output.ts";

/** Nothing else of this process happens meanwhile. */
function stall(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

test("a stall as long as the silence that is waited for loses nothing", async () => {
  using pipe = await OutputPipe.open();
  let text = "";
  const reading = pipe.read((chunk) => {
    text += chunk.toString();
  });
  pipe.finish();
  writeSync(pipe.writer, "the last line\n");
  pipe.closeWriter();
  stall(1500);
  await reading;
  assert.equal(text, "the last line\n");
});

test("a writer that stays is given up, also when the consumer was slow before", async () => {
  using pipe = await OutputPipe.open();
  const survivor = openSync(`/proc/self/fd/${pipe.writer}`, "w");
  try {
    let text = "";
    const taken = Promise.withResolvers<void>();
    const finished = Promise.withResolvers<void>();
    writeSync(pipe.writer, "one\n");
    pipe.closeWriter();
    const reading = pipe.read(async (chunk) => {
      text += chunk.toString();
      taken.resolve();
      await finished.promise;
      // The silence is over while this one is still busy.
      await new Promise((resolve) => setTimeout(resolve, 1500));
    });
    await taken.promise;
    pipe.finish();
    finished.resolve();
    await reading;
    assert.equal(text, "one\n");
  } finally {
    closeSync(survivor);
  }
});
