/** What an agent that was killed itself leaves running is ended by the next one. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { openTrees } from "#/runners/trees/trees.ts";
import { type Kind, Lab, lacksKind } from "./lab.ts";

/** An agent in small: one process tree, and a script in it that it waits for. */
const agent = `
import { openTrees } from "#/runners/trees/trees.ts";
import { runHost } from "#/runners/script/run.ts";
import { SweepTrees } from "#/runners/trees/sweep-tree.ts";
import { createHash } from "node:crypto";
const [folder, kind] = process.argv.slice(1);
const id = createHash("sha256").update(folder).digest("hex").slice(0, 16);
const trees = kind === "cgroup" ? await openTrees({ id: folder }) : new SweepTrees({ id, reason: "none wanted" });
await runHost({
  script: "setsid sleep 3600 & echo ready; sleep 3600", scriptFile: folder + "/script", cwd: folder,
  env: { PATH: "/usr/bin:/bin" }, graceMs: 0, limits: {}, name: "lost", trees,
  output: (chunk) => void process.stdout.write(chunk), signal: new AbortController().signal,
});`;

for (const kind of ["cgroup", "sweep"] satisfies Kind[]) {
  test(`${kind}: after kill -9 of the agent the next start ends its builds`, {
    skip: lacksKind(kind),
  }, async () => {
    await using lab = await Lab.open("sweep without subreaper");
    const args = [
      "--input-type=module-typescript",
      "--disable-warning=ExperimentalWarning",
      "-e",
      agent,
      "--",
    ];
    const child = spawn(process.execPath, [...args, lab.folder, kind], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    await once(child.stdout, "data");
    child.kill("SIGKILL");
    await once(child, "exit");
    assert.throws(() => lab.assertNothingLeft(), "the build outlives its agent");
    await using trees = await openTrees({ id: lab.folder });
    const killed = await trees.sweepStale();
    lab.assertNothingLeft();
    // Killed so early, the script's shells may not have become sleep(1) yet.
    assert.ok(
      killed.some(({ command }) => /sleep 3600|\/script$/.test(command)),
      JSON.stringify(killed),
    );
    assert.equal(trees.kind, lacksKind("cgroup") ? "sweep" : "cgroup");
  });
}
