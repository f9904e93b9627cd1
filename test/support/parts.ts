/** Where the real parts of the tests are: in the system, or unpacked by test/parts.mjs. */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";

const root = new URL("../.out/parts", import.meta.url).pathname;
const triplet = process.arch === "arm64" ? "aarch64-linux-gnu" : "x86_64-linux-gnu";

/** Perl's compiled modules, and those of its core, lie in folders named after its version. */
const versioned = (folder: string) =>
  existsSync(folder) ? readdirSync(folder).map((version) => join(folder, version)) : [];

const perlFolders = [
  join(root, "usr/share/perl5"),
  ...[`usr/lib/${triplet}/perl5`, `usr/lib/${triplet}/perl`, "usr/share/perl"].flatMap((folder) =>
    versioned(join(root, folder)),
  ),
];

/** The environment in which an unpacked part finds its libraries and Perl modules; the system's own still work. */
export const partsEnv: NodeJS.ProcessEnv = {
  ...process.env,
  LD_LIBRARY_PATH: [
    join(root, "usr/lib", triplet),
    join(root, "lib", triplet),
    // Chromium needs libpulse, which keeps a library of its own there.
    join(root, "usr/lib", triplet, "pulseaudio"),
    process.env.LD_LIBRARY_PATH ?? "",
  ]
    .filter(Boolean)
    .join(":"),
  PERL5LIB: perlFolders.join(":"),
  PYTHONPATH: join(root, "usr/lib/python3/dist-packages"),
  /** The modules of ser2net. */
  GENSIO_LIBRARY_PATH: versioned(join(root, `usr/libexec/${triplet}/gensio`)).join(":"),
};

const files = {
  gearmand: "usr/sbin/gearmand",
  gearman: "usr/bin/gearman",
  gearadmin: "usr/bin/gearadmin",
  /** The Perl job server's program; it shares its name with the C one. */
  perlGearmand: "usr/bin/gearmand",
  perlGearmanClient: "usr/share/perl5/Gearman/Client.pm",
  stunnel: "usr/bin/stunnel4",
  openssl: "usr/bin/openssl",
  git: "usr/bin/git",
  gitLfs: "usr/bin/git-lfs",
  ansiblePlaybook: "usr/bin/ansible-playbook",
  cloudInit: "usr/bin/cloud-init",
  /** A library that gives a process another clock. */
  faketime: `usr/lib/${triplet}/faketime/libfaketime.so.1`,
  chromium: "usr/lib/chromium/chromium",
  /** pySerial's client of RFC 2217. */
  pyserial: "usr/lib/python3/dist-packages/serial/rfc2217.py",
  /** Checks metrics for Prometheus. */
  promtool: "usr/bin/promtool",
  qemuArm64: "usr/bin/qemu-system-aarch64",
  qemuArm: "usr/bin/qemu-system-arm",
  /** QEMU's own data, for its option -L. */
  qemuData: "usr/share/qemu",
  ubootArm64: "usr/lib/u-boot/qemu_arm64/u-boot.bin",
  micropythonMicrobit: "usr/share/firmware-microbit-micropython/firmware.hex",
  socat: "usr/bin/socat",
  ser2net: "usr/sbin/ser2net",
  picocom: "usr/bin/picocom",
  /** The system's: the agent finds it on the PATH. */
  curl: "usr/bin/curl",
  /** Sends by YMODEM. */
  sb: "usr/bin/sb",
  zsh: "bin/zsh-static",
  fish: "usr/bin/fish",
  tcsh: "bin/tcsh",
  mksh: "bin/mksh",
  /** Only where the distribution has it. */
  toybox: "bin/toybox",
  /** The static one, for this machine's processor. */
  busybox: "bin/busybox",
  /** An arm64 kernel and a static busybox, for the emulated board. */
  linuxArm64: "arm64/vmlinuz",
  busyboxArm64: "arm64/busybox",
} as const;

export type Part = keyof typeof files;

/** The path of a real part, if it is there. */
export function optionalPart(name: Part): string | undefined {
  return [join(root, files[name]), join("/", files[name])].find((file) => existsSync(file));
}

/** The path of a real part, which must be there. */
export function part(name: Part): string {
  const found = optionalPart(name);
  if (!found) throw new Error(`${name} is not here: run "node test/parts.mjs" and see what it says`);
  return found;
}

/**
 * For a test's `skip` option: false when all the parts are there, else the reason to skip.
 * With CI set a lack is an error, since CI has to have all of them.
 */
export function lacks(...names: Part[]): string | false {
  for (const name of names) {
    try {
      part(name);
    } catch (error) {
      if (process.env.CI) throw error;
      return `NOT TESTED HERE: ${(error as Error).message}`;
    }
  }
  return false;
}
