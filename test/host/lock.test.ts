import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join, relative } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { HostError } from "#/host/errors.ts";
import { lockFolder } from "#/host/lock.ts";
import { testFolder } from "../support/folders.ts";

const child = new URL("lock-child.ts", import.meta.url).pathname;

/** Another process that tries to hold a folder: what it says, and its end. */
async function holder(folder: string, cwd = process.cwd()) {
  const held = spawn(process.execPath, [child, folder], { cwd, stdio: ["pipe", "pipe", "inherit"] });
  const ended = once(held, "exit");
  const [line] = (await once(createInterface(held.stdout), "line")) as [string];
  const end = async (how: () => void) => {
    how();
    await ended;
  };
  return {
    line,
    leave: () => end(() => held.stdin.end()),
    kill: () => end(() => held.kill("SIGKILL")),
    [Symbol.asyncDispose]: () => end(() => held.kill("SIGKILL")),
  };
}

const locked = (error: unknown) => {
  assert.ok(error instanceof HostError);
  assert.equal(error.code, "LOCKED");
  assert.match(
    error.message,
    /^another labgear agent uses .*: stop it first, or choose another --state-dir$/,
  );
  return true;
};

test("a folder has one holder, and the next one when it is given back", async () => {
  using folder = testFolder();
  await using first = await holder(folder.path);
  assert.equal(first.line, "locked");
  await using second = await holder(folder.path);
  assert.match(second.line, /^LOCKED: another labgear agent uses /);
  await assert.rejects(lockFolder(folder.path), locked);
  await first.leave();
  await using _ = await lockFolder(folder.path);
  await using third = await holder(folder.path);
  assert.match(third.line, /^LOCKED: /);
});

test("a holder that is killed holds nothing", async () => {
  using folder = testFolder();
  await using first = await holder(folder.path);
  assert.equal(first.line, "locked");
  await first.kill();
  await using _ = await lockFolder(folder.path);
});

test("the folder counts, not how it is written", async () => {
  using folder = testFolder();
  mkdirSync(join(folder.path, "state"));
  symlinkSync("state", join(folder.path, "link"));
  await using _ = await lockFolder(join(folder.path, "state"));
  await assert.rejects(lockFolder(join(folder.path, "link")), locked);
  await assert.rejects(lockFolder(`${folder.path}/./link/../state/`), locked);
  await assert.rejects(lockFolder(relative(process.cwd(), join(folder.path, "state"))), locked);
  await using other = await holder("state", folder.path);
  assert.match(other.line, /^LOCKED: another labgear agent uses state:/);
  await using __ = await lockFolder(folder.path);
});

test("one process can't hold it twice, and giving it back twice does no harm", async () => {
  using folder = testFolder();
  const first = await lockFolder(folder.path);
  await assert.rejects(lockFolder(folder.path), locked);
  await Promise.all([first[Symbol.asyncDispose](), first[Symbol.asyncDispose]()]);
  await using second = await lockFolder(folder.path);
  await first[Symbol.asyncDispose]();
  await assert.rejects(lockFolder(folder.path), locked);
  void second;
});

test("the folder is made, with those above it", async () => {
  using folder = testFolder();
  await using _ = await lockFolder(join(folder.path, "a/b/c"));
  await using __ = await lockFolder(join(folder.path, "a/b"));
});

test("a folder that can't be created is reported, with what to do", async () => {
  using folder = testFolder();
  writeFileSync(join(folder.path, "file"), "");
  symlinkSync("loop", join(folder.path, "loop"));
  for (const name of ["file", "file/below", "loop", "loop/below", "/dev/null/x", "a\0b"]) {
    await assert.rejects(lockFolder(name.startsWith("/") ? name : join(folder.path, name)), (error) => {
      assert.ok(error instanceof HostError, name);
      assert.equal(error.code, "UNUSABLE");
      assert.match(
        error.message,
        /^the state directory .* can't be created: .*; choose another with --state-dir, or run as/s,
      );
      return true;
    });
  }
});

test("who connects to the lock is sent away and keeps nobody from giving it back", async () => {
  using folder = testFolder();
  const lock = await lockFolder(folder.path);
  const name = `\0labgear/${createHash("sha256").update(folder.path).digest("hex")}`;
  const sockets = Array.from({ length: 20 }, () => connect(name).on("error", () => {}));
  await Promise.all(sockets.map((socket) => once(socket, "close")));
  await lock[Symbol.asyncDispose]();
  await using _ = await lockFolder(folder.path);
});
