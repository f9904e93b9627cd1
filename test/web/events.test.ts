/** Server-sent events: live, history, after a reconnect, and for a slow reader. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { join } from "node:path";
import { test } from "node:test";
import { createGunzip } from "node:zlib";
import { lacks } from "../support/parts.ts";
import { bounded } from "../support/servers.ts";
import { EventReader, type SentEvent } from "./event-reader.ts";
import { WebLab } from "./web-lab.ts";

/** `steps` prints a line for each file that the test creates. */
const yaml = `
jobs:
  steps:
    run: |
      echo begun
      for step in 1 2 3; do
        while [ ! -e "$LABGEAR_ARTIFACTS/$step" ]; do sleep 0.02; done
        printf 'step %s \\303\\274\\n' "$step"
      done
  bytes: { run: "printf 'a\\\\303'; sleep 0.3; printf '\\\\274b\\\\377c\\\\n'" }
  flood: { timeout: 2m, run: 'echo begun; while [ ! -e "$LABGEAR_ARTIFACTS/1" ]; do sleep 0.02; done; seq -w 1 3000000; while [ ! -e "$LABGEAR_ARTIFACTS/2" ]; do sleep 0.02; done' }
host: { executors: 2 }
`;

const outputs = (events: readonly SentEvent[]) => events.filter(({ event }) => event === "output");

test("server-sent events of a console", { skip: lacks("gearmand") }, async (t) => {
  await using lab = await WebLab.start(yaml);
  const go = (job: string, number: number, step: number) =>
    writeFile(join(lab.agent.stateDir, `builds/${job}/${number}/artifacts/${step}`), "");
  const consoleOf = (job: string, number: number) =>
    readFile(join(lab.agent.stateDir, `builds/${job}/${number}/console.log`));

  await t.test("live, and after a reconnect from where it was cut", async () => {
    const build = await lab.submit("steps", "uuid-1");
    await build.said("begun");
    const url = `${lab.url}/builds/steps/1/events`;
    await using all = await EventReader.open(`${url}?from=0`);
    await using late = await EventReader.open(url);
    await all.until((events) => outputs(events).length > 0);
    await late.until((events) => events.length > 0);
    assert.equal(all.response.headers["content-type"], "text/event-stream");
    assert.equal(all.events[0]?.event, "state");
    assert.ok(all.events[0]?.data.running);
    await go("steps", 1, 1);
    await all.until(() => all.output.includes("step 1 ü\n"));
    const last = all.events.findLast(({ id }) => id !== undefined)?.id ?? "";
    await all[Symbol.asyncDispose]();
    await go("steps", 1, 2);
    await late.until(() => late.output.includes("step 2 ü\n"));
    await using again = await EventReader.open(url, { "last-event-id": last });
    await again.until(() => again.output.includes("step 2 ü\n"));
    await go("steps", 1, 3);
    await again.ended();
    await late.ended();
    const whole = await consoleOf("steps", 1);
    assert.deepEqual(Buffer.concat([all.output, again.output]), whole, "nothing is lost or sent twice");
    assert.equal(late.output.toString(), "step 1 ü\nstep 2 ü\nstep 3 ü\n");
    const state = again.events.findLast(({ event }) => event === "state")?.data;
    assert.deepEqual([state?.result, state?.running], ["SUCCESS", undefined]);
    await build.ended;
  });

  await t.test("characters are never split, other bytes are unchanged", async () => {
    const build = await lab.submit("bytes", "uuid-2");
    await build.started;
    await using reader = await EventReader.open(`${lab.url}/builds/bytes/1/events?from=0`);
    await reader.ended();
    assert.deepEqual(reader.output, await consoleOf("bytes", 1));
    assert.deepEqual(reader.output, Buffer.from([0x61, 0xc3, 0xbc, 0x62, 0xff, 0x63, 0x0a]));
    await build.ended;
  });

  await t.test("a finished build: its history with times, and the end", async () => {
    await using reader = await EventReader.open(`${lab.url}/builds/steps/1/events?from=0`);
    await reader.ended();
    assert.deepEqual(reader.output, await consoleOf("steps", 1));
    const times = outputs(reader.events).map(({ data }) => Number(data.at));
    assert.deepEqual(times, times.toSorted());
    assert.ok(times.every((time) => time > 0));
    await using tail = await EventReader.open(`${lab.url}/builds/steps/1/events`, { "last-event-id": "6" });
    await tail.ended();
    assert.equal(tail.output[0], "s".charCodeAt(0));
  });

  await t.test("a slow reader gets a gap event, and no other reader misses anything", async () => {
    const build = await lab.submit("flood", "uuid-3");
    await build.said("begun");
    const url = `${lab.url}/builds/flood/1/events`;
    await using quick = await EventReader.open(`${url}?from=0`);
    await using slow = await EventReader.open(`${url}?from=0`);
    await slow.until((events) => outputs(events).length > 0);
    await quick.until((events) => outputs(events).length > 0);
    slow.response.pause();
    await go("flood", 1, 1);
    await quick.until((events) => Number(events.at(-1)?.id) >= 24_000_006, 80_000);
    slow.response.resume();
    await slow.until((events) => events.some(({ event }) => event === "gap"));
    await go("flood", 1, 2);
    await quick.ended();
    await slow.ended();
    const whole = await consoleOf("flood", 1);
    assert.deepEqual(quick.output, whole);
    // Output and gaps together cover the whole console.
    let at = 0;
    for (const { event, id, data } of slow.events.filter(
      ({ event }) => event === "output" || event === "gap",
    )) {
      assert.equal(event === "gap" ? data.from : data.offset, at);
      if (event === "output") assert.ok(whole.subarray(at, Number(id)).equals(Buffer.from(`${data.text}`)));
      at = Number(id);
    }
    assert.equal(at, whole.length);
    await build.ended;
  });

  await t.test("compressed, as for browsers", async () => {
    const build = await lab.submit("steps", "uuid-5");
    await build.said("begun");
    const sent = request(`${lab.url}/builds/steps/2/events?from=0`, {
      headers: { "accept-encoding": "gzip" },
    });
    const [answer] = await bounded(once(sent.end(), "response"));
    assert.equal(answer.headers["content-encoding"], "gzip");
    let text = "";
    const unpacked = answer.pipe(createGunzip()).setEncoding("utf8");
    // The stream ends without the checksum of a gzip file.
    unpacked.on("error", () => {});
    for (const step of [1, 2, 3]) {
      await go("steps", 2, step);
      while (!text.includes(`step ${step} ü`)) text += (await bounded(once(unpacked, "data")))[0];
    }
    while (!text.includes("event: end\n")) text += (await bounded(once(unpacked, "data")))[0];
    const ids = [...text.matchAll(/^id: (\d+)$/gm)].map(([, id]) => Number(id));
    assert.deepEqual(
      ids,
      ids.toSorted((a, b) => a - b),
    );
    assert.equal(ids.at(-1), (await consoleOf("steps", 2)).length);
    await build.ended;
  });

  await t.test("the overview sends an event when something changes", async () => {
    await using reader = await EventReader.open(`${lab.url}/events`);
    await reader.until((events) => events.length > 0);
    assert.equal(reader.events[0]?.event, "status");
    await lab.run("bytes", "uuid-4");
    await reader.until((events) =>
      events.some(({ data }) => (data.recent as { uuid: string }[]).some(({ uuid }) => uuid === "uuid-4")),
    );
  });
});
