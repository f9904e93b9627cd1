/** What a checkout needs: a server's folder with one project, an empty workspace, process trees, mirrors. */
import assert from "node:assert/strict";
import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { type CheckoutOptions, checkout } from "#/builds/checkout/checkout.ts";
import { Mirrors } from "#/builds/checkout/mirrors.ts";
import { BuildError } from "#/builds/errors.ts";
import { openTrees } from "#/runners/trees/trees.ts";
import { lacks } from "../../support/parts.ts";
import { folder, gitEnv, Repository } from "./git-parts.ts";

export const real = { skip: lacks("git") };
export const ref = "refs/zuul/master/Z1";

export async function lab() {
  const temporary = await folder();
  const root = join(temporary.path, "srv");
  const workspace = join(temporary.path, "state/workspaces/1/job");
  await mkdir(workspace, { recursive: true });
  const repository = await Repository.make(root);
  const commit = await repository.commit({ "README.md": "one\n", "src/main.c": "int main;\n" });
  repository.git("update-ref", ref, commit);
  const lines: string[] = [];
  const trees = await openTrees({ id: temporary.path });
  const mirrors = new Mirrors(join(temporary.path, "state"));
  const run = async (parameters: Record<string, string>, options: Partial<CheckoutOptions> = {}) => {
    await using done = await checkout({
      workspace,
      mirrors,
      trust: "changes",
      trees,
      parameters: new Map(
        Object.entries({
          ZUUL_URL: `file://${root}`,
          ZUUL_PROJECT: "org/project",
          ZUUL_REF: ref,
          ...parameters,
        }),
      ),
      log: (line) => lines.push(line),
      env: gitEnv(),
      maxAttempts: 1,
      ...options,
    });
    return { commit: done.commit };
  };
  return {
    path: temporary.path,
    root,
    workspace,
    repository,
    commit,
    lines,
    run,
    trees,
    mirrors,
    mirrorPaths: async () => {
      const base = join(temporary.path, "state/mirrors/changes");
      const sources = (await readdir(base).catch(() => [])).map((name) => join(base, name));
      const found = await Promise.all(
        sources.map(async (source) => (await readdir(source)).map((name) => join(source, name))),
      );
      return found.flat();
    },
    [Symbol.asyncDispose]: async () => {
      await mirrors[Symbol.asyncDispose]();
      await trees[Symbol.asyncDispose]();
      await temporary[Symbol.asyncDispose]();
    },
  };
}

export const at =
  (code: string, message = /./) =>
  (error: unknown) => {
    assert.ok(error instanceof BuildError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, /^[^\n]+$/);
    assert.match(error.message, message);
    return true;
  };
