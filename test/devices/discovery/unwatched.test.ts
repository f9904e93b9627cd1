import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { test } from "node:test";
import { testFolder } from "../../support/folders.ts";
import { lacks } from "../../support/parts.ts";
import { Pty } from "../port/pty.ts";

/** No folder can be watched in there. */
const withoutWatches = ["-Ur", "sh", "-c", 'echo 0 > /proc/sys/user/max_inotify_watches && exec "$@"', "sh"];
const refuses = spawnSync("unshare", [...withoutWatches, "true"]).status !== 0;
const skip = lacks("socat") || (refuses && "NOT TESTED HERE: no user namespaces");

test("where nothing can be watched, a new port is found all the same", { skip }, async () => {
  using folder = testFolder();
  await using pty = new Pty(join(folder.path, "dev"));
  const file = new URL("../port/holder-child.ts", import.meta.url).pathname;
  const command = [process.execPath, "--disable-warning=ExperimentalWarning", file, pty.path];
  const child = spawn("unshare", [...withoutWatches, ...command], { stdio: ["pipe", "pipe", "inherit"] });
  const exited = once(child, "exit");
  try {
    const [absent] = await once(child.stdout, "data");
    assert.match(String(absent), /^absent: no port here has path/);
    await pty.plug();
    const [open] = await once(child.stdout, "data");
    assert.equal(String(open), "open\n");
  } finally {
    child.kill("SIGKILL");
    await exited;
  }
});
