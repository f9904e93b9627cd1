/** What builds had when an earlier agent was killed is the agent's again. */
import assert from "node:assert/strict";
import { chownSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { takeBack } from "#/agent/compose.ts";
import { HelperError } from "#/helper/protocol.ts";
import { testFolder } from "../support/folders.ts";
import { lacksRoot } from "../support/nobody.ts";

const build = 54_322;

test("one folder that can't be taken doesn't cost the others", { skip: lacksRoot() }, async () => {
  using folder = testFolder();
  const paths = ["a", "b", "c"].map((job) => join(folder.path, "workspaces/0", job));
  paths.push(join(folder.path, "caches/0/a/lab/ccache"));
  for (const path of paths) {
    mkdirSync(path, { recursive: true });
    chownSync(path, build, build);
  }
  mkdirSync(join(folder.path, "workspaces/0/own"));
  const asked: string[] = [];
  const take = async ([path = ""]: readonly string[]) => {
    asked.push(path);
    if (path.endsWith("/b")) throw new HelperError("REFUSED", "b isn't the agent's or a build's");
  };
  await assert.rejects(takeBack({ take }, folder.path), /^HelperError: b isn't/);
  assert.deepEqual(asked.sort(), paths.sort());
});
