// Brings an arm64 Linux for the emulated board: a kernel and a busybox, whatever this machine's own processor is.
// apt gets a state of its own for that, as a foreign architecture of the system would be a change to the system.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** What a folder that has all of it contains. */
export const arm64Files = ["vmlinuz", "busybox"];

/**
 * Downloads the packages and leaves their two files in the folder. What fails is told by apt on standard error, and shows
 * in what is missing afterwards.
 * @param {string} root an absolute path
 */
export function fetchArm64(root) {
  const apt = join(root, "apt");
  for (const folder of ["state/lists/partial", "cache/archives/partial", "unpacked"]) {
    mkdirSync(join(apt, folder), { recursive: true });
  }
  writeFileSync(join(apt, "status"), "");
  const options = [
    ["Dir::State", join(apt, "state")],
    ["Dir::State::status", join(apt, "status")],
    ["Dir::Cache", join(apt, "cache")],
    ["Debug::NoLocking", "true"],
    ["APT::Sandbox::User", "root"],
    ["APT::Architecture", "arm64"],
    ["APT::Architectures", "arm64"],
  ].flatMap(([key, value]) => ["-o", `${key}=${value}`]);
  run("apt-get", [...options, "update", "-qq"], apt);
  // The meta package names the kernel that is the newest now.
  const kernel = /Depends: (linux-image-\S+)/.exec(
    run("apt-cache", [...options, "depends", "linux-image-cloud-arm64"], apt),
  )?.[1];
  if (kernel) run("apt-get", [...options, "download", "-qq", "busybox-static", kernel], apt);
  for (const file of readdirSync(apt).filter((name) => name.endsWith(".deb"))) {
    // Not the kernel's modules: nothing here needs one, and they are most of the package.
    const wanted = file.startsWith("busybox") ? "./bin/busybox" : "./boot/vmlinuz-*";
    run(
      "sh",
      ["-c", 'dpkg-deb --fsys-tarfile "$1" | tar -x -C unpacked --wildcards "$2"', "sh", file, wanted],
      apt,
    );
  }
  move(join(apt, "unpacked/boot"), /^vmlinuz-/, join(root, "vmlinuz"));
  move(join(apt, "unpacked/bin"), /^busybox$/, join(root, "busybox"));
  rmSync(apt, { recursive: true, force: true });
}

/** @param {string} folder @param {RegExp} pattern @param {string} to */
function move(folder, pattern, to) {
  const found = existsSync(folder) ? readdirSync(folder).find((name) => pattern.test(name)) : undefined;
  if (found) renameSync(join(folder, found), to);
}

/** @param {string} file @param {string[]} args @param {string} cwd @returns {string} what it printed */
function run(file, args, cwd) {
  return spawnSync(file, args, { cwd, stdio: ["ignore", "pipe", 2], encoding: "utf8" }).stdout ?? "";
}
