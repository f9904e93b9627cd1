/**
 * Git LFS: the files go to the mirror, fetched by the user that fetches. A workspace's git-lfs finds them there, as it looks
 * into the repositories that objects are borrowed from.
 */
import { BuildError } from "../errors.ts";
import type { Fetched } from "./fetch.ts";
import { type GitOptions, run } from "./git.ts";
import { away, gist, localTrouble } from "./output.ts";
import type { Source } from "./source.ts";

const fetchScript = `
git lfs version >/dev/null 2>&1 || exit 40
exec git lfs fetch origin "$1"
`;

/** The filters make `git status` see what LFS sees. */
const placeScript = `
cd -- "$1" || exit 31
git lfs install --local --skip-repo >/dev/null && exec git lfs checkout >/dev/null
`;

/**
 * @returns false when this box has no git-lfs
 * @throws BuildError CHECKOUT_REFUSED when the server has not all files: the change's author didn't push them
 */
export async function fetchLfs(
  source: Source,
  { mirror, commit }: Fetched,
  options: GitOptions,
): Promise<boolean> {
  const env = { GIT_DIR: "." };
  const inMirror = { owner: "fetch", folder: mirror, source, env, fetches: true } as const;
  const done = await run({ ...inMirror, script: fetchScript, args: [commit] }, options);
  if (done.code === 40) {
    await options.log("checkout: files in Git LFS stay pointers, as git-lfs isn't installed on this box");
    return false;
  }
  if (done.code === 0) return true;
  const message = `files in Git LFS can't be fetched: ${gist(done.output)}`;
  if (localTrouble.test(done.output)) throw new BuildError("CHECKOUT", message);
  if (away.test(done.output) || /dial tcp|timeout/i.test(done.output))
    throw new BuildError("CHECKOUT_UNREACHABLE", message);
  throw new BuildError("CHECKOUT_REFUSED", message);
}

export async function placeLfs(
  workspace: string,
  source: Source,
  options: GitOptions,
  path = ".",
): Promise<void> {
  const inWorkspace = { owner: "build", folder: workspace, source } as const;
  const done = await run({ ...inWorkspace, script: placeScript, args: [path] }, options);
  if (done.code !== 0)
    throw new BuildError("CHECKOUT", `files in Git LFS can't be placed: ${gist(done.output)}`);
}
