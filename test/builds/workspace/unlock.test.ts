/** What a job has closed to all others is open while it is collected, and closed afterwards as it was. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, lstatSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { execa } from "execa";
import type { CommandTrees } from "#/builds/checkout/git.ts";
import { unlock } from "#/builds/workspace/unlock.ts";
import { lacksRoot } from "../../support/nobody.ts";

/** To be two other users takes root. */
const skip = lacksRoot();
const [job, agent] = [54_322, 54_321];

const as = (uid: number) => [
  "--reuid",
  `${uid}`,
  "--regid",
  `${uid}`,
  "--clear-groups",
  "--bounding-set=-all",
];

/** Commands of the job's user. */
const trees: CommandTrees = {
  create: async () => {
    const children: ReturnType<typeof spawn>[] = [];
    const kill = async () => {
      for (const child of children) child.kill("SIGKILL");
      return { survivors: [] };
    };
    return {
      run: async ({ argv, cwd, env, input }) => {
        const child = spawn("setpriv", [...as(job), ...argv], { cwd, env, stdio: "pipe" });
        children.push(child);
        child.stdin.end(input);
        const ended = once(child, "close").then(([code]) => ({ code: code as number | null }));
        return { stdout: child.stdout, stderr: child.stderr, ended, terminate: async () => {} };
      },
      kill: async () => {
        await Promise.all(children.map((child) => child.exitCode ?? once(child, "close")));
        return kill();
      },
      [Symbol.asyncDispose]: async () => void (await kill()),
    };
  },
};

async function makeWorkspace() {
  const path = mkdtempSync(join(tmpdir(), "labgear-unlock-"));
  const files = { "a/b/c/report": 0o600, "a/b/none": 0, "a/open": 0o644, "beside/key": 0o600, top: 0o600 };
  for (const [file, mode] of Object.entries(files)) {
    mkdirSync(join(path, file, ".."), { recursive: true });
    writeFileSync(join(path, file), file);
    chmodSync(join(path, file), mode);
  }
  symlinkSync("/etc/shadow", join(path, "a/b/link"));
  for (const [folder, mode] of Object.entries({ "a/b/c": 0, "a/b": 0o700, a: 0o711, beside: 0o700 }))
    chmodSync(join(path, folder), mode);
  chmodSync(path, 0o755);
  await execa("chown", ["-R", "-h", `${job}:${job}`, path]);
  const modes = () =>
    [...Object.keys(files), "a/b/c", "a/b", "a", "beside"].map((file) => lstatSync(join(path, file)).mode);
  return { path, modes, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

/** What another user reads there. */
async function read(workspace: string, ...files: string[]): Promise<string[]> {
  const options = { cwd: workspace, reject: false } as const;
  const reads = files.map((file) => execa("setpriv", [...as(agent), "cat", file], options));
  return (await Promise.all(reads)).map(({ stdout }) => stdout);
}

test("what is asked for is opened, with all below, and closed again", { skip }, async () => {
  using workspace = await makeWorkspace();
  const { path, modes } = workspace;
  const before = modes();
  const report = lstatSync(join(path, "a/b/c/report"), { bigint: true });
  const shadow = lstatSync("/etc/shadow").mode;
  {
    await using unlocked = await unlock(trees, path, ["a/b", "top", "missing/file"]);
    const wanted = ["a/b/c/report", "a/b/none", "a/open", "top"];
    assert.deepEqual(await read(path, ...wanted), wanted);
    assert.deepEqual(await read(path, "beside/key"), [""], "nothing else");
    assert.equal(unlocked.changed.get(report.ino), report.ctimeNs);
  }
  assert.deepEqual(modes(), before);
  assert.deepEqual(await read(path, "a/b/c/report", "top"), ["", ""]);
  assert.equal(lstatSync("/etc/shadow").mode, shadow);
});

test("a folder is opened for files that come from a board", { skip }, async () => {
  using workspace = await makeWorkspace();
  const { path, modes } = workspace;
  const before = modes();
  {
    await using _ = await unlock(trees, path, ["a/b/c/report", "a/b/new"], { what: "write" });
    await execa("setpriv", [...as(agent), "sh", "-c", "echo >> a/b/c/report; echo > a/b/new"], { cwd: path });
  }
  assert.deepEqual(modes(), before);
});
