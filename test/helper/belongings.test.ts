/** What the helper gives to users of builds, and takes from them; and what it leaves as it is, whatever it is asked for. */
import assert from "node:assert/strict";
import { once } from "node:events";
import {
  chownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { handOver, measureTree, ownTree } from "#/helper/belongings.ts";
import { loadKernel } from "#/helper/kernel.ts";
import { lacksRoot } from "../support/nobody.ts";

/** Owners are changed by root. */
const skip = lacksRoot();
const agent = { uid: 54_321, gid: 54_321 };
const user = { uid: 54_322, gid: 54_322 };
const other = { uid: 54_323, gid: 54_323 };

/** The agent's folders, and beside them one of root's. */
function makeFolders() {
  const base = mkdtempSync(join(tmpdir(), "labgear-belongings-"));
  const [stateDir, runtimeDir, roots] = ["state", "run", "roots"].map((name) => join(base, name)) as [
    string,
    string,
    string,
  ];
  mkdirSync(join(roots, "a"), { recursive: true });
  writeFileSync(join(roots, "file"), "");
  for (const folder of [
    ...["workspaces/0/job", "builds/job/1/artifacts", "caches/0/job/lab/c", "scratch/job.1/home"],
    ...["inputs/builds/job.1", "mirrors/lab/x/0.git"],
  ])
    mkdirSync(join(stateDir, folder), { recursive: true });
  mkdirSync(join(runtimeDir, "secrets/job.1"), { recursive: true });
  for (const file of ["state/builds/job/1/script", "state/inputs/builds/job.1/app", "run/secrets/job.1/KEY"])
    writeFileSync(join(base, file), "");
  const owner = (path: string) => {
    const { uid, gid } = lstatSync(path);
    return `${uid}:${gid}`;
  };
  const everything = async (to = agent) => {
    for (const folder of [stateDir, runtimeDir]) await chownAll(folder, to);
  };
  return {
    ...{ stateDir, runtimeDir, roots, owner, everything },
    [Symbol.dispose]: () => rmSync(base, { recursive: true, force: true }),
  };
}

async function chownAll(folder: string, { uid, gid }: typeof agent): Promise<void> {
  const { execa } = await import("execa");
  await execa("chown", ["-R", "-h", `${uid}:${gid}`, folder]);
}

test("what a build has becomes its user's and the agent's again", { skip }, async () => {
  using folders = makeFolders();
  const { stateDir, runtimeDir, owner } = folders;
  await folders.everything();
  const kernel = loadKernel();
  const paths = [
    ...["workspaces/0/job", "builds/job/1/artifacts", "builds/job/1/script", "caches/0/job/lab/c"],
    ...["scratch/job.1/home", "inputs/builds/job.1/app", "mirrors/lab/x/0.git"],
  ].map((path) => join(stateDir, path));
  paths.push(join(runtimeDir, "secrets/job.1/KEY"));
  const executor = join(stateDir, "workspaces/0");
  handOver(kernel, folders, [executor, ...paths], { from: [agent, user], to: user });
  for (const path of paths) assert.equal(owner(path), "54322:54322", path);
  assert.equal(owner(executor), "54321:54322", "only its group");
  // Once more, as a second script of a build does.
  handOver(kernel, folders, paths, { from: [agent, user], to: user });
  rmSync(paths[2] as string);
  handOver(kernel, folders, paths, { from: [agent, user], to: { uid: agent.uid, gid: -1 } });
  for (const path of paths.toSpliced(2, 1)) assert.equal(owner(path), "54321:54322", path);
});

test("nothing else is given away", { skip }, async () => {
  using folders = makeFolders();
  const { stateDir, runtimeDir, roots, owner } = folders;
  await folders.everything();
  const at = (path: string) => join(stateDir, path);
  symlinkSync(roots, at("workspaces/0/link"));
  symlinkSync(roots, at("workspaces/1"));
  symlinkSync(join(roots, "file"), at("builds/job/1/link"));
  symlinkSync("/proc/self/root", at("builds/job/1/magic"));
  linkSync(join(roots, "file"), at("builds/job/1/hard"));
  mkdirSync(at("workspaces/0/roots"));
  mkdirSync(at("workspaces/0/others"));
  chownSync(at("workspaces/0/others"), other.uid, other.gid);
  const kernel = loadKernel();
  const refused = [
    ...["workspaces/0/link", "workspaces/1/a", "workspaces/0/roots", "workspaces/0/others"].map(at),
    ...["builds/job/1/link", "builds/job/1/magic", "builds/job/1/hard"].map(at),
    ...["", "builds", "builds/job", "builds/job/1", "workspaces", "scratch/job.1", "state.json"].map(at),
    ...["workspaces/0/..", "workspaces/../../roots", "workspaces/0/../../../roots/a"].map(
      (p) => `${stateDir}/${p}`,
    ),
    ...[join(roots, "a"), runtimeDir, join(runtimeDir, "control.sock"), "/etc/passwd", "workspaces/0/job"],
  ];
  for (const path of refused) {
    const give = () => handOver(kernel, folders, [path], { from: [agent, user], to: user });
    assert.throws(give, { code: "REFUSED" }, path);
    const own = () => ownTree(folders, path, { from: [agent, user], to: user, isAgent: false });
    assert.throws(own, { code: "REFUSED" }, path);
  }
  for (const path of ["", "a", "file"]) assert.equal(owner(join(roots, path)), "0:0", path);
  assert.equal(owner("/etc/passwd"), "0:0");
});

test("a tree changes hands file by file: links aren't followed, and root's stay root's", {
  skip,
}, async () => {
  using folders = makeFolders();
  const { stateDir, roots, owner } = folders;
  const top = join(stateDir, "workspaces/0/.old-1");
  mkdirSync(join(top, "deep/er"), { recursive: true });
  writeFileSync(join(top, "deep/file"), "");
  await folders.everything(user);
  symlinkSync(roots, join(top, "deep/link"));
  mkdirSync(join(top, "roots"));
  writeFileSync(join(top, "roots/file"), "");
  linkSync(join(roots, "file"), join(top, "deep/hard"));
  mkdirSync(join(top, "others"));
  chownSync(join(top, "others"), other.uid, other.gid);
  chownSync(join(top, "deep"), user.uid, user.gid);
  const parts = { from: [agent, user], to: agent, isAgent: true };
  const [code] = await once(ownTree(folders, top, parts), "close");
  assert.equal(code, 0);
  for (const path of ["", "deep", "deep/er", "deep/file"])
    assert.equal(owner(join(top, path)), "54321:54321", path);
  for (const path of ["roots", "roots/file", "deep/hard"]) assert.equal(owner(join(top, path)), "0:0", path);
  assert.equal(owner(join(top, "others")), "54323:54323");
  for (const path of ["", "a", "file"]) assert.equal(owner(join(roots, path)), "0:0", path);
});

test("a folder is measured, also where only its user gets in, and nothing beside it", { skip }, async () => {
  using folders = makeFolders();
  const { stateDir, roots } = folders;
  const top = join(stateDir, "scratch/job.1");
  mkdirSync(join(top, "home/deep"), { mode: 0o700 });
  writeFileSync(join(top, "home/deep/file"), Buffer.alloc(1_000_000, 1));
  writeFileSync(join(roots, "large"), Buffer.alloc(1_000_000, 1));
  await folders.everything(user);
  symlinkSync(roots, join(top, "home/link"));
  const child = measureTree(folders, top);
  const [output] = await Promise.all([text(child.stdout as Readable), once(child, "close")]);
  const [bytes = 0, inodes] = output.split(" ").map(Number);
  assert.ok(bytes >= 1_000_000 && bytes < 1_500_000, output);
  assert.equal(inodes, 4);
  for (const path of [stateDir, roots, join(stateDir, "scratch/..")])
    assert.throws(() => measureTree(folders, path), { code: "REFUSED" }, path);
});
