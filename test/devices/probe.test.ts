/** What a probe hears of the output from before it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Ring } from "#/devices/port/ring.ts";
import { recently } from "#/devices/probe.ts";

test("a restarted board's earlier output, its panic too, isn't heard by the probe", () => {
  const ring = new Ring();
  ring.append(Buffer.from("[   12.0] Kernel panic - not syncing: VFS\r\n"), Date.now());
  const bootedFrom = ring.end;
  for (const isBooting of [true, false]) assert.equal(recently({ ring }, bootedFrom, isBooting), bootedFrom);
  ring.append(Buffer.from("U-Boot 2023.01\r\nboard login: "), Date.now());
  for (const isBooting of [true, false]) assert.equal(recently({ ring }, bootedFrom, isBooting), bootedFrom);
});

test("without a restart, the latest seconds and an unfinished last line are heard", () => {
  const ring = new Ring();
  ring.append(Buffer.from("old\r\n"), Date.now() - 60_000);
  const lastLine = ring.end;
  ring.append(Buffer.from("board login: "), Date.now() - 50_000);
  assert.equal(recently({ ring }, 0, false), lastLine);
  ring.append(Buffer.from("\r\nnow\r\n"), Date.now());
  assert.equal(recently({ ring }, 0, false), lastLine);
});
