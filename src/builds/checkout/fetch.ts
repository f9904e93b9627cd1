/** Fetches into a mirror what a checkout needs, as the user that fetches. */
import { BuildError } from "../errors.ts";
import { type Finished, type GitOptions, run, stopped } from "./git.ts";
import type { Mirrors, Trust } from "./mirrors.ts";
import { away, damaged, gist, localTrouble, noRef } from "./output.ts";
import type { Source } from "./source.ts";

/** What a workspace is made of. */
export interface Fetched {
  /** The mirror. */
  readonly mirror: string;
  readonly commit: string;
  /** `OBJECT refs/…`, one a line: tags, and the change's branch as that of origin. */
  readonly refs: string;
}

/** What a killed fetch left is in the way of the next one: nothing else is at work in the mirror. */
const prepare = `
command -v git >/dev/null || exit 127
[ -f HEAD ] || git init --quiet --bare --template= --object-format="$1" . || exit 20
find . -path ./objects -prune -o -name '*.lock' -exec rm -f {} +
rm -rf objects/pack/tmp_* objects/pack/*.keep objects/tmp_*
`;

/**
 * $2, a ref or a commit, becomes refs/labgear/fetched. All tags come along, for git describe. --prune takes a name that the server
 * doesn't list in full for one that is gone. A former branch a,
 * which it doesn't prune, is in the way of the branch a/b. --update-shallow: a source may be shallow itself (git-fetch(1)).
 */
const fetchScript = `${prepare}
branch=$3 deepen=
above=$3
while [ "$above" != "\${above%/*}" ]; do
  above=\${above%/*}
  ! git show-ref --verify --quiet "refs/heads/$above" || git update-ref -d "refs/heads/$above"
done
case $2 in refs/*|HEAD) prune=--prune ;; *) prune=--no-prune ;; esac
set -- "+$2:refs/labgear/fetched" '+refs/tags/*:refs/tags/*'
[ -z "$branch" ] || set -- "$@" "+refs/heads/$branch*:refs/heads/$branch*"
[ ! -f shallow ] || deepen=--unshallow
exec git fetch --progress --force --no-tags --no-write-fetch-head --no-recurse-submodules --no-auto-maintenance \\
  --update-shallow $prune $deepen origin "$@"
`;

/** Says the commit, and the refs; exit code 3: it isn't in the history that the last fetch has proved complete. */
const resolveScript = `
[ -f HEAD ] || exit 3
commit=$(git rev-parse --verify --quiet "\${1:-refs/labgear/fetched}^{commit}") || exit 3
git merge-base --is-ancestor "$commit" refs/labgear/fetched || exit 3
echo "$commit"
[ -z "$2" ] || git for-each-ref --format='%(objectname) refs/remotes/origin/%(refname:lstrip=2)' "refs/heads/$2"
exec git for-each-ref --format='%(objectname) %(refname)' refs/tags
`;

const tidyScript = `${prepare}
exec git -c gc.auto=6700 -c gc.pruneExpire=now -c gc.autoDetach=false gc --auto --quiet
`;

export interface FetchOptions extends GitOptions {
  readonly mirrors: Mirrors;
  /** Of the job: each trust has mirrors of its own. */
  readonly trust: Trust;
  /** Keeps the mirrors for as long as the workspace needs them. */
  readonly borrowed: AsyncDisposableStack;
}

/**
 * @param from a commit of a submodule that the mirror has is not asked for again; a damaged mirror is made anew
 * @throws BuildError
 */
export async function fetchSource(
  source: Source,
  options: FetchOptions,
  from: "server" | "cache" | "scratch" = "server",
): Promise<Fetched> {
  const format = source.commit?.length === 64 ? "sha256" : "sha1";
  const mirror = options.borrowed.use(options.mirrors.borrow(source.url, format, options.trust));
  const { signal } = options;
  const global = await options.mirrors.globalConfig(source);
  try {
    return await mirror.fetch(
      (open) => fetchExclusively({ source, format, open, options, from, global }),
      tidier(source, options, format),
      signal,
    );
  } catch (error) {
    throw signal?.aborted ? stopped(signal) : error;
  }
}

interface Fetch {
  readonly source: Source;
  readonly format: string;
  readonly open: (isNew: boolean) => Promise<string>;
  readonly options: GitOptions;
  readonly from: "server" | "cache" | "scratch";
  /** git's "global" configuration, which reaches the other end of a local fetch as well. */
  readonly global: string;
}

async function fetchExclusively(fetch: Fetch): Promise<Fetched> {
  const { source, format, options, from } = fetch;
  const mirror = await fetch.open(from === "scratch");
  const branch = source.branch ?? "";
  const inMirror = (script: string, args: readonly string[], fetches = false) => {
    const env = { GIT_DIR: ".", GIT_CONFIG_GLOBAL: fetch.global };
    return run({ owner: "fetch", folder: mirror, script, args, source, fetches, env }, options);
  };
  const get = async (wanted: string): Promise<BuildError | undefined> => {
    const done = await inMirror(fetchScript, [format, wanted, branch], true);
    return done.code === 0 ? undefined : fetchFailure(done, source);
  };
  const resolve = async (): Promise<Fetched | undefined> => {
    const { code, data } = await inMirror(resolveScript, [source.commit ?? "", branch]);
    const [commit, ...refs] = data;
    return code === 0 && commit ? { mirror, commit, refs: refs.join("\n") } : undefined;
  };

  const cached = from === "cache" ? await resolve() : undefined;
  if (cached) return cached;
  const failure = await get(source.ref);
  if (failure && from !== "scratch" && isDamage(failure)) {
    await options.log(`checkout: ${failure.message}; trying again with a new mirror`);
    return fetchExclusively({ ...fetch, from: "scratch" });
  }
  // A submodule's repository may have no HEAD.
  if (failure && !(failure.code === "CHECKOUT_MOVED" && source.ref === "HEAD" && source.commit))
    throw failure;
  let found = failure ? undefined : await resolve();
  if (!found && source.commit) {
    // The ref has moved on. A server with protocol version 2 also hands out a commit by its name.
    await options.log(`checkout: ${source.ref} doesn't lead to the commit; asking for the commit itself`);
    if (!(await get(source.commit))) found = await resolve();
    if (!found)
      throw new BuildError("CHECKOUT_MOVED", `${source.ref} no longer has the commit ${source.commit}`);
  }
  if (!found) throw new BuildError("CHECKOUT_REFUSED", `${source.ref} is not a commit`);
  return found;
}

/** Whether a fetch or a checkout failed because the mirror is damaged, as a crash or a bad disk leave it. */
export function isDamage(error: unknown): boolean {
  if (!(error instanceof BuildError) || error.code !== "CHECKOUT") return false;
  return typeof error.cause === "string" && damaged.test(error.cause) && !away.test(error.cause);
}

function fetchFailure({ output }: Finished, source: Source): BuildError {
  if (noRef.test(output))
    return new BuildError("CHECKOUT_MOVED", `${source.ref} does not exist: ${gist(output)}`);
  const local = localTrouble.test(output) || (damaged.test(output) && !away.test(output));
  return new BuildError(
    local ? "CHECKOUT" : "CHECKOUT_UNREACHABLE",
    `the fetch failed: ${gist(output)}`,
    // What the server said decides whether a submodule is the change's own fault.
    { cause: output },
  );
}

/** Packs the mirror when it has many files, and drops what no ref leads to. */
function tidier(source: Source, { trees, env }: GitOptions, format: string) {
  return async (folder: string, signal: AbortSignal): Promise<void> => {
    const quiet = { trees, ...(env && { env }), log: () => {}, signal };
    const inMirror = { owner: "fetch", folder, source, env: { GIT_DIR: "." } } as const;
    await run({ ...inMirror, script: tidyScript, args: [format] }, quiet);
  };
}
