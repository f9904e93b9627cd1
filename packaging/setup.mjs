// Installs what the npm scripts need: the dependencies, among them the Node that runs TypeScript directly.
// Runs on the distribution's Node (18 or later). Later runs only compare two hashes.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { arch, platform } from "node:process";
import { unpackPackages } from "./debs.mjs";

process.chdir(new URL("..", import.meta.url).pathname);

/** npm puts this folder first in PATH, so this is the scripts' `node`. */
const linked = "node_modules/.bin/node";
const stamp = "node_modules/.labgear-setup";
const wanted = createHash("sha256")
  .update(readFileSync("package-lock.json"))
  .update(`${platform} ${arch}`)
  .digest("hex");

if (!existsSync(stamp) || !existsSync(linked) || readFileSync(stamp, "utf8") !== wanted) {
  if (platform !== "linux" || !["x64", "arm64"].includes(arch)) {
    fail(`labgear runs on Linux on x64 or arm64; this is ${platform} on ${arch}`);
  }
  installDependencies();
  linkNode(`../node-linux-${arch}/bin/node`);
  writeFileSync(stamp, wanted);
}

function installDependencies() {
  console.error("labgear: installing the dependencies and Node 26 into node_modules (once) …");
  const options = ["--no-audit", "--no-fund", "--loglevel=error", "--include=dev", "--include=optional"];
  const npm = spawnSync("npm", ["ci", ...options], { stdio: ["ignore", 2, 2] });
  if (npm.error) fail(`npm cannot be started (${npm.error.message}): install the distribution's npm`);
  if (npm.status !== 0) fail("npm ci failed, see above; fix that and run the same command again");
}

/**
 * npm 9 (Debian 12) does not always link the program of an optional package.
 * @param {string} target relative to node_modules/.bin
 */
function linkNode(target) {
  const program = join("node_modules/.bin", target);
  if (!existsSync(program)) fail(`npm ci did not install ${program}: is the registry complete?`);
  rmSync(linked, { force: true });
  if (runs(program)) return symlinkSync(target, linked);
  // The official Node needs libatomic1, which a machine with the distribution's Node may not have.
  const root = join(process.cwd(), "node_modules/.labgear-libs");
  unpackPackages(["libatomic1"], root);
  const triplet = arch === "arm64" ? "aarch64-linux-gnu" : "x86_64-linux-gnu";
  const path = `${root}/usr/lib/${triplet}`;
  const start = `#!/bin/sh\nexport LD_LIBRARY_PATH="${path}\${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"\n`;
  writeFileSync(linked, `${start}exec "${process.cwd()}/node_modules/node-linux-${arch}/bin/node" "$@"\n`, {
    mode: 0o755,
  });
  if (!runs(linked))
    fail("Node 26 does not start, see above; try: sudo apt-get install libatomic1 libstdc++6");
}

/** @param {string} program */
function runs(program) {
  return spawnSync(program, ["--version"], { stdio: "ignore" }).status === 0;
}

/** @param {string} reason one line: what is wrong and what to do @returns {never} */
function fail(reason) {
  console.error(`labgear: ${reason}`);
  process.exit(1);
}
