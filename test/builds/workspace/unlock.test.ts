/** What a job has closed to all others is open while it is collected, and closed afterwards as it was. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, lstatSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
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

/** In a PID namespace of its own, whose next PID is the count of its processes. */
const counted = ["--pid", "--fork", "--kill-child", "sh", "-c", '"$@"; sh -c "echo \\$\\$" >&2', "sh"];

/** Commands of the job's user. */
function makeTrees(onOutput = () => {}) {
  let processes = 0;
  const create: CommandTrees["create"] = async () => {
    const children: ReturnType<typeof spawn>[] = [];
    const kill = async () => {
      for (const child of children) child.kill("SIGKILL");
      return { survivors: [] };
    };
    return {
      run: async ({ argv, cwd, env, input }) => {
        const child = spawn("unshare", [...counted, "setpriv", ...as(job), ...argv], {
          ...{ cwd, env },
          stdio: "pipe",
        });
        children.push(child);
        child.stdin.on("error", () => {}).end(input);
        child.stderr.on("data", (text) => {
          processes += Number(/^(\d+)\n$/m.exec(`${text}`)?.[1] ?? 0);
        });
        const ended = once(child, "close").then(([code]) => ({ code: code as number | null }));
        const stdout = new PassThrough();
        child.stdout.once("data", onOutput).pipe(stdout);
        return { stdout, stderr: child.stderr, ended, terminate: async () => {} };
      },
      kill,
      [Symbol.asyncDispose]: async () => void (await kill()),
    };
  };
  return {
    create,
    get processes() {
      return processes;
    },
  };
}

const trees = makeTrees();

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

/** As a job with umask 077 leaves them. */
async function makeMany(count: number) {
  const path = mkdtempSync(join(tmpdir(), "labgear-unlock-"));
  const names = Array.from({ length: count }, (_, at) => `out/${at % 100}/it's file ${at}`);
  for (let at = 0; at < 100; at++) mkdirSync(join(path, `out/${at}`), { recursive: true });
  for (const name of names) writeFileSync(join(path, name), "", { mode: 0o600 });
  for (let at = 0; at < 100; at++) chmodSync(join(path, `out/${at}`), at === 7 ? 0o200 : 0o700);
  for (const folder of [path, join(path, "out")]) chmodSync(folder, 0o755);
  await execa("chown", ["-R", "-h", `${job}:${job}`, path]);
  // After it has its owner, which takes the bit away.
  chmodSync(join(path, names[0] ?? ""), 0o4700);
  const modes = () => names.map((name) => lstatSync(join(path, name)).mode & 0o7777);
  const folders = () => Array.from({ length: 100 }, (_, at) => lstatSync(join(path, `out/${at}`)).mode);
  const all = () => [...modes(), ...folders()];
  return { path, names, modes, all, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

test("few processes open and close many files, under a folder or each by its name", { skip }, async () => {
  using workspace = await makeMany(20_000);
  const { path, names, modes, all } = workspace;
  const before = all();
  for (const paths of [["out"], names]) {
    const many = makeTrees();
    {
      await using unlocked = await unlock(many, path, paths);
      assert.equal(unlocked.changed.size, names.length + 100);
      assert.deepEqual(new Set(modes()), new Set([0o4704, 0o604]));
    }
    assert.deepEqual(all(), before);
    assert.ok(many.processes > 0 && many.processes < 200, `${many.processes} processes`);
  }
});

test("a stop while files are opened ends it, and closes what was open", { skip }, async () => {
  using workspace = await makeMany(2000);
  const { path, all } = workspace;
  const before = all();
  const stop = new AbortController();
  {
    await using _ = await unlock(
      makeTrees(() => stop.abort()),
      path,
      ["out"],
      { signal: stop.signal },
    );
  }
  assert.ok(stop.signal.aborted);
  assert.deepEqual(all(), before);
  const after = makeTrees();
  {
    await using _ = await unlock(after, path, ["out"], { signal: stop.signal });
    assert.deepEqual(all(), before);
  }
  assert.equal(after.processes, 0);
});
