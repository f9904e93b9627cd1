/**
 * Brings a launch's change into the workspace: fetch, check out, verify, and again when the server was away.
 */
import { lstat } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { BuildError, type BuildErrorCode } from "../errors.ts";
import { type GitOptions, git, mask, stopped } from "./git.ts";
import { emptyWorkspace, fetched, gist, keepTip, prepareRepository } from "./repository.ts";
import { readSource, type Source } from "./source.ts";

export interface CheckoutOptions extends GitOptions {
  /** All of the launch's parameters. */
  readonly parameters: ReadonlyMap<string, string>;
  /** How often it is tried in all. */
  readonly attempts?: number;
  /** Milliseconds before the second, third … attempt; the last one holds for all further ones. */
  readonly delays?: readonly number[];
  /** Waits for so many milliseconds, or rejects when the signal is aborted. */
  readonly sleep?: (ms: number, signal?: AbortSignal) => Promise<void>;
}

/**
 * Checks out ZUUL_REF of ZUUL_URL/ZUUL_PROJECT at ZUUL_COMMIT, with the whole history and the tags that
 * belong to it, and the submodules when there are any, as the scripts for Jenkins under Zuul v2 did
 * (gerrit-git-prep.sh). The workspace is emptied first. `origin` is the repository, so that a job can fetch
 * more; HEAD is detached. When the ref has moved on, ZUUL_COMMIT is what counts.
 * @returns the commit that HEAD is at
 * @throws BuildError; CHECKOUT_REFUSED is the launch's or the change's fault, all others are not
 */
export async function checkout(options: CheckoutOptions): Promise<{ commit: string }> {
  const { log, signal, attempts = 3, delays = [500, 2000], sleep = wait } = options;
  const source = readSource(options.parameters);
  await log(
    `checkout: ${source.ref} of ${mask(source.url, source.url)}${source.commit ? ` at ${source.commit}` : ""}`,
  );
  for (let attempt = 1; ; attempt++) {
    try {
      return { commit: await attemptOnce(source, options) };
    } catch (error) {
      if (!isWorthRetrying(error) || attempt >= attempts) throw error;
      const ms = delays[attempt - 1] ?? delays.at(-1) ?? 0;
      await log(`checkout: ${error.message}; attempt ${attempt + 1} of ${attempts} in ${ms / 1000} s`);
      try {
        await sleep(ms, signal);
      } catch (cause) {
        throw signal?.aborted ? stopped(signal) : cause;
      }
    }
  }
}

/** One attempt; a repository that an earlier build left broken is thrown away within it. */
async function attemptOnce(source: Source, options: GitOptions, keep = true): Promise<string> {
  try {
    await emptyWorkspace(options.workspace);
    const kept = await prepareRepository(source, options, keep);
    return await fetchAndCheckOut(source, options, kept);
  } catch (cause) {
    const error = asBuildError(cause);
    if (!keep || error.code !== "CHECKOUT") throw error;
    await options.log(`checkout: ${error.message}; again with a new repository`);
    return attemptOnce(source, options, false);
  }
}

async function fetchAndCheckOut(source: Source, options: GitOptions, kept: boolean): Promise<string> {
  const run = (...args: string[]) => git(args, source, options);
  const resolve = async (name: string) => {
    const quiet = { ...options, log: () => {} };
    const { output } = await git(["rev-parse", "--verify", "--quiet", `${name}^{commit}`], source, quiet);
    return output.split("\n").find((line) => /^([0-9a-f]{40}|[0-9a-f]{64})$/.test(line));
  };
  const fetch = (ref: string) =>
    run("fetch", "--no-progress", "--force", "--no-recurse-submodules", "--", "origin", `+${ref}:${fetched}`);

  const got = await fetch(source.ref);
  if (!got.ok) throw fetchFailed(got.output, source, kept);
  let commit = await resolve(source.commit ?? fetched);
  if (!commit && source.commit) {
    // The ref is elsewhere by now; servers that speak protocol version 2 give a commit by its name as well.
    await options.log(`checkout: ${source.ref} has moved; asking for the commit itself`);
    if ((await fetch(source.commit)).ok) commit = await resolve(source.commit);
    if (!commit)
      throw new BuildError("CHECKOUT_MOVED", `${source.ref} no longer has the commit ${source.commit}`);
  }
  if (!commit) throw new BuildError("CHECKOUT_REFUSED", `${source.ref} is not a commit`);

  const done = await run("checkout", "--quiet", "--force", "--detach", commit);
  if (!done.ok) throw new BuildError("CHECKOUT", `the commit can't be checked out: ${gist(done.output)}`);
  await updateSubmodules(source, options);
  if ((await resolve("HEAD")) !== commit)
    throw new BuildError("CHECKOUT", `HEAD is not at ${commit} after the checkout`);
  await keepTip(options.workspace, commit);
  await options.log(`checkout: HEAD is at ${commit}`);
  return commit;
}

async function updateSubmodules(source: Source, options: GitOptions): Promise<void> {
  const list = await lstat(join(options.workspace, ".gitmodules")).catch(() => undefined);
  if (!list?.isFile()) return;
  const done = await git(["submodule", "update", "--init", "--recursive", "--force"], source, options);
  if (done.ok) return;
  const why = gist(done.output);
  if (localTrouble.test(done.output))
    throw new BuildError("CHECKOUT", `the submodules can't be stored: ${why}`);
  if (away.test(done.output))
    throw new BuildError("CHECKOUT_UNREACHABLE", `a submodule can't be fetched: ${why}`);
  // What is left is the change's own doing: a commit that was never pushed, a URL that isn't one.
  throw new BuildError("CHECKOUT_REFUSED", `the submodules can't be checked out: ${why}`);
}

// git has no exit codes for these; the texts are those of LC_ALL=C.
const localTrouble =
  /No space left|Disk quota|Read-only file system|unable to (write|create)|Input\/output error/i;
const damaged = anyOf(
  "bad object|corrupt|loose object|did not send all necessary objects|missing (blob|tree|commit)",
  "unable to read|unresolved delta|packfile|Could not read [0-9a-f]{40}",
);
const away = anyOf(
  "Could not resolve|Connection|timed out|unable to (access|connect|look up)|Could not read from remote",
  "hung up|early EOF|RPC failed|unreachable|The requested URL returned error: 5|Operation too slow",
);

function anyOf(...texts: string[]): RegExp {
  return new RegExp(texts.join("|"), "i");
}

function fetchFailed(output: string, source: Source, kept: boolean): BuildError {
  const code: BuildErrorCode =
    localTrouble.test(output) || (kept && damaged.test(output))
      ? "CHECKOUT"
      : /couldn't find remote ref|not our ref/i.test(output)
        ? "CHECKOUT_MOVED"
        : // In a repository made just now, whatever goes wrong is the other side.
          away.test(output) || !kept
          ? "CHECKOUT_UNREACHABLE"
          : "CHECKOUT";
  const what = code === "CHECKOUT_MOVED" ? `${source.ref} is not there (any more)` : "the fetch failed";
  return new BuildError(code, `${what}: ${gist(output)}`);
}

function isWorthRetrying(error: unknown): error is BuildError {
  return error instanceof BuildError && ["CHECKOUT_UNREACHABLE", "CHECKOUT_MOVED"].includes(error.code);
}

function asBuildError(error: unknown): BuildError {
  if (error instanceof BuildError) return error;
  return new BuildError("CHECKOUT", `the workspace can't be written: ${(error as Error).message}`, {
    cause: error,
  });
}

function wait(ms: number, signal?: AbortSignal): Promise<void> {
  return delay(ms, undefined, signal ? { signal } : {});
}
