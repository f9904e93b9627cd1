import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { WatchedBox } from "#/agent/box-health.ts";
import { Housekeeping } from "#/agent/housekeeping.ts";
import { Nodes } from "#/agent/nodes/node.ts";
import { Mirrors } from "#/builds/checkout/mirrors.ts";
import { InputCache } from "#/builds/inputs/cache.ts";
import { BuildStore } from "#/builds/store.ts";
import type { Config } from "#/config/model.ts";
import type { Log } from "#/lib/log.ts";
import { testFolder } from "../support/folders.ts";

test("a look that fails is logged once, and the looks after it go on", async () => {
  using folder = testFolder();
  const errors: string[] = [];
  const ignore = () => {};
  const error = (_: object, text: string) => void errors.push(text);
  const log: Log = { debug: ignore, info: ignore, warn: ignore, error, child: () => log };
  const { store: builds } = await BuildStore.open({
    folder: join(folder.path, "builds"),
    nextNumber: (_, floor) => floor + 1,
    url: () => "",
  });
  await using nodes = new Nodes();
  nodes.hold("disk", "not checked yet");
  let fails = true;
  const config = () => {
    if (fails) throw new Error("EIO: i/o error, scandir");
    return { builds: { minFreeBytes: 1, keep: 1, keepDays: 1 }, historyMs: 86_400_000 } as Config;
  };
  const boxHealth = new WatchedBox(folder.path, { saveRest() {} }, nodes, log);
  await using mirrors = new Mirrors(folder.path);
  const inputs = await InputCache.open(join(folder.path, "inputs"), () => 0);
  const options = { config, stateDir: folder.path, builds, mirrors, inputs, nodes, boxHealth, log };
  await using housekeeping = new Housekeeping(options);
  await housekeeping.round();
  await housekeeping.round();
  assert.deepEqual(errors, [
    "removing old builds failed: EIO: i/o error, scandir",
    "keeping space free failed: EIO: i/o error, scandir",
  ]);
  assert.equal(nodes.isHeld("disk"), true);
  fails = false;
  await housekeeping.round();
  assert.equal(nodes.isHeld("disk"), false);
});
