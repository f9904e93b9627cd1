// Provides the real programs that the tests talk to. Those that the system lacks are downloaded as Debian packages and
// unpacked below test/.out/parts. If that fails it says so loudly, as do the tests that need the part; with CI set it fails.
// Runs on the distribution's Node, before the tests.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { unpackPackages } from "../packaging/debs.mjs";
import { arm64Files, fetchArm64 } from "./arm64.mjs";

const root = new URL(".out/parts", import.meta.url).pathname;
const triplet = process.arch === "arm64" ? "aarch64-linux-gnu" : "x86_64-linux-gnu";

/** Each part: a file that proves it is there, and the Debian package that contains it. */
const parts = [
  ["usr/sbin/gearmand", "gearman-job-server"],
  ["usr/bin/gearman", "gearman-tools"],
  ["usr/bin/gearadmin", "gearman-tools"],
  ["usr/share/perl5/Gearman/Server.pm", "gearman-server"],
  ["usr/share/perl5/Gearman/Client.pm", "libgearman-client-perl"],
  ["usr/bin/stunnel4", "stunnel4"],
  ["usr/bin/openssl", "openssl"],
  ["usr/bin/git", "git"],
  ["usr/bin/git-lfs", "git-lfs"],
  [`usr/lib/${triplet}/faketime/libfaketime.so.1`, "libfaketime"],
  ["usr/bin/qemu-system-aarch64", "qemu-system-arm"],
  ["usr/lib/u-boot/qemu_arm64/u-boot.bin", "u-boot-qemu"],
  ["usr/share/firmware-microbit-micropython/firmware.hex", "firmware-microbit-micropython"],
  ["usr/bin/socat", "socat"],
  ["usr/sbin/ser2net", "ser2net"],
  ["usr/bin/picocom", "picocom"],
  ["usr/bin/sb", "lrzsz"],
  ["usr/lib/python3/dist-packages/serial/rfc2217.py", "python3-serial"],
  ["usr/lib/chromium/chromium", "chromium"],
  ["usr/bin/promtool", "prometheus"],
  ["usr/bin/ansible-playbook", "ansible-core"],
  ["usr/bin/cloud-init", "cloud-init"],
  ["usr/share/doc/zsh-static/copyright", "zsh-static"],
  ["usr/bin/fish", "fish"],
  ["usr/share/doc/tcsh/copyright", "tcsh"],
  ["usr/share/doc/mksh/copyright", "mksh"],
  // The dynamic busybox has the same program name.
  ["usr/share/doc/busybox-static/copyright", "busybox-static"],
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
  unpackPackages(wanted, root);
}
// Not every release has it, and apt fetches nothing if a name is unknown.
const toybox = join(root, "bin/toybox");
if (!existsSync("/bin/toybox") && !existsSync(toybox)) unpackPackages(["toybox"], root);
const arm64 = join(root, "arm64");
const missingArm64 = () => arm64Files.some((file) => !existsSync(join(arm64, file)));
if (missingArm64()) {
  console.error("labgear: fetching a Linux for the emulated board …");
  fetchArm64(arm64);
}
const still = [...missing(), ...(missingArm64() ? ["linux-image-cloud-arm64", "busybox-static"] : [])];
if (still.length > 0) {
  console.error(
    `\n*** labgear: NOT TESTED HERE: ${still.join(", ")} cannot be downloaded, and the tests that need it are skipped.\n` +
      `*** Install it: sudo apt-get install ${still.join(" ")}\n`,
  );
  if (process.env.CI) process.exit(1);
}
