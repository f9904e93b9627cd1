/** Makes a workspace from a mirror, as the build's own user: nothing that an earlier build left in it is used. */
import { BuildError } from "../errors.ts";
import type { Fetched } from "./fetch.ts";
import { type Finished, type GitOptions, run } from "./git.ts";
import { gist, localTrouble, notStorable } from "./output.ts";
import type { Source } from "./source.ts";

/**
 * rm(1) takes names as bytes and trees of any depth. A job may have taken its own rights to folders away; what still can't be
 * removed belongs to another user. rm would also empty what a job left mounted here from the same disk
 * (proc_pid_mountinfo(5) has blanks as \\040).
 */
const emptyScript = `
here=$(pwd -P | sed 's/ /\\\\040/g')
if grep -qF " $here/" /proc/self/mountinfo; then echo 'error: something is mounted in it' >&2; exit 30; fi
empty() { find . -mindepth 1 -maxdepth 1 -exec rm -rf --one-file-system -- {} +; }
empty 2>/dev/null || { chmod -R u+rwx . 2>/dev/null; empty || exit 30; }
`;

/**
 * A new repository that borrows the mirror's objects; the refs come on standard input, as packed-refs has them
 * (gitrepository-layout(5)). The URL may hold a password, so it is no argument. At last the files of Git LFS and the submodules:
 * lines "lfs", "module KEY" and its value, and "commit HASH PATH".
 */
const checkoutScript = `
format=$1 mirror=$2 commit=$3
git init --quiet --template= --object-format="$format" . && chmod 600 .git/config || exit 31
printf '[remote "origin"]\\n\\turl = "%s"\\n\\tfetch = +refs/heads/*:refs/remotes/origin/*\\n' "$LABGEAR_URL" >> .git/config || exit 31
mkdir -p .git/objects/info && printf '%s\\n' "$mirror/objects" > .git/objects/info/alternates && cat > .git/packed-refs || exit 31
if [ -f "$mirror/shallow" ]; then cp "$mirror/shallow" .git/shallow || exit 31; fi
git checkout --quiet --force --detach "$commit" || exit 32
[ "$(git rev-parse HEAD)" = "$commit" ] || exit 33
if git grep -q --cached -e 'filter=lfs' -- ':(glob)**/.gitattributes'; then echo lfs; fi
[ -f .gitmodules ] && [ ! -L .gitmodules ] || exit 0
git submodule --quiet init || exit 34
git config -f .gitmodules --get-regexp '^submodule\\..*\\.(path|url|update)$' | sed 's/^/module /'
git -c core.quotePath=false ls-files --stage | sed -n 's/^160000 \\([0-9a-f]*\\) 0./commit \\1 /p'
`;

export interface WorkingTree {
  readonly usesLfs: boolean;
  readonly modules: readonly Module[];
}

export interface Module {
  /** Relative to the workspace. */
  readonly path: string;
  readonly url: string;
  readonly commit: string;
}

/**
 * @param path of a submodule, relative to the workspace; absent: the workspace itself, which is emptied first
 * @throws BuildError
 */
export async function makeWorkingTree(
  workspace: string,
  source: Source,
  { mirror, commit, refs }: Fetched,
  options: GitOptions,
  path?: string,
): Promise<WorkingTree> {
  const format = commit.length === 64 ? "sha256" : "sha1";
  const begin = path === undefined ? emptyScript : 'cd -- "$4" || exit 31\n';
  const done = await run(
    {
      owner: "build",
      folder: workspace,
      script: begin + checkoutScript,
      args: [format, mirror, commit, path ?? "."],
      source,
      input: refs === "" ? "" : `${refs}\n`,
      // git must not find a repository in a folder above.
      env: { LABGEAR_URL: source.url, GIT_CEILING_DIRECTORIES: workspace.replace(/\/[^/]*$/, "") },
    },
    options,
  );
  if (done.code !== 0) throw failure(done);
  return { usesLfs: done.data[0] === "lfs", modules: modulesOf(done.data, path) };
}

function failure({ code, output }: Finished): BuildError {
  const why = gist(output);
  if (code === 30) return new BuildError("WORKSPACE", `the workspace can't be emptied: ${why}`);
  if (code === 32 && notStorable.test(output))
    return new BuildError("CHECKOUT_REFUSED", `the commit can't be checked out: ${why}`);
  if (code === 34 && !localTrouble.test(output))
    return new BuildError("CHECKOUT_REFUSED", `the submodules can't be checked out: ${why}`);
  return new BuildError("CHECKOUT", `the commit can't be checked out: ${why}`, { cause: output });
}

/** @throws BuildError CHECKOUT_REFUSED for a submodule without a URL */
function modulesOf(data: readonly string[], above: string | undefined): Module[] {
  const settings = new Map<string, { path?: string; url?: string; update?: string }>();
  for (const line of data) {
    const [, name, key, value] = /^module submodule\.(.*)\.(path|url|update) (.*)$/.exec(line) ?? [];
    if (name !== undefined && key !== undefined) settings.set(name, { ...settings.get(name), [key]: value });
  }
  const byPath = new Map([...settings.values()].map((module) => [module.path, module]));
  const modules: Module[] = [];
  for (const line of data) {
    const [, commit, path] = /^commit ([0-9a-f]+) (.*)$/.exec(line) ?? [];
    if (commit === undefined || path === undefined) continue;
    const module = byPath.get(path);
    if (module?.update === "none") continue;
    if (module?.url === undefined) {
      const message = `the submodules can't be checked out: .gitmodules has no URL for ${path.slice(0, 200)}`;
      throw new BuildError("CHECKOUT_REFUSED", message);
    }
    modules.push({ path: above === undefined ? path : `${above}/${path}`, url: module.url, commit });
  }
  return modules;
}

/** Moves the submodules' repositories to where git itself has them: .git/modules of the workspace. */
export async function absorbModules(workspace: string, source: Source, options: GitOptions): Promise<void> {
  const script = "exec git submodule --quiet absorbgitdirs";
  const done = await run({ owner: "build", folder: workspace, script, args: [], source }, options);
  if (done.code !== 0) throw failure({ ...done, code: 34 });
}
