/** Where nothing helps, neither a control group nor the kernel's adoption, a stray process is at least named. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Strangers } from "#/runners/trees/remains.ts";
import { processesMarked } from "../../support/processes.ts";
import { all } from "./artists.ts";
import { Lab } from "./lab.ts";

test("sweep without subreaper: what can't be reached is named in the record", async () => {
  await using lab = await Lab.open("sweep without subreaper");
  const reportStrangers = new Strangers().watch(lab.folder);
  const ending = await lab.run(`mkfifo untraceable\n${all}\nread _ <untraceable || exit 0`).ending;
  const stray = processesMarked(lab.marker);
  try {
    assert.equal(stray.length, 1, "the one without any trace");
    const pid = Number.parseInt(stray[0] ?? "", 10);
    assert.deepEqual(ending.survivors, []);
    assert.match(
      (await reportStrangers([])).join("\n"),
      new RegExp(`process ${pid} \\(/usr/bin/perl .*works in the workspace`),
    );
  } finally {
    for (const line of stray) process.kill(Number.parseInt(line, 10), "SIGKILL");
  }
});
