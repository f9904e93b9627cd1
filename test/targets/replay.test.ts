/** A capture comes back byte by byte, in its order and time. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { type CaptureRecord, encodeHead, encodeRecord } from "#/lib/capture.ts";
import { temporaryFolder } from "../support/servers.ts";
import { startReplay } from "./replay.ts";
import { lacksTarget } from "./target.ts";
import { Wire } from "./wire.ts";

const skip = lacksTarget();
const record = (kind: CaptureRecord["kind"], at: number, text: string): CaptureRecord => ({
  kind,
  at,
  bytes: Buffer.from(text, "latin1"),
});
const records = [
  record("received", 0, "login: "),
  record("sent", 10, "root\r"),
  record("received", 12, "root\r\n\x00\xff# "),
  record("note", 13, "the board lets in"),
  record("sent", 20, "date\r"),
  record("received", 1000, "date\r\nlate\r\n# "),
];

async function capture(folder: string): Promise<string> {
  const path = join(folder, "capture");
  await writeFile(path, Buffer.concat([encodeHead(0), ...records.flatMap(encodeRecord)]));
  return path;
}

test("all of it without a pause, again after each reset", { skip }, async () => {
  await using folder = await temporaryFolder();
  await using target = await startReplay(await capture(folder.path), { speed: Number.POSITIVE_INFINITY });
  using wire = new Wire(target.tty);
  await target.played;
  const all = "login: root\r\n\x00\xff# date\r\nlate\r\n# ";
  assert.equal(await wire.until(/late\r\n# /), all);
  await target.reset();
  assert.equal(await wire.until(/late\r\n# /), all);
});

test("at the times it had, which a higher speed shortens", { skip }, async () => {
  await using folder = await temporaryFolder();
  await using target = await startReplay(await capture(folder.path), { speed: 4, off: true });
  const start = performance.now();
  await target.powerOn();
  await target.played;
  assert.ok(performance.now() - start > 240);
});

test("in step: an answer waits for its question", { skip }, async () => {
  await using folder = await temporaryFolder();
  const options = { inStep: true, speed: Number.POSITIVE_INFINITY };
  await using target = await startReplay(await capture(folder.path), options);
  using wire = new Wire(target.tty);
  await wire.until("login: ");
  await wire.say("rooo");
  await wire.say("\r");
  assert.equal(await wire.until("# "), "root\r\n\x00\xff# ");
  await wire.say("when\r");
  await wire.until("late\r\n# ");
  await target.played;
  assert.equal(target.heard.toString("latin1"), "rooo\rwhen\r");
});
