// Brings the real parts that the tests talk to. What the system lacks is fetched as Debian packages and unpacked
// below test/.out/parts: no root needed, nothing of the system changed, and no service of a package started.
// Where that can't be done it says so loudly; the tests that need the part say it again, and with CI set
// this fails. Runs on the distribution's Node, before the tests.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";

const root = new URL(".out/parts", import.meta.url).pathname;

/** Each real part: the file that proves it is there, and the Debian package that brings it. */
const parts = [
  ["usr/sbin/gearmand", "gearman-job-server"],
  ["usr/bin/gearman", "gearman-tools"],
  ["usr/bin/gearadmin", "gearman-tools"],
  ["usr/share/perl5/Gearman/Server.pm", "gearman-server"],
  ["usr/share/perl5/Gearman/Client.pm", "libgearman-client-perl"],
  ["usr/bin/stunnel4", "stunnel4"],
  ["usr/bin/openssl", "openssl"],
  ["usr/bin/git", "git"],
];

const missing = () => [
  ...new Set(
    parts
      .filter(([file]) => !existsSync(join("/", file)) && !existsSync(join(root, file)))
      .map(([, name]) => name),
  ),
];

const wanted = missing();
if (wanted.length > 0) {
  console.error(`labgear: fetching what the tests talk to: ${wanted.join(" ")} …`);
  fetch(wanted);
}
const still = missing();
if (still.length > 0) {
  console.error(
    `\n*** labgear: NOT TESTED HERE: ${still.join(", ")} can't be fetched, and the tests that need it are skipped.\n` +
      `*** Install it: sudo apt-get install ${still.join(" ")}\n`,
  );
  if (process.env.CI) process.exit(1);
}

/**
 * Downloads the packages, and what they depend on that isn't installed, with apt's state in a folder of ours.
 * @param {string[]} names Debian packages
 */
function fetch(names) {
  const apt = join(root, "apt");
  for (const folder of ["state/lists/partial", "cache/archives/partial"]) {
    mkdirSync(join(apt, folder), { recursive: true });
  }
  const options = [
    ["Dir::State", join(apt, "state")],
    ["Dir::State::status", "/var/lib/dpkg/status"],
    ["Dir::Cache", join(apt, "cache")],
    ["Debug::NoLocking", "true"],
    ["APT::Sandbox::User", ""],
  ].flatMap(([key, value]) => ["-o", `${key}=${value}`]);
  run("apt-get", [...options, "update", "-qq"]);
  run("apt-get", [...options, "install", "-y", "-qq", "--download-only", "--no-install-recommends", ...names]);
  const archives = join(apt, "cache/archives");
  for (const file of readdirSync(archives).filter((name) => name.endsWith(".deb"))) {
    run("dpkg-deb", ["-x", join(archives, file), root]);
  }
  rmSync(apt, { recursive: true, force: true });
}

/**
 * A failure shows in what is still missing afterwards.
 * @param {string} file
 * @param {string[]} args
 */
function run(file, args) {
  spawnSync(file, args, { stdio: ["ignore", "ignore", 2] });
}
