import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { chmod, mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { emptyFolder, removeTree } from "#/builds/workspace/remove.ts";
import { lacksMount, testFolder } from "../../support/folders.ts";
import { asNobody, lacksRoot } from "../../support/nobody.ts";

/** So many folders in one another, deeper than any path can name, with a file in the last one. */
function deepTree(folder: string, depth: number): void {
  const script = `d=$(printf "%0200d" 0); for i in $(seq ${depth}); do mkdir "$d" && cd -P "$d" || break; done; : > end`;
  execFileSync("sh", ["-c", script], { cwd: folder });
}

test("removeTree removes what a job made read-only, and doesn't follow links", async () => {
  using base = testFolder();
  using elsewhere = testFolder();
  await writeFile(join(elsewhere.path, "precious"), "");
  const tree = join(base.path, "tree");
  await mkdir(join(tree, "a/b"), { recursive: true });
  await writeFile(join(tree, "a/b/c"), "");
  await symlink(elsewhere.path, join(tree, "a/link"));
  await chmod(join(tree, "a/b"), 0o555);
  await chmod(join(tree, "a"), 0o000);
  await removeTree(tree);
  assert.ok(!existsSync(tree));
  assert.ok(existsSync(join(elsewhere.path, "precious")));
  await removeTree(tree);
});

test("a tree deeper than a path can be, and a very deep one", async () => {
  using base = testFolder();
  for (const depth of [40, 150]) {
    await mkdir(join(base.path, "tree"));
    deepTree(join(base.path, "tree"), depth);
    await removeTree(join(base.path, "tree"));
    assert.deepEqual(readdirSync(base.path), []);
  }
});

test("names are bytes", async () => {
  using base = testFolder();
  const tree = join(base.path, "tree");
  execFileSync("sh", [
    "-c",
    `mkdir -p "$1/$(printf 'd\\351')"; : > "$1/$(printf 'd\\351/f\\377')"; : > "$1/$(printf 'caf\\351')"`,
    "sh",
    tree,
  ]);
  await emptyFolder(tree);
  assert.deepEqual(readdirSync(tree), []);
});

test("only what is excepted stays", async () => {
  using base = testFolder();
  for (const name of [".git", "a", ".github"]) await mkdir(join(base.path, name, "x"), { recursive: true });
  await emptyFolder(base.path, [".git"]);
  assert.deepEqual(readdirSync(base.path), [".git"]);
  assert.ok(existsSync(join(base.path, ".git/x")));
});

test("what is bound into the tree from the same disk stays", { skip: lacksMount() }, async () => {
  using base = testFolder();
  const [tree, elsewhere] = [join(base.path, "tree"), join(base.path, "elsewhere")];
  await mkdir(join(tree, "bound"), { recursive: true });
  await mkdir(elsewhere);
  await writeFile(join(elsewhere, "precious"), "");
  await writeFile(join(tree, "file"), "");
  execFileSync("mount", ["--bind", elsewhere, join(tree, "bound")]);
  try {
    await assert.rejects(removeTree(tree), {
      code: "REMOVE",
      message: /^"bound" can't be removed: EXDEV; the rest is in ".*tree"$/,
    });
    assert.deepEqual(readdirSync(tree), ["bound"]);
    assert.deepEqual(readdirSync(elsewhere), ["precious"]);
  } finally {
    execFileSync("umount", [join(tree, "bound")]);
  }
  await removeTree(tree);
});

test("a link in place of the folder isn't followed", async () => {
  using base = testFolder();
  using elsewhere = testFolder();
  await writeFile(join(elsewhere.path, "precious"), "");
  await symlink(elsewhere.path, join(base.path, "link"));
  await assert.rejects(emptyFolder(join(base.path, "link")), { code: "REMOVE" });
  await removeTree(join(base.path, "link"));
  assert.deepEqual(readdirSync(base.path), []);
  assert.ok(existsSync(join(elsewhere.path, "precious")));
});

test("what belongs to another user stays, all else goes, and the message is short", {
  skip: lacksRoot(),
}, async () => {
  using base = testFolder();
  const tree = join(base.path, "tree");
  await mkdir(join(tree, `r${"x".repeat(200)}`, "inner"), { recursive: true });
  await mkdir(join(tree, "locked/a"), { recursive: true });
  await writeFile(join(tree, "locked/a/file"), "");
  execFileSync("chown", ["-R", "65534:65534", base.path]);
  execFileSync("chown", ["-R", "0:0", join(tree, `r${"x".repeat(200)}`)]);
  await chmod(join(tree, "locked"), 0);
  const code = `await lib.removeTree(${JSON.stringify(tree)}).catch((error) => console.log(error.message));`;
  assert.match(
    await asNobody("workspace/remove.ts", code),
    /^"inner" can't be removed: EACCES; the rest is in "[^"]+"$/,
  );
  assert.deepEqual(readdirSync(tree), [`r${"x".repeat(200)}`]);
});

test("a tree that is taken apart while it is removed", async () => {
  using base = testFolder();
  using elsewhere = testFolder();
  await writeFile(join(elsewhere.path, "precious"), "");
  const script = `while :; do rm -rf a 2>&-; mkdir -p a/b/c 2>&-; mv a/b a/d 2>&-; ln -sfn "$1" a/d 2>&-; ln -sfn "$1" a 2>&-; done`;
  const tree = join(base.path, "tree");
  await mkdir(tree);
  const { execa } = await import("execa");
  const adversary = execa("sh", ["-c", script, "sh", elsewhere.path], { cwd: tree, reject: false });
  try {
    for (let round = 0; round < 300; round++) await emptyFolder(tree).catch(() => {});
  } finally {
    adversary.kill("SIGKILL");
    await adversary;
  }
  assert.deepEqual(readdirSync(elsewhere.path), ["precious"]);
  await removeTree(tree);
});
