/** Finds the official Node for this machine's architecture and for the other one. */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";

export const architectures = ["x64", "arm64"] as const;
export type Architecture = (typeof architectures)[number];

const root = new URL("..", import.meta.url).pathname;

/**
 * npm installs only this architecture's Node: the other one is downloaded once and checked against the lock file.
 * @returns the program's path
 * @throws when it cannot be downloaded or does not match the lock file
 */
export async function findNode(architecture: Architecture): Promise<string> {
  const name = `node-linux-${architecture}`;
  const installed = join(root, "node_modules", name, "bin/node");
  if (existsSync(installed)) return installed;
  const { version, integrity } = locked(name);
  const folder = join(root, "node_modules/.labgear-nodes", `${name}-${version}`);
  const program = join(folder, "bin/node");
  if (existsSync(program)) return program;
  const fresh = `${folder}.new`;
  rmSync(fresh, { recursive: true, force: true });
  mkdirSync(fresh, { recursive: true });
  const packed = await execa("npm", ["pack", "--silent", "--pack-destination", fresh, `${name}@${version}`], {
    cwd: root,
    stderr: "inherit",
  });
  const archive = join(fresh, packed.stdout.trim().split("\n").at(-1) ?? "");
  const found = `sha512-${createHash("sha512").update(readFileSync(archive)).digest("base64")}`;
  if (found !== integrity) throw new Error(`${name}@${version} does not match package-lock.json: ${found}`);
  await execa("tar", ["-xzf", archive, "-C", fresh, "--strip-components=1", "package/bin/node"]);
  rmSync(archive);
  renameSync(fresh, folder);
  return program;
}

function locked(name: string): { version: string; integrity: string } {
  const lock = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8"));
  const entry = lock.packages[`node_modules/${name}`];
  if (!entry) throw new Error(`package-lock.json has no ${name}`);
  return entry;
}
