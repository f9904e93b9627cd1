/**
 * A process of another user swaps files, links and folders in a build's trees as fast as it can while the agent, here root, works
 * on them: nothing outside is created, changed, given away or read.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { collectArtifacts } from "#/builds/artifacts.ts";
import { readJunit } from "#/builds/junit.ts";
import { makeFolders } from "#/builds/workspace/files.ts";
import { emptyFolder, removeTree } from "#/builds/workspace/remove.ts";
import { testFolder } from "../support/folders.ts";
import { lacksRoot } from "../support/nobody.ts";
import { seeded } from "../support/random.ts";
import { scale } from "../support/scale.ts";

const rounds = scale(300, 10_000);
const seed = 20261129;

/** Runs until it is killed. */
const adversary = `
const fs = require("node:fs");
const { join } = require("node:path");
const [outside, ...roots] = process.argv.slice(1);
let state = ${seed};
const pick = (list) => list[(state = (Math.imul(state, 1103515245) + 12345) >>> 0, state >>> 8) % list.length];
const names = ["out", "out/x.xml", "out/sub", "out/sub/x.xml", "a", "a/b", "a/b/c", "link"];
const path = () => join(pick(roots), pick(names));
const acts = [
  (at) => fs.symlinkSync(outside, at),
  (at) => fs.symlinkSync(join(outside, "secret.xml"), at),
  (at) => fs.symlinkSync("../../../outside", at),
  (at) => fs.mkdirSync(at, { recursive: true }),
  (at) => fs.writeFileSync(at, "<testsuite><testcase name='own'/></testsuite>"),
  (at) => fs.renameSync(path(), at),
  (at) => fs.rmSync(at, { recursive: true, force: true }),
  (at) => fs.unlinkSync(at),
];
console.log("started");
for (;;) {
  try { pick(acts)(path()); } catch {}
}
`;

test(`${rounds} rounds of an adversary, seed ${seed}`, { skip: lacksRoot() }, async (context) => {
  using base = testFolder();
  const [workspace, into, outside] = ["workspace", "artifacts", "outside"].map((name) =>
    join(base.path, name),
  );
  assert.ok(workspace && into && outside);
  for (const folder of [workspace, into, outside]) mkdirSync(folder);
  const secret = "<testsuite><testcase name='SECRET'/></testsuite>";
  writeFileSync(join(outside, "secret.xml"), secret);
  chmodSync(join(outside, "secret.xml"), 0o640);
  chmodSync(base.path, 0o755);
  for (const folder of [workspace, into]) chownSync(folder, 65534, 65534);
  const facts = () =>
    readdirSync(outside).map((name) => {
      const { ino, mode, uid, gid, size, mtimeMs } = lstatSync(join(outside, name));
      return { name, ino, mode, uid, gid, size, mtimeMs };
    });
  const before = facts();
  const nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
  const args = [...nobody, process.execPath, "-e", adversary, outside, workspace, into];
  const child = spawn("setpriv", args, { stdio: ["ignore", "pipe", "inherit"] });
  const ended = once(child, "exit");
  await once(child.stdout, "data");
  const random = seeded(seed);
  // Out of the adversary's reach, so that its content can be looked at.
  const kept = join(base.path, "kept");
  const limits = { maxFiles: 50, maxBytes: 1024 * 1024 };
  const works: readonly (() => Promise<unknown>)[] = [
    () => emptyFolder(workspace),
    async () => makeFolders(base.path, ["workspace", "a", "b"]),
    async () => {
      await removeTree(kept);
      await collectArtifacts({ workspace, globs: ["**/*.xml", "a/**"], into: kept, limits });
      assert.ok(!stolen(kept), "an artifact is from outside");
    },
    async () => {
      const { cases } = await readJunit({ workspace, globs: ["**/*.xml"] });
      assert.ok(!cases.some(({ name }) => name === "SECRET"), "a report is from outside");
    },
    () => collectArtifacts({ workspace, globs: ["**/*.xml"], into, limits }),
    () => emptyFolder(into),
  ];
  let refused = 0;
  try {
    for (let round = 0; round < rounds; round++) {
      const work = works[random(works.length)];
      try {
        await work?.();
      } catch (error) {
        if (error instanceof assert.AssertionError) throw error;
        refused += 1;
      }
    }
  } finally {
    child.kill("SIGKILL");
    await ended;
  }
  context.diagnostic(`${refused} of ${rounds} ended with an error`);
  assert.deepEqual(facts(), before);
  assert.equal(readFileSync(join(outside, "secret.xml"), "utf8"), secret);
  for (const folder of [workspace, into, kept]) await removeTree(folder);
  assert.deepEqual(readdirSync(base.path), ["outside"]);
});

function stolen(folder: string): boolean {
  return readdirSync(folder, { recursive: true, withFileTypes: true }).some(
    (entry) => entry.isFile() && readFileSync(join(entry.parentPath, entry.name), "utf8").includes("SECRET"),
  );
}
