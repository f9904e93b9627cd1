/** The file system of the bad board: a folder with a busybox, made once. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { copyFile, mkdir, mkdtemp, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { part } from "../support/parts.ts";

const out = new URL("../.out/targets", import.meta.url).pathname;
const source = (name: string) => new URL(`machine/${name}`, import.meta.url).pathname;

/** What else labgear needs on a board, and the test's script there. */
const smallSystem = "cat dd echo mkdir mv printf rm seq sleep stty tee tr tty wc md5sum".split(" ");
export const encoders = ["od", "hexdump", "xxd", "uuencode"] as const;
export type Encoder = (typeof encoders)[number];

/** Where the programs of a small system with this encoder are. */
export const smallFolder = (encoder: Encoder) => `/small/${encoder}`;

/** What makes a system of that folder; runs on the host, in name spaces of its own. */
export const setupScript = source("setup.sh");

/** Busybox's own shell runs every applet, even where it has no name. */
const dash = "/bin/dash";

/** The folder's path. */
export async function machineRoot(): Promise<string> {
  const busybox = part("busybox");
  const programs = await Promise.all([busybox, dash, source("getty")].map((file) => readFile(file)));
  const digest = programs.reduce((hash, bytes) => hash.update(bytes), createHash("sha256")).digest("hex");
  const root = join(out, `machine-${digest.slice(0, 16)}`);
  if (existsSync(root)) return root;
  await mkdir(out, { recursive: true });
  const mine = await mkdtemp(join(out, "new-machine-"));
  await fill(join(mine, "root"), busybox);
  // Test files run at the same time: whoever is first has made it.
  await rename(join(mine, "root"), root).catch((error: unknown) => {
    if (!existsSync(root)) throw error;
  });
  await rm(mine, { recursive: true, force: true });
  return root;
}

async function fill(root: string, busybox: string): Promise<void> {
  for (const folder of ["bin", "etc", "dev", "proc", "tmp", "root", "run", "truth", "var"]) {
    await mkdir(join(root, folder), { recursive: true, mode: 0o755 });
  }
  await copyFile(busybox, join(root, "bin/busybox"));
  const applets = execFileSync(busybox, ["--list"], { encoding: "utf8" }).split("\n").filter(Boolean);
  for (const name of applets.filter((applet) => applet !== "busybox")) {
    await symlink("busybox", join(root, "bin", name));
  }
  await installDash(root);
  for (const encoder of encoders) {
    const folder = join(root, smallFolder(encoder));
    await mkdir(folder, { recursive: true, mode: 0o755 });
    for (const name of [...smallSystem, encoder]) await symlink("/bin/busybox", join(folder, name));
    await symlink(dash, join(folder, "sh"));
  }
  await copyFile(source("getty"), join(root, "etc/getty"));
  await writeFile(join(root, "etc/passwd"), "root:x:65534:65534:root:/root:/bin/sh\n");
}

/** With its libraries. */
async function installDash(root: string): Promise<void> {
  const needs = execFileSync("ldd", [dash], { encoding: "utf8" }).match(/\/\S+(?= \()/g) ?? [];
  for (const file of [dash, ...needs]) {
    await mkdir(join(root, dirname(file)), { recursive: true, mode: 0o755 });
    await copyFile(file, join(root, file));
  }
}
