// Brings what the npm scripts need: the dependencies, and with them the Node that runs TypeScript as it is.
// Runs on the distribution's Node (18 or later); the second run only compares two hashes.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { arch, platform } from "node:process";

process.chdir(new URL("..", import.meta.url).pathname);

const stamp = "node_modules/.labgear-setup";
const wanted = createHash("sha256")
  .update(readFileSync("package-lock.json"))
  .update(`${platform} ${arch}`)
  .digest("hex");
const present =
  existsSync(stamp) && existsSync("node_modules/.bin/node") && readFileSync(stamp, "utf8") === wanted;

if (!present) install();

function install() {
  if (platform !== "linux" || !["x64", "arm64"].includes(arch)) {
    fail(`labgear runs on Linux on x64 or arm64, and this is ${platform} on ${arch}`);
  }
  console.error("labgear: installing the dependencies and Node 26 into node_modules (once) …");
  const npm = spawnSync("npm", ["ci", "--no-audit", "--no-fund", "--loglevel=error"], {
    stdio: ["ignore", 2, 2],
  });
  if (npm.error) fail(`npm can't be started: ${npm.error.message}; install the distribution's npm`);
  if (npm.status !== 0) fail("npm ci failed, see above; mend that and run the same command again");
  if (!existsSync("node_modules/.bin/node")) {
    fail(`npm ci brought no Node: run "npm ci --include=optional", node-linux-${arch} is an optional dependency`);
  }
  mkdirSync("node_modules", { recursive: true });
  writeFileSync(stamp, wanted);
}

/** @param {string} reason one line that says what is wrong and what to do */
function fail(reason) {
  console.error(`labgear: ${reason}`);
  process.exit(1);
}
