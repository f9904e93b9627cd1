// Unpacks Debian packages into a folder: no root needed, nothing of the system changed, no service started.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";

/**
 * Downloads packages, and what they depend on that isn't installed, and unpacks them. What fails is told by apt
 * on standard error, and shows in what is missing afterwards.
 * @param {string[]} names
 * @param {string} root an absolute path
 */
export function unpackPackages(names, root) {
  const apt = join(root, "apt");
  for (const folder of ["state/lists/partial", "cache/archives/partial"]) {
    mkdirSync(join(apt, folder), { recursive: true });
  }
  const options = [
    ["Dir::State", join(apt, "state")],
    ["Dir::State::status", "/var/lib/dpkg/status"],
    ["Dir::Cache", join(apt, "cache")],
    ["Debug::NoLocking", "true"],
    // As root, apt would download as a user who may not write here.
    ["APT::Sandbox::User", "root"],
  ].flatMap(([key, value]) => ["-o", `${key}=${value}`]);
  run("apt-get", [...options, "update", "-qq"]);
  run("apt-get", [
    ...options,
    "install",
    "-y",
    "-qq",
    "--download-only",
    "--no-install-recommends",
    ...names,
  ]);
  const archives = join(apt, "cache/archives");
  for (const file of readdirSync(archives).filter((name) => name.endsWith(".deb"))) {
    run("dpkg-deb", ["-x", join(archives, file), root]);
  }
  rmSync(apt, { recursive: true, force: true });
}

/** @param {string} file @param {string[]} args */
function run(file, args) {
  if (existsSync(`/usr/bin/${file}`)) spawnSync(file, args, { stdio: ["ignore", "ignore", 2] });
}
