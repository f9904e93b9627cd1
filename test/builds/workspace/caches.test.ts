/** Caches: kept from build to build, whatever their builds leave in them. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmod, lstat, mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { listCachesAside, prepareCaches } from "#/builds/workspace/caches.ts";
import { asNobody, lacksRoot } from "../../support/nobody.ts";
import { temporaryFolder } from "../../support/servers.ts";

const build = { executor: "0", job: "j", trust: "lab" };

test("caches are kept; a file in their place makes way", async () => {
  await using state = await temporaryFolder();
  const made = await prepareCaches(state.path, build, ["a", "b"]);
  const [a = "", b = ""] = made.folders;
  await writeFile(join(a, "kept"), "");
  await chmod(a, 0);
  execFileSync("rm", ["-r", b]);
  await writeFile(b, "");
  const again = await prepareCaches(state.path, build, ["a", "b"]);
  assert.deepEqual(again, { ...made, lines: [] });
  assert.deepEqual([await readdir(a), await readdir(b)], [["kept"], []]);
});

test("a cache of another user, as a container leaves it, is moved aside, with a line", {
  skip: lacksRoot(),
}, async () => {
  await using state = await temporaryFolder();
  const [cache = ""] = (await prepareCaches(state.path, build, ["a"])).folders;
  await mkdir(join(cache, "root/full"), { recursive: true });
  execFileSync("chown", ["-R", "65534:65534", state.path]);
  execFileSync("chown", ["-R", "0:0", cache]);
  const args = [state.path, build, ["a"]].map((arg) => JSON.stringify(arg)).join(", ");
  const code = `console.log((await lib.prepareCaches(${args})).lines.join());`;
  const said = await asNobody("workspace/caches.ts", code);
  assert.equal(said, "the cache a can't be used (EPERM): it is moved aside, and a new one made");
  assert.equal((await lstat(cache)).uid, 65534);
  assert.deepEqual(await readdir(cache), []);
  assert.equal((await listCachesAside(state.path)).length, 1);
});
