/** A device's console as server-sent events: history, live output, and gaps. */
import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { test } from "node:test";
import { lacks } from "../support/parts.ts";
import { bounded, startRawServer } from "../support/servers.ts";
import { EventReader, type SentEvent } from "./event-reader.ts";
import { WebLab } from "./web-lab.ts";

test("a device's console", { skip: lacks("gearmand") }, async (t) => {
  const { promise: plugged, resolve: plug } = Promise.withResolvers<Socket>();
  await using console = await startRawServer(plug);
  await using lab = await WebLab.start(
    `devices: { board: { classes: [boards], console: raw, port: "tcp://127.0.0.1:${console.port}" } }\n`,
  );
  const board = await bounded(plugged);
  const url = `${lab.url}/devices/board/events`;
  board.write("before ü\n");

  await t.test("history, then live output", async () => {
    await using all = await EventReader.open(`${url}?from=0`);
    await all.until(() => all.output.includes("before ü\n"));
    assert.equal(all.events[0]?.event, "state");
    assert.equal(all.events[0]?.data.name, "board");
    await using late = await EventReader.open(url);
    await late.until((events) => events.length > 0);
    board.write(Buffer.from([0x6c, 0x69, 0x76, 0x65, 0xff, 0x0a]));
    await all.until(() => all.output.includes(Buffer.from([0xff, 0x0a])));
    await late.until(() => late.output.length === 6);
    const times = all.events.flatMap(({ data }) => (typeof data.at === "number" ? [data.at] : []));
    assert.ok(times.every((at) => Math.abs(at - Date.now()) < 60_000));
    const { feed } = (await lab.json("/api/devices/board")) as { feed: { start: number; end: number } };
    assert.deepEqual([feed.start, feed.end], [0, all.output.length]);
  });

  await t.test("bytes that are no longer held are reported as a gap", async () => {
    await using watching = await EventReader.open(url);
    await watching.until((events) => events.length > 0);
    board.write("x".repeat(3 * 1024 * 1024));
    const reaches = (end: number) => (events: readonly SentEvent[]) =>
      events.some(({ id }) => Number(id) >= end);
    const end = 16 + 3 * 1024 * 1024;
    await watching.until(reaches(end));
    await using again = await EventReader.open(url, { "last-event-id": "4" });
    await again.until(reaches(end));
    const gap = again.events.find(({ event }) => event === "gap")?.data;
    assert.equal(gap?.from, 4);
    assert.equal(again.output.length, end - Number(gap?.to));
  });

  await t.test("its state when it changes", async () => {
    await using watching = await EventReader.open(url);
    await lab.agent.command("pause", "board");
    await watching.until((events) =>
      events.some(({ event, data }) => event === "state" && data.state === "paused"),
    );
  });

  assert.equal((await lab.get("/devices/none/events")).status, 404);
});
