import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { chmod, lstat, mkdir, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { lacksMount } from "../../support/folders.ts";
import { freePort } from "../../support/servers.ts";
import { gitDaemon, processesWith, Repository, silentServer, webServer, wrapped } from "./git-parts.ts";
import { at, lab, real, ref } from "./lab.ts";

test("a change is checked out at its commit, in an empty workspace", real, async () => {
  await using o = await lab();
  await writeFile(join(o.workspace, "left-over"), "");
  assert.deepEqual(await o.run({ ZUUL_COMMIT: o.commit }), { commit: o.commit });
  assert.deepEqual((await readdir(o.workspace)).sort(), [".git", "README.md", "src"]);
  assert.equal(await readFile(join(o.workspace, "README.md"), "utf8"), "one\n");
  assert.match(o.lines[0] ?? "", /^checkout: refs\/zuul\/master\/Z1 of file:/);
});

test("git's own server; the next build fetches what is new alone, and cleans up", real, async () => {
  await using o = await lab();
  await using daemon = await gitDaemon(o.root);
  await o.run({ ZUUL_URL: daemon.url, ZUUL_COMMIT: o.commit });
  await mkdir(join(o.workspace, "build"));
  await writeFile(join(o.workspace, "build/out.o"), "");
  await writeFile(join(o.workspace, "README.md"), "changed by the job\n");
  o.repository.git("rm", "--quiet", "src/main.c");
  const second = await o.repository.commit({ ".gitignore": "build/\n" });
  o.repository.git("update-ref", ref, second);
  o.lines.length = 0;
  assert.deepEqual(await o.run({ ZUUL_URL: daemon.url, ZUUL_COMMIT: second }), { commit: second });
  assert.deepEqual((await readdir(o.workspace)).sort(), [".git", ".gitignore", "README.md"]);
  assert.equal(await readFile(join(o.workspace, "README.md"), "utf8"), "one\n");
  const counted = o.lines.find((line) => /remote: Total/.test(line)) ?? o.lines.join("\n");
  assert.doesNotMatch(counted, /Total [4-9]/, "the first commit's objects came again");
});

test("plain files over HTTP, at the second attempt", real, async () => {
  await using o = await lab();
  o.repository.git("update-server-info");
  await using server = await webServer(join(o.root, ".."), 1);
  const waits: number[] = [];
  const sleep = async (ms: number) => void waits.push(ms);
  // The work tree's .git folder is what a web server of plain files hands out.
  const parameters = {
    ZUUL_URL: `http://lab:hunter2@127.0.0.1:${server.port}/srv`,
    ZUUL_PROJECT: "org/project/.git",
  };
  const { commit } = await o.run({ ...parameters, ZUUL_COMMIT: o.commit }, { maxAttempts: 3, sleep });
  assert.equal(commit, o.commit);
  assert.deepEqual(waits, [500]);
  assert.match(o.lines.join("\n"), /attempt 2 of 3 in 0.5 s/);
  assert.doesNotMatch(o.lines.join("\n"), /hunter2/);
});

test("an unreachable server that is back at the second attempt", real, async () => {
  await using o = await lab();
  const elsewhere = `${o.root}-back`;
  const sleep = () => symlink(o.root, elsewhere);
  const { commit } = await o.run(
    { ZUUL_URL: `file://${elsewhere}`, ZUUL_COMMIT: o.commit },
    { maxAttempts: 2, sleep },
  );
  assert.equal(commit, o.commit);
});

test(
  "a server that stays away: unreachable after all attempts, and the workspace's objects stay",
  real,
  async () => {
    await using o = await lab();
    await o.run({ ZUUL_COMMIT: o.commit });
    const waits: number[] = [];
    const sleep = async (ms: number) => void waits.push(ms);
    const url = `git://127.0.0.1:${await freePort()}`;
    await assert.rejects(
      o.run({ ZUUL_URL: url, ZUUL_COMMIT: o.commit }, { maxAttempts: 4, sleep }),
      at("CHECKOUT_UNREACHABLE", /Connection refused/),
    );
    assert.deepEqual(waits, [500, 2000, 2000]);
    assert.doesNotMatch(o.lines.join("\n"), /new mirror/);
  },
);

test("passwords are masked in lines and errors, also in git's own words", real, async () => {
  await using o = await lab();
  const url = `http://lab:hunt%21er2@127.0.0.1:${await freePort()}`;
  let failure: unknown;
  await o.run({ ZUUL_URL: url }).catch((error) => {
    failure = error;
  });
  at("CHECKOUT_UNREACHABLE")(failure);
  const all = `${o.lines.join("\n")}\n${(failure as Error).message}`;
  assert.match(all, /http:\/\/(\*\*\*@)?127/);
  assert.doesNotMatch(all, /hunt/);
  await o.run({});
  assert.equal((await lstat(join(o.workspace, ".git/config"))).mode & 0o077, 0);
});

test("a ref that moved on: the commit counts", real, async () => {
  await using o = await lab();
  o.repository.git("update-ref", ref, await o.repository.commit({ "README.md": "two\n" }));
  assert.deepEqual(await o.run({ ZUUL_COMMIT: o.commit }), { commit: o.commit });
  assert.equal(await readFile(join(o.workspace, "README.md"), "utf8"), "one\n");
});

test("a ref that was rewritten, a commit that is gone, and a ref that is gone", real, async () => {
  await using o = await lab();
  o.repository.git("commit", "--quiet", "--amend", "-m", "rewritten");
  o.repository.git("update-ref", ref, "HEAD");
  assert.deepEqual(
    await o.run({ ZUUL_COMMIT: o.commit }),
    { commit: o.commit },
    "it is still to be had by its name",
  );
  const sleeps: number[] = [];
  const sleep = async (ms: number) => void sleeps.push(ms);
  const gone = { ZUUL_COMMIT: "c".repeat(40) };
  await assert.rejects(
    o.run(gone, { maxAttempts: 2, sleep }),
    at("CHECKOUT_MOVED", /no longer has the commit c{40}/),
  );
  assert.equal(sleeps.length, 1);
  await assert.rejects(
    o.run({ ZUUL_REF: "refs/zuul/gone" }),
    at("CHECKOUT_MOVED", /refs\/zuul\/gone does not exist/),
  );
});

test("annotated tags, branches by their short name, HEAD, and what is no commit", real, async () => {
  await using o = await lab();
  o.repository.git("tag", "-a", "v1", "-m", "first");
  const tag = o.repository.git("rev-parse", "v1");
  assert.notEqual(tag, o.commit);
  assert.deepEqual(await o.run({ ZUUL_REF: "refs/tags/v1", ZUUL_COMMIT: tag }), { commit: o.commit });
  assert.deepEqual(await o.run({ ZUUL_REF: "master" }), { commit: o.commit });
  assert.deepEqual(await o.run({ ZUUL_REF: "", ZUUL_BRANCH: "master" }), { commit: o.commit });
  assert.deepEqual(await o.run({ ZUUL_REF: "" }), { commit: o.commit });
  o.repository.git("update-ref", "refs/tags/blob", o.repository.git("rev-parse", "HEAD:README.md"));
  await assert.rejects(o.run({ ZUUL_REF: "refs/tags/blob" }), at("CHECKOUT_REFUSED", /is not a commit/));
});

test(
  "tags of the history come along, for git describe; those of an earlier build are gone",
  real,
  async () => {
    await using o = await lab();
    o.repository.git("tag", "-a", "v1", "-m", "first");
    await o.run({ ZUUL_COMMIT: o.commit });
    const git = (...args: string[]) =>
      Repository.prototype.git.apply({ path: o.workspace } as Repository, args);
    assert.equal(git("describe"), "v1");
    git("tag", "planted");
    git("checkout", "--quiet", "-b", "planted");
    git("update-index", "--assume-unchanged", "README.md");
    await writeFile(join(o.workspace, "README.md"), "changed\n");
    await o.run({ ZUUL_COMMIT: o.commit });
    assert.equal(git("tag"), "v1");
    assert.equal(git("branch", "--show-current"), "");
    assert.equal(await readFile(join(o.workspace, "README.md"), "utf8"), "one\n");
  },
);

test("SHA-256 repositories", real, async () => {
  await using o = await lab();
  const repository = await Repository.make(o.root, "org/wide", "sha256");
  const commit = await repository.commit({ a: "b" });
  await o.run({ ZUUL_COMMIT: o.commit });
  assert.deepEqual(await o.run({ ZUUL_PROJECT: "org/wide", ZUUL_REF: "master", ZUUL_COMMIT: commit }), {
    commit,
  });
  assert.deepEqual(await o.run({ ZUUL_COMMIT: o.commit }), { commit: o.commit });
});

test("submodules are checked out, and a broken one is the change's own fault", real, async () => {
  await using o = await lab();
  const library = await Repository.make(o.root, "org/library");
  await library.commit({ "lib.c": "int lib;\n" });
  o.repository.git("submodule", "--quiet", "add", "../library", "lib");
  const commit = await o.repository.commit({});
  for (let build = 0; build < 2; build++) {
    await o.run({ ZUUL_REF: "master", ZUUL_COMMIT: commit });
    assert.equal(await readFile(join(o.workspace, "lib/lib.c"), "utf8"), "int lib;\n");
    await writeFile(join(o.workspace, "lib/left-over"), "");
    assert.doesNotMatch(o.lines.join("\n"), /fatal|error/);
  }
  const marker = join(o.path, "ran");
  const odd = `[submodule "lib"]\n\tpath = lib\n\turl = ext::sh -c touch% ${marker}\n`;
  const hostile = await o.repository.commit({ ".gitmodules": odd });
  await assert.rejects(
    o.run({ ZUUL_REF: "master", ZUUL_COMMIT: hostile }),
    at("CHECKOUT_REFUSED", /submodule/),
  );
  assert.ok(!existsSync(marker));
});

test("nothing that a former build left in the repository or the workspace counts", real, async () => {
  await using o = await lab();
  await o.run({ ZUUL_COMMIT: o.commit });
  const marker = join(o.path, "ran");
  const put = async (name: string, content: string, mode = 0o755) => {
    await mkdir(join(o.workspace, name, ".."), { recursive: true });
    await writeFile(join(o.workspace, name), content, { mode });
  };
  const evil = `#!/bin/sh\ntouch ${marker}\n`;
  for (const hook of ["post-checkout", "reference-transaction", "pre-auto-gc", "post-index-change"]) {
    await put(`.git/hooks/${hook}`, evil);
  }
  await put("evil", evil);
  const program = join(o.workspace, ".git/evil");
  await put(".git/evil", evil);
  await put(
    ".git/config",
    `[core]\n\tfsmonitor = ${program}\n\tsshCommand = ${program}\n\thooksPath = ${o.workspace}/.git/hooks\n\tpager = ${program}\n` +
      `\tworktree = /tmp\n[credential]\n\thelper = ${program}\n[url "file:///nowhere/"]\n\tinsteadOf = file://${o.root}/\n` +
      `[filter "x"]\n\tsmudge = ${program}\n\tclean = ${program}\n\trequired = true\n[include]\n\tpath = /dev/stdin\n`,
  );
  await put(".git/info/attributes", "* filter=x\n");
  await put(".git/info/exclude", "*\n");
  await put(".git/objects/info/alternates", "/nowhere/objects\n");
  await put(".git/refs/heads/master", "garbage\n");
  await put(".git/refs/replace/x", "garbage\n");
  await put(".git/packed-refs", "garbage\n");
  await put(".git/shallow", "garbage\n");
  for (const lock of ["index.lock", "HEAD.lock", "config.lock", "shallow.lock", "packed-refs.lock"])
    await put(`.git/${lock}`, "");
  await put(".git/index", "garbage");
  await put(".git/HEAD", "garbage");
  await put("locked/file", "");
  await chmod(join(o.workspace, "locked"), 0o555);
  await put("README.md", "changed\n");
  await symlink("/etc", join(o.workspace, "etc"));
  await put("nested/.git/HEAD", "ref: refs/heads/x\n");
  assert.deepEqual(await o.run({ ZUUL_COMMIT: o.commit }), { commit: o.commit });
  assert.deepEqual((await readdir(o.workspace)).sort(), [".git", "README.md", "src"]);
  assert.equal(await readFile(join(o.workspace, "README.md"), "utf8"), "one\n");
  assert.ok(!existsSync(marker));
  assert.doesNotMatch(o.lines.join("\n"), /trying again/);
});

test("a folder of the project that is a link of a former build isn't written through", real, async () => {
  await using o = await lab();
  await o.run({ ZUUL_COMMIT: o.commit });
  const outside = join(o.path, "outside");
  await mkdir(outside);
  await rm(join(o.workspace, "src"), { recursive: true });
  await symlink(outside, join(o.workspace, "src"));
  await o.run({ ZUUL_COMMIT: o.commit });
  assert.deepEqual(await readdir(outside), []);
  assert.ok((await lstat(join(o.workspace, "src"))).isDirectory());
});

for (const [what, harm] of [
  ["a .git that is a file", async (git: string) => writeFile(git, "gitdir: /nowhere\n")],
  ["a .git that is a link", async (git: string) => symlink("/nowhere", git)],
  ["a .git that is an empty folder", async (git: string) => mkdir(git)],
] as const) {
  test(`${what} is replaced`, real, async () => {
    await using o = await lab();
    await harm(join(o.workspace, ".git"));
    assert.deepEqual(await o.run({ ZUUL_COMMIT: o.commit }), { commit: o.commit });
  });
}

test("a mirror with damaged objects is made anew, within one attempt", real, async () => {
  await using o = await lab();
  await o.run({ ZUUL_COMMIT: o.commit });
  const [damaged = ""] = await o.mirrorPaths();
  for (const name of await readdir(join(damaged, "objects"), { recursive: true })) {
    const path = join(damaged, "objects", name);
    if (!(await lstat(path)).isFile()) continue;
    await chmod(path, 0o600);
    await writeFile(path, "garbage");
  }
  assert.deepEqual(await o.run({ ZUUL_COMMIT: o.commit }), { commit: o.commit });
  assert.match(o.lines.join("\n"), /again with a new mirror/);
});

test("a blob that the mirror lacks is fetched anew", real, async () => {
  await using o = await lab();
  await o.run({ ZUUL_COMMIT: o.commit });
  const blob = o.repository.git("rev-parse", "HEAD:README.md");
  const [mirror = ""] = await o.mirrorPaths();
  await rm(join(mirror, "objects", blob.slice(0, 2), blob.slice(2)));
  assert.deepEqual(await o.run({ ZUUL_COMMIT: o.commit }), { commit: o.commit });
  assert.equal(await readFile(join(o.workspace, "README.md"), "utf8"), "one\n");
});

test("hostile parameters reach no git at all", real, async () => {
  await using o = await lab();
  const marker = join(o.path, "ran");
  for (const parameters of [
    { ZUUL_REF: `--upload-pack=touch ${marker}` },
    { ZUUL_PROJECT: "../../etc" },
    { ZUUL_URL: `ext::sh -c touch% ${marker}` },
    { ZUUL_COMMIT: `--output=${marker}` },
    { ZUUL_PROJECT: "a\nb" },
  ]) {
    const started = wrapped(o.trees, () => assert.fail("git was started"));
    await assert.rejects(o.run(parameters, { trees: started }), at("CHECKOUT_REFUSED"));
  }
  assert.deepEqual(await readdir(o.workspace), []);
});

test("a box without git says so", real, async () => {
  await using o = await lab();
  await assert.rejects(o.run({}, { env: { PATH: o.path } }), at("NO_GIT", /install git/));
});

test("a stop in the middle of a fetch from a server that hangs leaves no git process", real, async () => {
  await using o = await lab();
  await using server = await silentServer();
  const mark = `LABGEAR_TEST=${o.path}`;
  const stop = new AbortController();
  const running = o.run(
    { ZUUL_URL: server.url },
    { signal: stop.signal, maxAttempts: 3, trees: wrapped(o.trees, (argv) => ["env", mark, ...argv]) },
  );
  const ended = assert.rejects(running, at("STOPPED"));
  await server.connected;
  assert.ok((await processesWith(mark)).length > 0);
  stop.abort(new Error("stopped from afar"));
  await ended;
  assert.deepEqual(await processesWith(mark), []);
});

test("a stop while it waits for the next attempt, and one before the start", real, async () => {
  await using o = await lab();
  const stop = new AbortController();
  const log = (line: string) => {
    if (line.includes("attempt 2")) stop.abort();
  };
  const parameters = { ZUUL_URL: "file:///nowhere" };
  await assert.rejects(
    o.run(parameters, { signal: stop.signal, maxAttempts: 2, delaysMs: [600_000], log }),
    at("STOPPED"),
  );
  await assert.rejects(o.run({}, { signal: stop.signal }), at("STOPPED"));
});

test("a process that a git command leaves behind is dead before the next command", real, async () => {
  await using o = await lab();
  const leave = ["sh", "-c", 'setsid sleep 600 & echo "left $!" >&2; exec "$@"', "sh"] as const;
  const left: string[] = [];
  // The command line of one that is dead and not yet reaped is empty.
  const isAlive = (pid: string) =>
    existsSync(`/proc/${pid}`) && readFileSync(`/proc/${pid}/cmdline`, "latin1") !== "";
  const leaving = wrapped(o.trees, (argv) => {
    assert.deepEqual(left.filter(isAlive), []);
    return [...leave, ...argv];
  });
  const log = (line: string) => {
    const [, pid] = /left ([0-9]+)/.exec(line) ?? [];
    if (pid) left.push(pid);
  };
  assert.deepEqual(await o.run({ ZUUL_COMMIT: o.commit }, { trees: leaving, log }), { commit: o.commit });
  assert.ok(left.length > 1);
  assert.deepEqual(left.filter(isAlive), []);
});

test("a console that can't be written ends the checkout, and git with it", real, async () => {
  await using o = await lab();
  await using server = await silentServer();
  const mark = `LABGEAR_TEST=${o.path}`;
  const going = wrapped(o.trees, (argv) => [
    "env",
    mark,
    "sh",
    "-c",
    'echo go >&2; exec "$@"',
    "sh",
    ...argv,
  ]);
  const log = (line: string) => {
    if (line.includes("go")) throw new Error("no space left on device");
  };
  await assert.rejects(
    o.run({ ZUUL_URL: server.url }, { trees: going, log }),
    at("CHECKOUT", /no space left/),
  );
  assert.deepEqual(await processesWith(mark), []);
});

test("a branch below the name of a former one", real, async () => {
  await using o = await lab();
  o.repository.git("branch", "feature", o.commit);
  await o.run({ ZUUL_REF: "refs/heads/feature" });
  o.repository.git("branch", "-D", "feature");
  for (const name of ["feature/part/one", "feature/part"]) {
    o.repository.git("branch", name, o.commit);
    assert.deepEqual(await o.run({ ZUUL_REF: `refs/heads/${name}` }), { commit: o.commit });
    o.repository.git("branch", "-D", name);
  }
});

test("a commit with names that no file system takes is refused", real, async () => {
  await using o = await lab();
  const blob = o.repository.git("rev-parse", `${o.commit}:README.md`).trim();
  for (const path of ["n".repeat(300), Array(25).fill("p".repeat(200)).join("/")]) {
    o.repository.git("update-index", "--add", "--cacheinfo", `100644,${blob},${path}`);
    const tree = o.repository.git("write-tree").trim();
    o.repository.git("update-ref", ref, o.repository.git("commit-tree", "-m", "names", tree).trim());
    await assert.rejects(o.run({}), at("CHECKOUT_REFUSED", /can't be checked out/));
    o.repository.git("update-index", "--force-remove", path);
  }
});

test("what a build left mounted in the workspace stays whole", {
  ...real,
  skip: real.skip || lacksMount(),
}, async () => {
  await using o = await lab();
  const [place, elsewhere] = [join(o.workspace, "bound"), join(o.path, "elsewhere")];
  for (const folder of [place, elsewhere]) await mkdir(folder);
  await writeFile(join(elsewhere, "precious"), "");
  execFileSync("mount", ["--bind", elsewhere, place]);
  try {
    await assert.rejects(o.run({}), at("WORKSPACE", /something is mounted in it/));
    assert.deepEqual(await readdir(elsewhere), ["precious"]);
  } finally {
    execFileSync("umount", [place]);
  }
  await o.run({});
});
