import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import {
  chmod,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  realpath,
  rm,
  symlink,
  writeFile,
} from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { BuildError } from "#/builds/errors.ts";
import { openInside, secureJoin } from "#/builds/workspace/files.ts";
import { removeTree } from "#/builds/workspace/remove.ts";
import {
  keepTrustApart,
  listAside,
  listWorkspaces,
  prepareWorkspace,
  removeWorkspace,
  setAside,
} from "#/builds/workspace/workspace.ts";
import { lacksMount } from "../../support/folders.ts";
import { asNobody, lacksRoot } from "../../support/nobody.ts";

async function folder() {
  const path = await realpath(await mkdtemp(join(tmpdir(), "labgear-workspace-")));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

test("a workspace is made once and kept with its content", async () => {
  await using state = await folder();
  const place = { stateDir: state.path, executor: "rack7-1", job: "unit-tests" };
  const made = await prepareWorkspace(place);
  assert.equal(made, join(state.path, "workspaces/rack7-1/unit-tests"));
  await writeFile(join(made, "kept"), "yes");
  assert.equal(await prepareWorkspace(place), made);
  assert.equal(await readFile(join(made, "kept"), "utf8"), "yes");
});

test("the first builds of several executors make their workspaces at the same time", async () => {
  for (let round = 0; round < 10; round++) {
    await using state = await folder();
    const executors = Array.from({ length: 8 }, (_, i) => String(i));
    const made = await Promise.all(
      executors.map((executor) => prepareWorkspace({ stateDir: state.path, executor, job: "j" })),
    );
    assert.deepEqual(
      made,
      executors.map((executor) => join(state.path, "workspaces", executor, "j")),
    );
  }
});

test("the state directory itself may be a link", async () => {
  await using state = await folder();
  await mkdir(join(state.path, "real"));
  await symlink("real", join(state.path, "link"));
  const made = await prepareWorkspace({ stateDir: join(state.path, "link"), executor: "1", job: "j" });
  assert.equal(made, join(state.path, "real/workspaces/1/j"));
});

for (const where of ["workspaces", "workspaces/1", "workspaces/1/j"]) {
  test(`a link planted at ${where} is replaced, not followed`, async () => {
    await using state = await folder();
    await using elsewhere = await folder();
    await mkdir(join(state.path, where, ".."), { recursive: true });
    await symlink(elsewhere.path, join(state.path, where));
    const made = await prepareWorkspace({ stateDir: state.path, executor: "1", job: "j" });
    assert.equal(await realpath(made), join(state.path, "workspaces/1/j"));
    assert.ok((await lstat(join(state.path, where))).isDirectory());
    await rm(join(elsewhere.path), { recursive: true });
    assert.ok(existsSync(made));
  });
}

test("a file in the way is replaced, and a locked folder opened again", async () => {
  await using state = await folder();
  const place = { stateDir: state.path, executor: "1", job: "j" };
  const made = await prepareWorkspace(place);
  await chmod(made, 0o000);
  assert.equal((await lstat(await prepareWorkspace(place))).mode & 0o777, 0o700);
  await rm(made, { recursive: true });
  await writeFile(made, "in the way");
  assert.ok((await lstat(await prepareWorkspace(place))).isDirectory());
});

test("a build of the lab's own gets no workspace that a build of changes has used", async () => {
  await using state = await folder();
  const place = { stateDir: state.path, executor: "1", job: "team/j" };
  const use = async (trust: "changes" | "lab") => {
    const isNew = await keepTrustApart(place, trust);
    return { isNew, made: await prepareWorkspace(place) };
  };
  const { made } = await use("lab");
  await writeFile(join(made, "lab"), "");
  assert.equal((await use("lab")).isNew, false);
  assert.deepEqual(await readdir(made), ["lab"], "what builds of one trust leave stays");
  assert.equal((await use("changes")).isNew, false);
  await writeFile(join(made, "change"), "");
  assert.equal((await use("changes")).isNew, false);
  assert.equal((await use("lab")).isNew, true);
  assert.deepEqual(await readdir(made), []);
  assert.equal((await use("lab")).isNew, false);
  assert.deepEqual(await listAside(state.path), [], "nothing is left");
  assert.equal(await keepTrustApart({ ...place, job: "other" }, "lab"), false);
});

test("names are checked here again", async () => {
  await using state = await folder();
  for (const job of ["", ".", "..", "a\0b", "a\nb", "x".repeat(256)]) {
    assert.throws(
      () => prepareWorkspace({ stateDir: state.path, executor: "1", job }),
      (error: BuildError) => {
        assert.ok(error instanceof BuildError);
        assert.equal(error.code, "WORKSPACE");
        assert.match(error.message, /^[\x20-\x7e]+$/);
        return true;
      },
    );
  }
  assert.ok(!existsSync(join(state.path, "workspaces")));
});

test("a state directory that isn't there is said on one line", async () => {
  await using state = await folder();
  const stateDir = join(state.path, "gone");
  assert.throws(() => prepareWorkspace({ stateDir, executor: "1", job: "j" }), {
    code: "WORKSPACE",
    message: /^the workspace of j can't be created: ENOENT.*gone/,
  });
});

test("secureJoin takes plain ways down alone", () => {
  assert.equal(secureJoin("/w", "a/b.txt"), "/w/a/b.txt");
  for (const odd of ["", "/etc/passwd", "..", "../x", "a/../../x", "a//b", "a/./b", "a/", "a\0", "a\nb"]) {
    assert.equal(secureJoin("/w", odd), undefined, JSON.stringify(odd));
  }
});

test("openInside opens regular files inside and nothing else", async () => {
  await using base = await folder();
  const at = (name: string) => join(base.path, name);
  await mkdir(at("sub"));
  await writeFile(at("sub/file"), "content");
  await symlink("sub/file", at("inside"));
  await symlink("/etc/passwd", at("outside"));
  await symlink("/etc", at("outside-folder"));
  await symlink("/dev/null", at("device"));
  await symlink("loop", at("loop"));
  execFileSync("mkfifo", [at("fifo")]);
  const server = createServer().listen(at("socket"));
  await new Promise((resolve) => server.once("listening", resolve));
  try {
    for (const name of ["sub/file", "inside"]) {
      const file = await openInside(base.path, name);
      assert.ok(typeof file !== "string", String(file));
      assert.equal(await file.readFile("utf8"), "content");
      await file.close();
    }
    const odd = [
      "outside",
      "outside-folder/passwd",
      "device",
      "loop",
      "fifo",
      "socket",
      "sub",
      "missing",
      "../x",
    ];
    for (const name of odd) assert.equal(typeof (await openInside(base.path, name)), "string", name);
  } finally {
    server.close();
  }
});

test("a workspace whose content can't be removed is moved aside, and the rest of it goes", {
  skip: lacksMount(),
}, async () => {
  await using state = await folder();
  const made = await prepareWorkspace({ stateDir: state.path, executor: "1", job: "j" });
  await mkdir(join(made, "mounted"));
  await writeFile(join(made, "file"), "");
  execFileSync("mount", ["-t", "tmpfs", "labgear-test", join(made, "mounted")]);
  const [other] = await listWorkspaces(state.path);
  assert.ok(other);
  try {
    await assert.rejects(
      removeWorkspace(other, () => false),
      { code: "REMOVE", message: /^"mounted" can't be removed: EXDEV; the rest is in "[^"]*\.old-[^"]+"$/ },
    );
    assert.deepEqual(await listWorkspaces(state.path), []);
    const [aside = ""] = await listAside(state.path);
    assert.deepEqual(await readdir(aside), ["mounted"]);
    await prepareWorkspace({ stateDir: state.path, executor: "1", job: "j" });
    assert.equal(setAside(made)?.startsWith(join(state.path, "workspaces/1/.old-")), true);
    assert.equal((await listAside(state.path)).length, 2);
  } finally {
    const [aside = ""] = (await listAside(state.path)).filter((path) => existsSync(join(path, "mounted")));
    execFileSync("umount", [join(aside, "mounted")]);
  }
  for (const aside of await listAside(state.path)) await removeTree(aside);
  assert.deepEqual(await listAside(state.path), []);
});

test("a workspace that is immutable, or read-only, makes way, and the executor's others stay", {
  skip: lacksMount(),
}, async () => {
  await using state = await folder();
  const place = { stateDir: state.path, executor: "1", job: "j" };
  const other = await prepareWorkspace({ ...place, job: "other" });
  await writeFile(join(other, "kept"), "");
  const break_ = {
    "chattr +i": (made: string) => execFileSync("sh", ["-c", 'chattr +i "$1"', "sh", made]),
    mount: (made: string) => execFileSync("mount", ["-t", "tmpfs", "-o", "ro", "labgear-test", made]),
  };
  const mend = {
    "chattr +i": (made: string) => execFileSync("sh", ["-c", 'chattr -i "$1"', "sh", made]),
    mount: (made: string) => execFileSync("umount", [made]),
  };
  for (const how of ["chattr +i", "mount"] as const) {
    const made = await prepareWorkspace(place);
    await writeFile(join(made, "file"), "");
    break_[how](made);
    try {
      assert.equal(await prepareWorkspace(place), made);
      await writeFile(join(made, "file"), "", { flag: "wx" });
      assert.deepEqual(await readdir(other), ["kept"]);
      assert.deepEqual((await listWorkspaces(state.path)).map(({ job }) => job).sort(), ["j", "other"]);
    } finally {
      for (const aside of await listAside(state.path)) mend[how](join(aside, "j"));
    }
    for (const aside of await listAside(state.path)) await removeTree(aside);
    assert.deepEqual(await listAside(state.path), []);
    await removeTree(join(made, "file"));
  }
});

test("a workspace in use stays", async () => {
  await using state = await folder();
  await prepareWorkspace({ stateDir: state.path, executor: "1", job: "j" });
  const [workspace] = await listWorkspaces(state.path);
  assert.ok(workspace);
  assert.equal(await removeWorkspace(workspace, () => true), false);
  assert.equal((await listWorkspaces(state.path)).length, 1);
});

test("a workspace of another user, as a container leaves it, is moved aside", {
  skip: lacksRoot(),
}, async () => {
  await using state = await folder();
  const place = { stateDir: state.path, executor: "1", job: "j" };
  const made = await prepareWorkspace(place);
  await mkdir(join(made, "root"));
  execFileSync("chown", ["-R", "65534:65534", state.path]);
  await chmod(state.path, 0o755);
  execFileSync("chown", ["-R", "0:0", made]);
  await asNobody("workspace/workspace.ts", `await lib.prepareWorkspace(${JSON.stringify(place)});`);
  assert.equal((await lstat(made)).uid, 65534);
  assert.deepEqual(await readdir(made), []);
  assert.equal((await listAside(state.path)).length, 1);
});
