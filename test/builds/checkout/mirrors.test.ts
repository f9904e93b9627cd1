/** What builds share, and what one can't do to another: mirrors, their users, servers that hang, odd repositories. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { chown, mkdir, readdir, readFile, rm, stat, watch, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { test } from "node:test";
import { deflateSync } from "node:zlib";
import { checkout } from "#/builds/checkout/checkout.ts";
import type { CommandTrees, Owner } from "#/builds/checkout/git.ts";
import { Mirrors } from "#/builds/checkout/mirrors.ts";
import { lacks, part } from "../../support/parts.ts";
import { freePort } from "../../support/servers.ts";
import {
  commandsWith,
  gitDaemon,
  gitEnv,
  Repository,
  silentServer,
  webServer,
  wrapped,
} from "./git-parts.ts";
import { at, lab, real, ref } from "./lab.ts";

/** git in a workspace, as a job runs it. */
function jobGit(workspace: string, ...args: string[]): string {
  return Repository.prototype.git.apply({ path: workspace } as Repository, args);
}

test("objects that a build forges are not what a later build checks out", real, async () => {
  await using o = await lab();
  const parameters = { ZUUL_COMMIT: o.commit };
  await o.run(parameters);
  const good = Buffer.from("blob 4\0one\n");
  const name = createHash("sha1").update(good).digest("hex");
  const evil = deflateSync(Buffer.from("blob 5\0evil\n"));
  const [mirror = ""] = await o.mirrorPaths();
  const workspaceObjects = join(o.workspace, ".git/objects");
  await mkdir(join(workspaceObjects, name.slice(0, 2)), { recursive: true });
  await writeFile(join(workspaceObjects, name.slice(0, 2), name.slice(2)), evil);
  await writeFile(join(o.workspace, ".git/labgear-tip"), o.commit);
  await o.run(parameters);
  assert.equal(await readFile(join(o.workspace, "README.md"), "utf8"), "one\n");
  assert.ok((await stat(join(mirror, "objects"))).isDirectory());
});

/** As the packaged set-up has them, by number: nobody fetches, and a user without a name builds. */
const users: Readonly<Record<Owner, number>> = { fetch: 65534, build: 64321 };
const asUsers = (trees: CommandTrees): CommandTrees => {
  const inner = wrapped(trees, (argv, owner) => {
    const id = users[owner];
    return ["setpriv", `--reuid=${id}`, `--regid=${id}`, "--clear-groups", "--no-new-privs", ...argv];
  });
  return {
    create: async (name, limits, folder, owner) => {
      await chown(folder, users[owner], users[owner]);
      return inner.create(name, limits, folder, owner);
    },
  };
};
const asRoot = { ...real, skip: real.skip || (process.getuid?.() !== 0 && "NOT TESTED HERE: needs root") };

test(
  "a build reads its mirror and can't write it; repositories of another owner are fetched",
  asRoot,
  async () => {
    await using o = await lab();
    execFileSync("chmod", ["755", o.path]);
    await o.run({ ZUUL_COMMIT: o.commit }, { trees: asUsers(o.trees) });
    const [mirror = ""] = await o.mirrorPaths();
    const asBuild = (script: string) =>
      execFileSync(
        "setpriv",
        [`--reuid=${users.build}`, `--regid=${users.build}`, "--clear-groups", "sh", "-c", script],
        {
          encoding: "utf8",
          env: { ...gitEnv(), GIT_CONFIG_GLOBAL: "/dev/null" },
          cwd: o.workspace,
          stdio: ["ignore", "pipe", "pipe"],
        },
      );
    assert.match(asBuild("git log --oneline"), /change/);
    for (const path of ["HEAD", "config", "objects/info/alternates", "new"])
      assert.throws(() => asBuild(`echo >> ${mirror}/${path}`), /Permission denied/);
    assert.throws(() => asBuild(`mv ${mirror} ${mirror}.old`), /Permission denied/);
    assert.throws(() => asBuild(`ls ${join(mirror, "..")}`), /Permission denied/);
    assert.equal((await stat(join(o.workspace, ".git/config"))).uid, users.build);
  },
);

test("each trust has a mirror of its own", real, async () => {
  await using o = await lab();
  await o.run({}, { trust: "changes" });
  await o.run({}, { trust: "lab" });
  const unused = await o.mirrors.unused();
  assert.deepEqual(unused.map((path) => basename(dirname(path))).sort(), ["changes", "lab"]);
  assert.equal(new Set(unused.map((path) => basename(path))).size, 1);
  for (const path of unused) assert.ok(await o.mirrors.remove(path));
  assert.deepEqual(await o.mirrors.unused(), []);
});

test("what a build put in the place of all mirrors makes way", real, async () => {
  await using o = await lab();
  const mirrors = join(o.path, "state/mirrors");
  for (const command of [`touch ${mirrors}`, `ln -s /nowhere ${mirrors}`, `mkfifo ${mirrors}`]) {
    execFileSync("sh", ["-c", `rm -rf ${mirrors}; ${command}`]);
    await o.run({ ZUUL_COMMIT: o.commit });
    assert.equal((await o.mirrorPaths()).length, 1);
  }
});

test("a repository that a build may have made is not trusted", asRoot, async () => {
  await using o = await lab();
  execFileSync("chmod", ["755", o.path]);
  await chown(o.repository.path, users.build, users.build);
  await using mirrors = new Mirrors(join(o.path, "state"), [users.build]);
  await assert.rejects(
    o.run({ ZUUL_COMMIT: o.commit }, { trees: asUsers(o.trees), mirrors }),
    at("CHECKOUT_UNREACHABLE", /dubious ownership/),
  );
});

test("a second executor fetches nothing again, and two at once wait for each other", real, async () => {
  await using o = await lab();
  const second = join(o.path, "state/workspaces/2/job");
  await mkdir(second, { recursive: true });
  await using daemon = await gitDaemon(o.root);
  const parameters = { ZUUL_URL: daemon.url, ZUUL_COMMIT: o.commit };
  await Promise.all([o.run(parameters), o.run(parameters, { workspace: second })]);
  assert.equal((await o.mirrorPaths()).length, 1);
  assert.equal(await readFile(join(second, "README.md"), "utf8"), "one\n");
  assert.equal(
    o.lines.filter((line) => /Receiving objects|remote: Total [1-9]/.test(line)).length <= 2,
    true,
  );
  assert.deepEqual(await readdir(join(second, ".git/objects/pack")), []);
});

test("a mirror is removed only while nothing borrows it", real, async () => {
  await using o = await lab();
  const { workspace, mirrors, trees } = o;
  const parameters = new Map(
    Object.entries({ ZUUL_URL: `file://${o.root}`, ZUUL_PROJECT: "org/project", ZUUL_REF: ref }),
  );
  {
    await using _ = await checkout({
      ...{ workspace, mirrors, trust: "lab", trees, parameters },
      log: () => {},
      env: gitEnv(),
    });
    assert.deepEqual(await mirrors.unused(), []);
    assert.equal(jobGit(workspace, "log", "--format=%s"), "change");
  }
  assert.deepEqual(await mirrors.unused(Date.now() - 60_000), []);
  const [unused = ""] = await mirrors.unused(Date.now() + 60_000);
  assert.equal(await mirrors.remove(unused), true);
  assert.deepEqual(await o.mirrorPaths(), []);
  await o.run({ ZUUL_COMMIT: o.commit });
});

test("a damaged mirror that was replaced goes once nothing borrows it", real, async () => {
  await using o = await lab();
  await o.run({});
  const [damaged = ""] = await o.mirrorPaths();
  await writeFile(join(damaged, "HEAD"), "garbage\n");
  const changes = watch(join(damaged, ".."), { signal: AbortSignal.timeout(60_000) });
  await o.run({});
  assert.match(o.lines.join("\n"), /trying again with a new mirror/);
  if (existsSync(damaged)) for await (const _ of changes) if (!existsSync(damaged)) break;
  assert.equal((await o.mirrorPaths()).length, 1);
});

test("a server that hangs is given up, and it isn't the change's fault", real, async () => {
  await using o = await lab();
  await using server = await silentServer();
  const stalls = { stallTimeoutMs: 300 };
  await assert.rejects(
    o.run({ ZUUL_URL: server.url }, stalls),
    at("CHECKOUT_UNREACHABLE", /sent nothing for 0.3 s/),
  );
});

test("what a job did to its history is nothing to the next build", real, async () => {
  await using o = await lab();
  const second = await o.repository.commit({ "README.md": "two\n" });
  const parameters = { ZUUL_REF: "master", ZUUL_COMMIT: second };
  await o.run(parameters);
  jobGit(o.workspace, "fetch", "-q", "--depth", "1", "origin", "master");
  jobGit(o.workspace, "reflog", "expire", "--expire=now", "--all");
  jobGit(o.workspace, "gc", "-q", "--prune=now");
  await o.run(parameters);
  assert.equal(jobGit(o.workspace, "log", "--format=%s"), "change\nchange");
});

test("a source that is shallow itself, and complete later", real, async () => {
  await using o = await lab();
  const tip = await o.repository.commit({ "README.md": "two\n" });
  jobGit(o.root, "clone", "--quiet", "--depth", "1", `file://${o.repository.path}`, "org/shallow");
  const parameters = { ZUUL_PROJECT: "org/shallow", ZUUL_REF: "master", ZUUL_COMMIT: tip };
  await o.run(parameters);
  assert.equal(jobGit(o.workspace, "log", "--format=%H"), tip);
  jobGit(join(o.root, "org/shallow"), "fetch", "--quiet", "--unshallow");
  await o.run(parameters);
  assert.equal(jobGit(o.workspace, "log", "--format=%H"), `${tip}\n${o.commit}`);
});

test("origin/$ZUUL_BRANCH is there beside a change", real, async () => {
  await using o = await lab();
  const master = await o.repository.commit({ "README.md": "two\n" });
  await o.run({ ZUUL_COMMIT: o.commit, ZUUL_BRANCH: "master" });
  assert.equal(jobGit(o.workspace, "rev-parse", "origin/master"), master);
  await o.run({ ZUUL_COMMIT: o.commit, ZUUL_BRANCH: "gone" });
  assert.equal(jobGit(o.workspace, "branch", "--remotes"), "");
});

test("tags that the server moved or removed are so in the next build", real, async () => {
  await using o = await lab();
  o.repository.git("tag", "moved");
  o.repository.git("tag", "gone");
  await o.run({ ZUUL_COMMIT: o.commit });
  const tip = await o.repository.commit({ "README.md": "two\n" });
  o.repository.git("tag", "--force", "moved");
  o.repository.git("tag", "--delete", "gone");
  await o.run({ ZUUL_COMMIT: o.commit });
  assert.equal(jobGit(o.workspace, "tag"), "moved");
  assert.equal(jobGit(o.workspace, "rev-parse", "moved"), tip);
});

for (const kind of ["branch", "tag"] as const) {
  test(`a ${kind} a that becomes a/b, and a again: neither is in the way of the other`, real, async () => {
    await using o = await lab();
    for (const [name, former] of [["a"], ["a/b", "a"], ["a/b"], ["a", "a/b"]] as const) {
      if (former) o.repository.git(kind, kind === "tag" ? "--delete" : "-D", former);
      o.repository.git(kind, "--force", name, "master");
      const parameters = kind === "tag" ? { ZUUL_REF: "master" } : { ZUUL_REF: name, ZUUL_BRANCH: name };
      const notes: string[] = [];
      const log = async (line: string) => void notes.push(line);
      await o.run({ ZUUL_COMMIT: o.commit, ...parameters }, { log });
      assert.equal(jobGit(o.workspace, "rev-parse", kind === "tag" ? name : `origin/${name}`), o.commit);
      if (!former) assert.doesNotMatch(notes.join("\n"), /error/);
    }
  });
}

test("names that aren't UTF-8, and trees deeper than a path may be long, are removed", real, async () => {
  await using o = await lab();
  const deep = 'd=$(printf "%0200d" 0); for i in $(seq 40); do mkdir "$d" && cd -P "$d" || exit 1; done';
  execFileSync("sh", ["-c", `printf x > "$(printf 'caf\\351.txt')"; ${deep}`], { cwd: o.workspace });
  await o.run({ ZUUL_COMMIT: o.commit });
  const names = await readdir(o.workspace, { encoding: "buffer" });
  assert.deepEqual(names.map(String).sort(), [".git", "README.md", "src"]);
});

test("a file of a commit whose name isn't UTF-8 is there, and gone in the next one", real, async () => {
  await using o = await lab();
  execFileSync("sh", ["-c", `printf x > "$(printf 'caf\\351.txt')"`], { cwd: o.repository.path });
  const parameters = { ZUUL_REF: "master", ZUUL_COMMIT: await o.repository.commit({}) };
  await o.run(parameters);
  assert.equal(jobGit(o.workspace, "ls-files", "caf*"), '"caf\\351.txt"');
  o.repository.git("rm", "--quiet", "caf*");
  await o.run({ ...parameters, ZUUL_COMMIT: await o.repository.commit({}) });
  assert.equal(jobGit(o.workspace, "status", "--porcelain", "--ignored"), "");
  assert.doesNotMatch((await readdir(o.workspace)).join(), /caf/);
});

test(
  "submodules come from their mirrors in later builds, whether or not the server is there",
  real,
  async () => {
    await using o = await lab();
    const library = await Repository.make(o.root, "org/library");
    const nested = await Repository.make(o.root, "org/nested");
    await nested.commit({ "nested.c": "int nested;\n" });
    library.git("submodule", "--quiet", "add", "../nested", "deep/nested");
    await library.commit({ "lib.c": "int lib;\n" });
    o.repository.git("submodule", "--quiet", "add", "../library", "lib");
    const commit = await o.repository.commit({});
    const parameters = { ZUUL_REF: "master", ZUUL_COMMIT: commit };
    await o.run(parameters);
    await rm(library.path, { recursive: true });
    await rm(nested.path, { recursive: true });
    await o.run(parameters);
    assert.equal(await readFile(join(o.workspace, "lib/deep/nested/nested.c"), "utf8"), "int nested;\n");
    assert.equal(await readFile(join(o.workspace, "lib/.git"), "utf8"), "gitdir: ../.git/modules/lib\n");
    assert.doesNotMatch(jobGit(o.workspace, "submodule", "status", "--recursive"), /^[-+U]/m);
    assert.equal(jobGit(o.workspace, "status", "--porcelain"), "");
  },
);

test("a submodule that isn't there is the change's own fault on every transport", real, async () => {
  await using o = await lab();
  await using daemon = await gitDaemon(o.root);
  const gone = '[submodule "lib"]\n\tpath = lib\n\turl = ../gone\n';
  await o.repository.commit({ ".gitmodules": gone });
  o.repository.git("update-index", "--add", "--cacheinfo", `160000,${o.commit},lib`);
  o.repository.git("commit", "--quiet", "-m", "gone");
  const parameters = { ZUUL_REF: "master", ZUUL_COMMIT: o.repository.git("rev-parse", "HEAD") };
  const ended = at("CHECKOUT_REFUSED", /submodule lib/);
  await assert.rejects(o.run(parameters), ended);
  await assert.rejects(o.run({ ...parameters, ZUUL_URL: daemon.url }), ended);
  o.repository.git("update-server-info");
  await using server = await webServer(join(o.root, ".."));
  const overHttp = { ZUUL_URL: `http://127.0.0.1:${server.port}/srv`, ZUUL_PROJECT: "org/project/.git" };
  await assert.rejects(o.run({ ...parameters, ...overHttp }), ended);
});

test("a password in the URL is in no command line, where other users could read it", real, async () => {
  await using o = await lab();
  o.repository.git("update-server-info");
  const seen: string[] = [];
  const expected = `Basic ${Buffer.from("lab:hunt!er2").toString("base64")}`;
  await using server = await webServer(join(o.root, ".."), 0, async (authorization) => {
    seen.push(...(await commandsWith("hunt")));
    return authorization === expected;
  });
  const url = `http://lab:hunt%21er2@127.0.0.1:${server.port}/srv`;
  await o.run({ ZUUL_URL: url, ZUUL_PROJECT: "org/project/.git", ZUUL_COMMIT: o.commit });
  assert.deepEqual(seen, []);
  assert.match(jobGit(o.workspace, "config", "remote.origin.url"), /hunt%21er2/);
});

test("ssh reads no user's configuration", real, async () => {
  await using o = await lab();
  const bin = join(o.path, "bin");
  await mkdir(bin);
  await writeFile(join(bin, "ssh"), `#!/bin/sh\necho "$@" >> ${o.path}/ssh.log\nexit 255\n`, { mode: 0o755 });
  const env = { ...gitEnv(), PATH: `${bin}:${gitEnv().PATH}` };
  const url = `ssh://git@127.0.0.1:${await freePort()}`;
  await assert.rejects(o.run({ ZUUL_URL: url }, { env }), at("CHECKOUT_UNREACHABLE"));
  assert.match(await readFile(join(o.path, "ssh.log"), "utf8"), /^-F none -o BatchMode=yes /);
});

const pointer = (content: string) => {
  const oid = createHash("sha256").update(content).digest("hex");
  return `version https://git-lfs.github.com/spec/v1\noid sha256:${oid}\nsize ${content.length}\n`;
};

/** A change with a file in Git LFS, which the server has or not. */
async function lfsChange(repository: Repository, content: string, isPushed: boolean): Promise<string> {
  const text = pointer(content);
  const commit = await repository.commit({ ".gitattributes": "*.bin filter=lfs -text\n", "fw.bin": text });
  const [, oid = ""] = /sha256:(.*)/.exec(text) ?? [];
  const objects = join(repository.path, ".git/lfs/objects", oid.slice(0, 2), oid.slice(2, 4));
  if (isPushed) {
    await mkdir(objects, { recursive: true });
    await writeFile(join(objects, oid), content);
  }
  return commit;
}

test("a box without git-lfs leaves pointers, and says so", real, async () => {
  await using o = await lab();
  const commit = await lfsChange(o.repository, "firmware\n", true);
  const bin = join(o.path, "bin");
  await mkdir(bin);
  await writeFile(join(bin, "git-lfs"), "#!/bin/sh\nexit 127\n", { mode: 0o755 });
  const env = { ...gitEnv(), PATH: `${bin}:${gitEnv().PATH}` };
  await o.run({ ZUUL_REF: "master", ZUUL_COMMIT: commit }, { env });
  assert.equal(await readFile(join(o.workspace, "fw.bin"), "utf8"), pointer("firmware\n"));
  assert.match(o.lines.join("\n"), /stay pointers, as git-lfs isn't installed/);
});

const lfs = { ...real, skip: lacks("git", "gitLfs") };

test("files in Git LFS are there; one that was never pushed is the change's own fault", lfs, async () => {
  await using o = await lab();
  const bin = join(o.path, "bin");
  await mkdir(bin);
  execFileSync("ln", ["-s", part("gitLfs"), join(bin, "git-lfs")]);
  const env = { ...gitEnv(), PATH: `${bin}:${gitEnv().PATH}` };
  const commit = await lfsChange(o.repository, "firmware\n", true);
  await o.run({ ZUUL_REF: "master", ZUUL_COMMIT: commit }, { env });
  assert.equal(await readFile(join(o.workspace, "fw.bin"), "utf8"), "firmware\n");
  const status = execFileSync("git", ["status", "--porcelain"], { cwd: o.workspace, env, encoding: "utf8" });
  assert.equal(status, "");
  const lost = await lfsChange(o.repository, "never pushed\n", false);
  await assert.rejects(
    o.run({ ZUUL_REF: "master", ZUUL_COMMIT: lost }, { env }),
    at("CHECKOUT_REFUSED", /Git LFS/),
  );
});
