/** Where control groups are, by the texts of many systems; and real groups, where this system lets us. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { test } from "node:test";
import { detectCgroups, locateCgroup } from "#/runners/trees/cgroup.ts";
import { CgroupBase } from "#/runners/trees/cgroup-base.ts";

const unified = "25 1 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate";
const hybrid = [
  "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755",
  "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory",
  "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw",
].join("\n");

test("the group's directory is found on unified and hybrid systems, and in containers", () => {
  const service = "/system.slice/labgear.service";
  assert.deepEqual(locateCgroup(unified, `0::${service}\n`), {
    mount: "/sys/fs/cgroup",
    directory: `/sys/fs/cgroup${service}`,
  });
  assert.deepEqual(locateCgroup(hybrid, `4:memory:/elsewhere\n0::${service}\n`), {
    mount: "/sys/fs/cgroup/unified",
    directory: `/sys/fs/cgroup/unified${service}`,
  });
  assert.deepEqual(locateCgroup(unified, "0::/\n"), { mount: "/sys/fs/cgroup", directory: "/sys/fs/cgroup" });
  const part = unified.replace(" / ", " /docker/abc ").replace("/sys/fs/cgroup", "/mnt/my\\040groups");
  assert.deepEqual(locateCgroup(part, "0::/docker/abc/inner\n"), {
    mount: "/mnt/my groups",
    directory: "/mnt/my groups/inner",
  });
});

test("what stands in the way is one clear line", () => {
  const why = (mountinfo: string, membership: string) => {
    const located = locateCgroup(mountinfo, membership);
    assert.ok("unavailable" in located);
    assert.doesNotMatch(located.unavailable, /\n/);
    return located.unavailable;
  };
  assert.match(why(unified, "4:memory:/\n1:name=systemd:/\n"), /no control groups of version 2/);
  assert.match(why(hybrid.split("\n").slice(0, 2).join("\n"), "0::/\n"), /aren't mounted/);
  assert.match(why("", ""), /version 2/);
  assert.match(why("garbage - cgroup2", "0::/\n"), /aren't mounted/);
  assert.match(why(unified, "0::/../other\n"), /outside/);
  assert.match(why(unified.replace(" / ", " /docker/abc "), "0::/docker/abcd\n"), /outside/);
});

const home = await detectCgroups();
if ("unavailable" in home && process.env.CI) throw new Error(home.unavailable);
const skip = "unavailable" in home ? `NOT TESTED HERE: ${home.unavailable}` : false;

async function openBase(id: string): Promise<CgroupBase> {
  if ("unavailable" in home) throw new Error(home.unavailable);
  return await CgroupBase.open(home, id);
}

/** A process tree inside a group, as a build would start it. */
async function populate(directory: string): Promise<void> {
  const enter = `echo 0 > ${directory}/cgroup.procs; setsid sleep 3600 & echo inside; exec sleep 3600`;
  const child = spawn("/bin/sh", ["-c", enter], { stdio: ["ignore", "pipe", "inherit"], detached: true });
  child.unref();
  await once(child.stdout, "data");
  child.stdout.destroy();
}

test("a group is watched, killed and removed, and so are the groups made below it", { skip }, async () => {
  await using base = await openBase(`test-${randomBytes(6).toString("hex")}`);
  const group = await base.create("a build/../with a bad name");
  assert.match(group.directory, /\/build-a_build_.._with_a_bad_name-[0-9a-f]{8}$/);
  assert.equal(await group.emptied(60_000), true, "nobody is in it yet");
  const below = `${group.directory}/below`;
  await mkdir(below);
  await populate(below);
  assert.equal((await group.processes()).length, 2);
  assert.equal(await group.emptied(1), false);
  assert.equal(await group.emptied(60_000, AbortSignal.abort()), false);
  assert.equal(await group.remove(), "EBUSY");
  const empty = group.emptied(60_000);
  assert.deepEqual(await group.kill(), []);
  assert.equal(await empty, true, "who waits is told");
  assert.equal(await group.remove(), undefined);
  assert.equal(existsSync(group.directory), false);
});

test("the end of the agent leaves no group and no process", { skip }, async () => {
  const base = await openBase(`test-${randomBytes(6).toString("hex")}`);
  const group = await base.create("build");
  await populate(group.directory);
  const before = await group.processes();
  await base[Symbol.asyncDispose]();
  assert.equal(before.length, 2);
  assert.equal(existsSync(base.directory), false);
});

test("the next start finds what a killed agent left", { skip }, async () => {
  const id = `test-${randomBytes(6).toString("hex")}`;
  const killed = await openBase(id);
  await populate((await killed.create("build")).directory);
  await using next = await openBase(id);
  const found = await next.sweepStale();
  assert.equal(found.length, 2);
  assert.ok(
    found.every((one) => Math.abs(Date.now() - one.since.getTime()) < 60_000),
    "their start is known",
  );
  assert.deepEqual(await next.sweepStale(), []);
});

test("an id that could lead elsewhere is refused", { skip }, async () => {
  for (const id of ["", "../x", "a/b", "x".repeat(65)]) await assert.rejects(openBase(id), TypeError);
});
