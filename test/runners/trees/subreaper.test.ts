/** Orphans come to us and are reaped, and Node's own children are left to Node. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { test } from "node:test";
import { readStat } from "#/host/proc.ts";
import { loadSystemCalls } from "#/host/syscalls.ts";
import { Subreaper } from "#/runners/trees/subreaper.ts";
import { patienceMs } from "../../support/servers.ts";

test("an orphan is adopted, and reaped when it ends", async () => {
  using subreaper = await Subreaper.become(loadSystemCalls());
  assert.ok(subreaper);
  const child = spawn("/bin/sh", ["-c", "sleep 3600 >/dev/null 2>&1 & echo $!"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = once(child, "exit");
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  await exited;
  const orphan = readStat(Number(line));
  assert.ok(orphan);
  assert.equal(subreaper.isAdopted(orphan), true);
  const own = spawn("sleep", ["3600"]);
  await once(own, "spawn");
  const ownStat = readStat(own.pid ?? 0);
  assert.ok(ownStat);
  assert.equal(subreaper.isAdopted(ownStat), false);
  process.kill(orphan.pid, "SIGKILL");
  own.kill();
  assert.deepEqual(await once(own, "exit"), [null, "SIGTERM"]);
  // Each end of a child of ours brings another look at the zombies.
  const giveUp = AbortSignal.timeout(patienceMs);
  while (existsSync(`/proc/${orphan.pid}`) && !giveUp.aborted) await once(spawn("true"), "exit");
  assert.equal(existsSync(`/proc/${orphan.pid}`), false);
});

test("no exit of a child of ours is stolen, however many end at once", async () => {
  using subreaper = await Subreaper.become(loadSystemCalls());
  assert.ok(subreaper);
  const codes = Array.from({ length: 300 }, (_, i) => i % 200);
  const ends = codes.map(async (code) => (await once(spawn("/bin/sh", ["-c", `exit ${code}`]), "exit"))[0]);
  assert.deepEqual(await Promise.all(ends), codes);
});
