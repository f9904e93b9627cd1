/** Checks a launch's change out into the workspace: fetch, check out, verify, and retry when the server is unreachable. */
import { setTimeout as delay } from "node:timers/promises";
import { BuildError } from "../errors.ts";
import { type Fetched, type FetchOptions, fetchSource, isDamage } from "./fetch.ts";
import { type GitOptions, run, stopped } from "./git.ts";
import type { Mirrors, Trust } from "./mirrors.ts";
import { away, gist, localTrouble, mask, noRepository } from "./output.ts";
import { readModuleSource, readSource, type Source } from "./source.ts";
import { absorbModules, type Module, makeWorkingTree } from "./working-tree.ts";

export interface CheckoutOptions extends GitOptions {
  readonly workspace: string;
  readonly mirrors: Mirrors;
  /** Of the job. */
  readonly trust: Trust;
  readonly parameters: ReadonlyMap<string, string>;
  readonly maxAttempts?: number;
  /** Before the second, third … attempt; the last one holds for all further ones. */
  readonly delaysMs?: readonly number[];
  /** Rejects when the signal aborts. */
  readonly sleep?: (ms: number, signal?: AbortSignal) => Promise<void>;
}

/** Keeps the objects in the mirrors that the workspace borrows, until the build has ended. */
export interface Checkout extends AsyncDisposable {
  /** What HEAD is at. */
  readonly commit: string;
}

/** What submodules may add up to: a repository can be its own submodule. */
const maxModules = 1000;
const maxDepth = 10;

/**
 * Checks out ZUUL_REF of ZUUL_URL/ZUUL_PROJECT at ZUUL_COMMIT with its history, tags and submodules, as gerrit-git-prep.sh did
 * for Jenkins under Zuul v2. The workspace is emptied first. A job can fetch more from `origin`; HEAD is detached. If the ref
 * has moved on, ZUUL_COMMIT counts.
 * @throws BuildError; CHECKOUT_REFUSED is the launch's or the change's fault, the others are not
 */
export async function checkout(options: CheckoutOptions): Promise<Checkout> {
  const { log, signal, maxAttempts = 3, delaysMs = [500, 2000], sleep = wait } = options;
  const source = readSource(options.parameters);
  await log(
    `checkout: ${source.ref} of ${mask(source.url, source.url)}${source.commit ? ` at ${source.commit}` : ""}`,
  );
  await using borrowed = new AsyncDisposableStack();
  for (let attempt = 1; ; attempt++) {
    try {
      const commit = await attemptOnce(source, { ...options, borrowed });
      const kept = borrowed.move();
      return { commit, [Symbol.asyncDispose]: () => kept.disposeAsync() };
    } catch (error) {
      if (!isWorthRetrying(error) || attempt >= maxAttempts) throw asBuildError(error);
      const ms = delaysMs[attempt - 1] ?? delaysMs.at(-1) ?? 0;
      await log(`checkout: ${error.message}; attempt ${attempt + 1} of ${maxAttempts} in ${ms / 1000} s`);
      try {
        await sleep(ms, signal);
      } catch (cause) {
        throw signal?.aborted ? stopped(signal) : cause;
      }
    }
  }
}

type Options = CheckoutOptions & FetchOptions;

async function attemptOnce(source: Source, options: Options): Promise<string> {
  const fetched = await fetchSource(source, options);
  const count = await place(source, fetched, options);
  if (count > 0) await absorbModules(options.workspace, source, options);
  await options.log(`checkout: HEAD is at ${fetched.commit}`);
  return fetched.commit;
}

/**
 * Makes a working tree, and those of its submodules.
 * @param at a submodule's path, and how many it lies below the project
 * @returns the number of submodules
 */
async function place(
  source: Source,
  fetched: Fetched,
  options: Options,
  at?: { readonly path: string; readonly depth: number },
): Promise<number> {
  const { workspace, log } = options;
  const make = (from: Fetched) => makeWorkingTree(workspace, source, from, options, at?.path);
  const tree = await make(fetched).catch(async (error: unknown) => {
    if (!isDamage(error)) throw error;
    await log(`checkout: ${(error as BuildError).message}; trying again with a new mirror`);
    return make(await fetchSource(source, options, "scratch"));
  });
  if (tree.usesLfs && (await fetchLfs(source, fetched, options)))
    await placeLfs(workspace, source, options, at?.path);
  let count = tree.modules.length;
  const depth = at?.depth ?? 0;
  if (count > 0 && depth >= maxDepth)
    throw new BuildError("CHECKOUT_REFUSED", `submodules are nested deeper than ${maxDepth}`);
  for (const module of tree.modules) {
    if (count > maxModules)
      throw new BuildError("CHECKOUT_REFUSED", `there are more than ${maxModules} submodules`);
    const below = readModuleSource(module.url, source, module.commit);
    const from = await fetchModule(module, below, options);
    count += await place(below, from, options, { path: module.path, depth: depth + 1 });
  }
  return count;
}

/** A repository or a commit that isn't there is the change's own doing, on every transport. */
async function fetchModule(module: Module, source: Source, options: Options): Promise<Fetched> {
  try {
    return await fetchSource(source, options, "cache");
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    const isGone =
      error.code === "CHECKOUT_MOVED" || (typeof error.cause === "string" && noRepository.test(error.cause));
    const message = `the submodule ${module.path.slice(0, 200)} can't be fetched: ${error.message}`;
    throw new BuildError(isGone ? "CHECKOUT_REFUSED" : error.code, message, { cause: error.cause });
  }
}

function isWorthRetrying(error: unknown): error is BuildError {
  return error instanceof BuildError && ["CHECKOUT_UNREACHABLE", "CHECKOUT_MOVED"].includes(error.code);
}

function asBuildError(error: unknown): BuildError {
  if (error instanceof BuildError) return error;
  return new BuildError("CHECKOUT", `the checkout failed: ${(error as Error).message}`, { cause: error });
}

function wait(ms: number, signal?: AbortSignal): Promise<void> {
  return delay(ms, undefined, signal ? { signal } : {});
}

/**
 * Git LFS: the files go to the mirror, fetched by the user that fetches. A workspace's git-lfs finds them there, as it looks
 * into the repositories that objects are borrowed from.
 */
const lfsFetchScript = `
git lfs version >/dev/null 2>&1 || exit 40
exec git lfs fetch origin "$1"
`;

/** The filters make `git status` see what LFS sees. */
const lfsPlaceScript = `
cd -- "$1" || exit 31
git lfs install --local --skip-repo >/dev/null && exec git lfs checkout >/dev/null
`;

/**
 * @returns false when this box has no git-lfs
 * @throws BuildError CHECKOUT_REFUSED when the server has not all files: the change's author didn't push them
 */
async function fetchLfs(source: Source, { mirror, commit }: Fetched, options: GitOptions): Promise<boolean> {
  const env = { GIT_DIR: "." };
  const inMirror = { owner: "fetch", folder: mirror, source, env, fetches: true } as const;
  const done = await run({ ...inMirror, script: lfsFetchScript, args: [commit] }, options);
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

async function placeLfs(workspace: string, source: Source, options: GitOptions, path = "."): Promise<void> {
  const inWorkspace = { owner: "build", folder: workspace, source } as const;
  const done = await run({ ...inWorkspace, script: lfsPlaceScript, args: [path] }, options);
  if (done.code !== 0)
    throw new BuildError("CHECKOUT", `files in Git LFS can't be placed: ${gist(done.output)}`);
}
