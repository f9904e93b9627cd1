/**
 * Checks a launch's change out into the workspace: fetch, check out, verify, and retry when the server is unreachable.
 */
import { lstat } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { BuildError, type BuildErrorCode } from "../errors.ts";
import { type GitOptions, git, mask, stopped } from "./git.ts";
import { emptyWorkspace, fetched, gist, keepTip, prepareRepository } from "./repository.ts";
import { readSource, type Source } from "./source.ts";

export interface CheckoutOptions extends GitOptions {
  readonly parameters: ReadonlyMap<string, string>;
  readonly maxAttempts?: number;
  /** Before the second, third … attempt; the last one holds for all further ones. */
  readonly delaysMs?: readonly number[];
  /** Rejects when the signal aborts. */
  readonly sleep?: (ms: number, signal?: AbortSignal) => Promise<void>;
}

/**
 * Checks out ZUUL_REF of ZUUL_URL/ZUUL_PROJECT at ZUUL_COMMIT with its history, tags and submodules, as gerrit-git-prep.sh did
 * for Jenkins under Zuul v2. The workspace is emptied first. A job can fetch more from `origin`; HEAD is detached. If the ref
 * has moved on, ZUUL_COMMIT counts.
 * @returns the commit that HEAD is at
 * @throws BuildError; CHECKOUT_REFUSED is the launch's or the change's fault, the others are not
 */
export async function checkout(options: CheckoutOptions): Promise<{ commit: string }> {
  const { log, signal, maxAttempts = 3, delaysMs = [500, 2000], sleep = wait } = options;
  const source = readSource(options.parameters);
  await log(
    `checkout: ${source.ref} of ${mask(source.url, source.url)}${source.commit ? ` at ${source.commit}` : ""}`,
  );
  for (let attempt = 1; ; attempt++) {
    try {
      return { commit: await attemptOnce(source, options) };
    } catch (error) {
      if (!isWorthRetrying(error) || attempt >= maxAttempts) throw error;
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

/** One attempt; if an earlier build broke the repository, it is made anew. */
async function attemptOnce(source: Source, options: GitOptions, keep = true): Promise<string> {
  try {
    await emptyWorkspace(options.workspace);
    const kept = await prepareRepository(source, options, keep);
    return await fetchAndCheckOut(source, options, kept);
  } catch (cause) {
    const error = asBuildError(cause);
    if (!keep || error.code !== "CHECKOUT") throw error;
    await options.log(`checkout: ${error.message}; trying again with a new repository`);
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
    // Servers that speak protocol version 2 also serve a commit by its id.
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
  if (localFailure.test(done.output))
    throw new BuildError("CHECKOUT", `the submodules can't be stored: ${why}`);
  if (unreachable.test(done.output))
    throw new BuildError("CHECKOUT_UNREACHABLE", `a submodule can't be fetched: ${why}`);
  // What is left is the change's own fault: a commit that was never pushed, an invalid URL.
  throw new BuildError("CHECKOUT_REFUSED", `the submodules can't be checked out: ${why}`);
}

// git has no exit codes for these; the texts are those of LC_ALL=C.
const localFailure =
  /No space left|Disk quota|Read-only file system|unable to (write|create)|Input\/output error/i;
const damaged = anyOf(
  "bad object|corrupt|loose object|did not send all necessary objects|missing (blob|tree|commit)",
  "unable to read|unresolved delta|packfile|Could not read [0-9a-f]{40}",
);
const unreachable = anyOf(
  "Could not resolve|Connection|timed out|unable to (access|connect|look up)|Could not read from remote",
  "hung up|early EOF|RPC failed|unreachable|The requested URL returned error: 5|Operation too slow",
);

function anyOf(...texts: string[]): RegExp {
  return new RegExp(texts.join("|"), "i");
}

function fetchFailed(output: string, source: Source, kept: boolean): BuildError {
  const code: BuildErrorCode =
    localFailure.test(output) || (kept && damaged.test(output))
      ? "CHECKOUT"
      : /couldn't find remote ref|not our ref/i.test(output)
        ? "CHECKOUT_MOVED"
        : // With a new repository it can only be the other side.
          unreachable.test(output) || !kept
          ? "CHECKOUT_UNREACHABLE"
          : "CHECKOUT";
  const what = code === "CHECKOUT_MOVED" ? `${source.ref} does not exist (any more)` : "the fetch failed";
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
