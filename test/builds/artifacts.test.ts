import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { constants, watch } from "node:fs";
import {
  chmod,
  copyFile,
  link,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  realpath,
  rm,
  symlink,
  truncate,
  writeFile,
} from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { type ArtifactLimits, collectArtifacts, isDiskFailure } from "#/builds/artifacts.ts";
import { removeTree } from "#/builds/workspace/remove.ts";

/** A workspace and a folder of a build. */
async function lab() {
  const path = await realpath(await mkdtemp(join(tmpdir(), "labgear-artifacts-")));
  const workspace = join(path, "workspace");
  const into = join(path, "build/artifacts");
  await mkdir(workspace);
  await mkdir(into, { recursive: true });
  const put = async (name: string, content = name) => {
    await mkdir(dirname(join(workspace, name)), { recursive: true });
    await writeFile(join(workspace, name), content);
  };
  const collect = (globs: string[], limits: Partial<ArtifactLimits> = {}) =>
    collectArtifacts({ workspace, globs, into, limits });
  return {
    path,
    workspace,
    into,
    put,
    collect,
    [Symbol.asyncDispose]: () => removeTree(path),
  };
}

const deep = 'd=$(printf "%0200d" 0); for i in $(seq 40); do mkdir "$d" && cd -P "$d" || break; done; : >end';

const paths = (result: { files: { path: string }[] }) => result.files.map((file) => file.path);

test("what the globs match is copied to the same paths", async () => {
  await using o = await lab();
  for (const name of [
    "build/a.bin",
    "build/sub/b.bin",
    "build/c.txt",
    "top.bin",
    ".hidden/x.bin",
    "logs/deep/er/x.log",
  ])
    await o.put(name);
  const result = await o.collect(["build/*.bin", "**/*.bin", "logs", "./top.bin"]);
  assert.deepEqual(result.warnings, []);
  assert.deepEqual(paths(result), ["build/a.bin", "build/sub/b.bin", "logs/deep/er/x.log", "top.bin"]);
  assert.deepEqual(result.files[0], {
    path: "build/a.bin",
    size: 11,
    sha256: createHash("sha256").update("build/a.bin").digest("hex"),
  });
  for (const path of paths(result)) assert.equal(await readFile(join(o.into, path), "utf8"), path);
});

test("braces, brackets and a single file by its name", async () => {
  await using o = await lab();
  for (const name of ["a/b/1.xml", "c/2.xml", "c/3.xml", "d/4.xml"]) await o.put(name);
  assert.deepEqual(paths(await o.collect(["{a/b,c}/[12].xml"])), ["a/b/1.xml", "c/2.xml"]);
  assert.deepEqual(paths(await o.collect(["d/4.xml"])), ["a/b/1.xml", "c/2.xml", "d/4.xml"]);
});

test("a glob that matches nothing, and globs that lead out, are named", async () => {
  await using o = await lab();
  await o.put("a");
  const result = await o.collect([
    "nothing/*.bin",
    "/etc/passwd",
    "../*",
    "a/../../*",
    "",
    "x\n*",
    "missing",
  ]);
  assert.deepEqual(result.files, []);
  assert.deepEqual(result.warnings, [
    '"nothing/*.bin" matches nothing',
    '"/etc/passwd" is not a glob inside the workspace',
    '"../*" is not a glob inside the workspace',
    '"a/../../*" is not a glob inside the workspace',
    '"" is not a glob inside the workspace',
    '"x\\n*" is not a glob inside the workspace',
    '"missing" matches nothing',
  ]);
});

test("links that stay inside are followed, links that lead out are refused", async () => {
  await using o = await lab();
  await o.put("real/firmware-1.2.bin", "firmware");
  await writeFile(join(o.path, "secret"), "secret");
  await symlink("real/firmware-1.2.bin", join(o.workspace, "latest.bin"));
  await symlink("../secret", join(o.workspace, "out.bin"));
  await symlink("/etc/passwd", join(o.workspace, "passwd.bin"));
  await symlink("/etc", join(o.workspace, "etc"));
  await symlink("missing", join(o.workspace, "dangling.bin"));
  const result = await o.collect(["*.bin", "etc/passwd", "etc/*", "**/passwd"]);
  assert.deepEqual(paths(result), ["latest.bin"]);
  assert.ok((await lstat(join(o.into, "latest.bin"))).isFile());
  assert.deepEqual(result.warnings.sort(), [
    '"**/passwd" matches nothing',
    '"dangling.bin" is left out: ENOENT',
    '"etc/*" matches nothing',
    '"etc/passwd" matches nothing',
    '"out.bin" is left out: it is a link that leads out of the folder',
    '"passwd.bin" is left out: it is a link that leads out of the folder',
  ]);
});

test("FIFOs, sockets, devices and odd names are refused and named on one line", async () => {
  await using o = await lab();
  await mkdir(join(o.workspace, "x"));
  execFileSync("mkfifo", [join(o.workspace, "x/fifo")]);
  await symlink("/dev/zero", join(o.workspace, "x/zero"));
  await o.put("x/new\nline");
  await o.put("x/\u001b[2Jclear");
  await writeFile(Buffer.from(`${o.workspace}/x/\xff.bin`, "latin1"), "");
  await o.put("x/<script>", "fine");
  const server = createServer().listen(join(o.workspace, "x/socket"));
  await new Promise((resolve) => server.once("listening", resolve));
  try {
    const result = await o.collect(["x/*"]);
    assert.deepEqual(paths(result), ["x/<script>"]);
    assert.equal(result.warnings.length, 6);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what mustn't be there
    for (const line of result.warnings) assert.doesNotMatch(line, /[\u0000-\u001f]/);
  } finally {
    server.close();
  }
});

test("limits: files, bytes, and a sparse file of a terabyte", async () => {
  await using o = await lab();
  for (let i = 0; i < 20; i++) await o.put(`many/${i}.bin`, "x".repeat(100));
  const few = await o.collect(["many/*"], { maxFiles: 5 });
  assert.equal(few.files.length, 5);
  assert.deepEqual(few.warnings, [
    '"many/*" matches more than the 5 files that are kept; the rest is left out',
  ]);
  await rm(o.into, { recursive: true });
  const small = await o.collect(["many/*"], { maxBytes: 550 });
  assert.equal(small.files.length, 5);
  assert.equal(small.warnings.length, 15);
  await o.put("sparse.img", "");
  await truncate(join(o.workspace, "sparse.img"), 2 ** 40);
  const sparse = await o.collect(["sparse.img"]);
  assert.match(sparse.warnings[0] ?? "", /"sparse.img" is left out: its 1099511627776 bytes/);
});

test("hard links count each", async () => {
  await using o = await lab();
  await o.put("0", "x".repeat(100));
  for (let i = 1; i < 10; i++) await link(join(o.workspace, "0"), join(o.workspace, String(i)));
  assert.equal((await o.collect(["*"], { maxBytes: 500 })).files.length, 5);
});

test("a job that makes very many files meets the limit, and warnings stay few", async () => {
  await using o = await lab();
  await mkdir(join(o.workspace, "many"));
  execFileSync("sh", ["-c", "seq -f many/%.0f.bin 20000 | xargs touch"], { cwd: o.workspace });
  const result = await o.collect(["many/*", "**/*.bin", "many"], { maxFiles: 10 });
  assert.equal(result.files.length, 10);
  await rm(o.into, { recursive: true });
  for (let i = 0; i < 300; i++) await symlink("/etc/passwd", join(o.workspace, `link${i}`));
  const { warnings } = await o.collect(["link*"]);
  assert.equal(warnings.length, 101);
  assert.equal(warnings.at(-1), "and 200 more like these");
});

test("what the job itself put among the artifacts is listed; links and devices there are removed", async () => {
  await using o = await lab();
  await using outside = await lab();
  await o.put("out/fw.bin", "new");
  await mkdir(join(o.into, "own"));
  await writeFile(join(o.into, "own/report.html"), "mine");
  await symlink("/etc/passwd", join(o.into, "passwd"));
  execFileSync("mkfifo", [join(o.into, "fifo")]);
  await symlink(outside.workspace, join(o.into, "out"));
  const result = await o.collect(["out/*"]);
  assert.deepEqual(paths(result), ["out/fw.bin", "own/report.html"]);
  assert.deepEqual(await readdir(outside.workspace), [], "nothing is written through a planted link");
  assert.deepEqual((await readdir(o.into)).sort(), ["out", "own"]);
  assert.equal(result.warnings.length, 2);
});

test("a planted link in place of a file, and of the whole folder, is replaced", async () => {
  await using o = await lab();
  await using outside = await lab();
  await outside.put("target", "precious");
  await o.put("fw.bin", "new");
  await symlink(join(outside.workspace, "target"), join(o.into, "fw.bin"));
  await o.collect(["fw.bin"]);
  assert.equal(await readFile(join(outside.workspace, "target"), "utf8"), "precious");
  assert.equal(await readFile(join(o.into, "fw.bin"), "utf8"), "new");
  await rm(o.into, { recursive: true });
  await symlink(outside.workspace, o.into);
  await o.collect(["fw.bin"]);
  assert.deepEqual(await readdir(outside.workspace), ["target"]);
  assert.equal(await readFile(join(o.into, "fw.bin"), "utf8"), "new");
});

test("modes don't come along", async () => {
  await using o = await lab();
  await o.put("tool");
  await chmod(join(o.workspace, "tool"), 0o4755);
  await o.collect(["tool"]);
  assert.equal((await lstat(join(o.into, "tool"))).mode & 0o7777, 0o644);
});

const mayMount = spawnSync("unshare", ["-rm", "true"]).status === 0;

test("a full disk is an error that says so", {
  skip: !mayMount && "NOT TESTED HERE: no mounts in a namespace",
}, async () => {
  await using o = await lab();
  await o.put("big.bin", "x".repeat(1_000_000));
  const module = new URL("../../src/builds/artifacts.ts", import.meta.url).href;
  const script = `
    import { collectArtifacts } from ${JSON.stringify(module)};
    const parts = { workspace: ${JSON.stringify(o.workspace)}, globs: ["*"], into: ${JSON.stringify(join(o.path, "build/artifacts"))} };
    await collectArtifacts(parts).then(() => console.log("collected"), (error) => console.log(error.code, error.message));`;
  const shell = `mount -t tmpfs -o size=64k tmpfs "$1/build" && mkdir "$1/build/artifacts" && exec "$2" --input-type=module -e "$3"`;
  const args = ["-rm", "sh", "-c", shell, "sh", o.path, process.execPath, script];
  const said = execFileSync("unshare", args, { encoding: "utf8" });
  assert.match(
    said,
    /^ARTIFACTS the artifacts can't be stored: the disk that holds .* is full; free some space/,
  );
});

test("a stop leaves out what isn't copied yet, and nothing half", async () => {
  await using o = await lab();
  for (let n = 100; n < 400; n++) await o.put(`${n}.bin`, "x".repeat(100_000));
  const stop = new AbortController();
  const watcher = watch(o.into, () => stop.abort());
  const result = await collectArtifacts({ ...o, globs: ["*.bin"], signal: stop.signal });
  watcher.close();
  assert.ok(result.files.length < 300, `${result.files.length} files are kept`);
  assert.deepEqual(result.warnings, ["the build was stopped; some artifacts are missing"]);
  for (const { path, size } of result.files) {
    assert.equal(size, 100_000);
    assert.equal((await lstat(join(o.into, path))).size, size);
  }
});

test("a stop ends the copy of a large file, and takes it away", async (t) => {
  await using o = await lab();
  await o.put("image.bin");
  const [from, to] = [join(o.workspace, "image.bin"), join(o.path, "clone")];
  const clones = await copyFile(from, to, constants.COPYFILE_FICLONE_FORCE).catch((error) => error);
  if (!clones) return t.skip("NOT TESTED HERE: files are cloned at once");
  await truncate(join(o.workspace, "image.bin"), 512 * 1024 ** 2);
  const stop = new AbortController();
  const watcher = watch(o.into, () => stop.abort());
  const result = await collectArtifacts({ ...o, globs: ["image.bin"], signal: stop.signal });
  watcher.close();
  assert.deepEqual(result.files, []);
  assert.deepEqual(await readdir(o.into), []);
});

test("what the job did to its folders is a warning, never an error", async () => {
  const deeds: [deed: string, globs: string[], kept: string[], warning: RegExp][] = [
    ['rm -rf "$W"', ["*"], [], /the job removed its workspace/],
    ['rm -rf "$W"', [], [], /^$/],
    ['mv "$W" "$W.old"; ln -s "$W.old" "$W"', ["*"], [], /the job removed its workspace/],
    ['rm -rf "$A"', ["*"], ["file"], /^$/],
    ['rm -rf "$(dirname "$A")"', ["*"], [], /no more artifacts can be kept: ENOENT/],
    ['rm -rf "$A"; : >"$A"', ["*"], ["file"], /^$/],
    ['rm -rf "$A"; ln -s "$A" "$A"', ["*"], ["file"], /^$/],
    ['chmod 0 "$A"', ["*"], ["file"], /^$/],
    [': >"$A/$(printf "caf\\351.txt")"', [], [], /"caf.\.txt" is removed: its name is not UTF-8/],
    [
      'mkdir -p "$A/$(printf "\\377")/x"; : >"$A/$(printf "\\377")/x/y"',
      [],
      [],
      /is removed: its name is not UTF-8/,
    ],
    [': >"$W/$(printf "caf\\351.txt")"', ["*"], ["file"], /"caf.\.txt" is left out: its name is not UTF-8/],
    [`cd "$A"; ${deep}`, ["*"], ["file"], /is removed: it is nested too deep/],
    [`cd "$W"; ${deep}`, ["**"], ["file"], /is left out: it is nested too deep/],
    ['mkdir "$A/file"; : >"$A/file/x"', ["*"], ["file"], /^$/],
    ['mkdir "$W/d"; : >"$W/d/x"; : >"$A/d"', ["**"], ["d/x", "file"], /^$/],
    ['ln -s loop "$W/loop"', ["loop"], [], /"loop" is left out: ELOOP/],
  ];
  for (const [deed, globs, kept, warning] of deeds) {
    await using o = await lab();
    await o.put("file");
    execFileSync("sh", ["-ec", deed], { env: { ...process.env, W: o.workspace, A: o.into } });
    const result = await o.collect(globs);
    assert.deepEqual(paths(result), kept, deed);
    assert.match(result.warnings.join("\n"), warning, deed);
    assert.ok(result.warnings.every((line) => line.length < 400));
    if (!deed.includes("dirname"))
      assert.equal(
        execFileSync("find", [o.into, "-type", "f"]).toString().split("\n").length - 1,
        kept.length,
        deed,
      );
  }
});

/** The time of a file's last change. */
const changed = async (path: string) => (await lstat(path, { bigint: true })).ctimeNs;

test("what is older than the build is left out, and named; a file that changed since is the build's", async () => {
  await using o = await lab();
  for (const name of ["old", "renamed", "touched", "rewritten", "target"]) await o.put(`out/${name}`);
  const at = (name: string) => join(o.workspace, "out", name);
  execFileSync("sh", ["-c", "while ! : >mark || [ ! mark -nt target ]; do :; done"], {
    cwd: join(o.workspace, "out"),
  });
  const from = await changed(at("mark"));
  await rm(at("mark"));
  execFileSync("mv", [at("renamed"), at("moved")]);
  execFileSync("touch", ["-d", "2001-01-01", at("touched")]);
  execFileSync("cp", ["-p", at("old"), at("copied")]);
  execFileSync("touch", ["-d", "2001-01-01", at("restored")]);
  await writeFile(at("rewritten"), "new");
  await symlink("target", at("link"));
  const own = ["out/copied", "out/moved", "out/restored", "out/rewritten", "out/touched"];
  const parts = { workspace: o.workspace, globs: ["out/*"], into: o.into, period: { from } };
  const result = await collectArtifacts(parts);
  assert.deepEqual(paths(result), own);
  assert.equal(result.warnings.length, 1);
  const [line = ""] = result.warnings;
  assert.match(line, /^left out, since older than this build: "out\/.*\(stale: keep would keep them\)$/);
  for (const name of ["old", "target", "link"]) assert.ok(line.includes(`"out/${name}"`), line);

  const kept = await collectArtifacts({ ...parts, stale: "keep" });
  assert.deepEqual(paths(kept), [...own, "out/link", "out/old", "out/target"].sort());
  assert.deepEqual(
    kept.files.filter(({ stale }) => stale).map(({ path }) => path),
    ["out/link", "out/old", "out/target"],
  );
  assert.match(kept.warnings.join(), /^kept, though older than this build: /);
});

test("a disk that fails is the box's fault only if it is the box's", () => {
  const failed = (code: string) => new Error("x", { cause: Object.assign(new Error(code), { code }) });
  for (const code of ["ENOSPC", "EDQUOT", "EROFS", "EIO"]) assert.ok(isDiskFailure(failed(code)));
  for (const code of ["ENOENT", "EACCES", "EMFILE"]) assert.ok(!isDiskFailure(failed(code)));
});

test("after a stop, what the job itself put among the artifacts is listed without its digest", async () => {
  await using o = await lab();
  await o.put("left-out.txt");
  await writeFile(join(o.into, "own.txt"), "own");
  const result = await collectArtifacts({ ...o, globs: ["*.txt"], signal: AbortSignal.abort() });
  assert.deepEqual(result.files, [{ path: "own.txt", size: 3 }]);
});
