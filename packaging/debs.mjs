// Unpacks Debian packages into a folder: needs no root, changes nothing on the system, starts no service.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";

/**
 * Downloads packages and those of their dependencies that are not installed, and unpacks them. apt reports errors on standard
 * error; the caller checks what is missing afterwards.
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
    // As root, apt would download as a user that may not write here.
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
