/**
 * The repository in a workspace: made anew for each checkout; of the last build's only the objects stay.
 */
import { appendFile, chmod, chown, lstat, mkdir, opendir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { BuildError } from "../errors.ts";
import { openInside } from "../workspace/files.ts";
import { removeTree } from "../workspace/workspace.ts";
import { type GitOptions, git } from "./git.ts";
import type { Source } from "./source.ts";

/** Where the fetched ref goes, out of the way of the job's own refs. */
export const fetched = "refs/labgear/fetched";
/** Names the last commit that was checked out: the next fetch only asks for what is new. */
const tipFile = "labgear-tip";

/**
 * Makes `WORKSPACE/.git`. Configuration, hooks, refs, index, alternates, locks and submodules are removed, since an earlier build
 * could have left anything there; objects stay, since their names are their hashes.
 * @param keep false: the objects go, too
 * @returns true when there are objects of an earlier build
 * @throws BuildError CHECKOUT
 */
export async function prepareRepository(
  source: Source,
  options: GitOptions,
  keep: boolean,
): Promise<boolean> {
  const folder = join(options.workspace, ".git");
  const length = source.commit?.length ?? 40;
  const tip = keep ? await readTip(options.workspace, length) : undefined;
  if (tip) await dropAllButObjects(folder);
  else await removeTree(folder);
  const format = length === 64 ? "sha256" : "sha1";
  const made = await git(["init", "--quiet", "--template=", `--object-format=${format}`], source, options);
  if (!made.ok)
    throw new BuildError("CHECKOUT", `git can't make a repository in the workspace: ${gist(made.output)}`);
  // Not with `git remote add`: every user of the box could read its arguments, and the URL can have a password.
  const remote = `[remote "origin"]\n\turl = "${source.url}"\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n`;
  await appendFile(join(folder, "config"), remote);
  await chmod(join(folder, "config"), 0o600);
  if (tip) {
    await mkdir(join(folder, "refs/labgear"), { recursive: true });
    await writeFile(join(folder, fetched), `${tip}\n`);
    // git may run as the build's user, who owns everything else here.
    const { uid, gid } = await lstat(folder);
    for (const path of ["refs/labgear", fetched]) await chown(join(folder, path), uid, gid);
  }
  return tip !== undefined;
}

export async function keepTip(workspace: string, commit: string): Promise<void> {
  await writeFile(join(workspace, ".git", tipFile), commit);
}

/** Removes everything in a workspace except its repository. */
export async function emptyWorkspace(workspace: string): Promise<void> {
  for await (const entry of await opendir(workspace)) {
    if (entry.name !== ".git") await removeTree(join(workspace, entry.name));
  }
}

/** The line of git's output that says what went wrong. */
export function gist(output: string): string {
  const lines = output.split("\n");
  // ssh knows the reason; git only knows that ssh failed.
  const reasons = [/^ssh: |Permission denied|^Host key verification failed/, /^(fatal|error): /];
  const found =
    reasons.map((reason) => lines.findIndex((line) => reason.test(line))).find((at) => at >= 0) ?? -1;
  const line = lines.at(found) || "git gave no reason";
  // "unable to connect to HOST:" has its reason on the next line.
  const whole = line.endsWith(":") ? `${line} ${lines[found + 1] ?? ""}` : line;
  return whole.replace(/^(fatal|error): /, "").slice(0, 300);
}

async function readTip(workspace: string, length: number): Promise<string | undefined> {
  const file = await openInside(workspace, `.git/${tipFile}`);
  if (typeof file === "string") return undefined;
  await using _ = file;
  const { buffer, bytesRead } = await file.read(Buffer.alloc(100), 0, 100, 0);
  const tip = buffer.toString("latin1", 0, bytesRead);
  const folders = [".git", ".git/objects", ".git/objects/pack"].map((name) => lstat(join(workspace, name)));
  const real = await Promise.all(folders).catch(() => []);
  const sound = real.length > 0 && real.every((folder) => folder.isDirectory());
  return sound && tip.length === length && /^[0-9a-f]+$/.test(tip) ? tip : undefined;
}

async function dropAllButObjects(folder: string): Promise<void> {
  for (const name of await readdir(folder)) if (name !== "objects") await removeTree(join(folder, name));
  // Alternates and the commit graph; then the leftovers of a killed fetch.
  await removeTree(join(folder, "objects/info"));
  for await (const { name } of await opendir(join(folder, "objects/pack"))) {
    if (!/\.(pack|idx)$/.test(name)) await removeTree(join(folder, "objects/pack", name));
  }
}
