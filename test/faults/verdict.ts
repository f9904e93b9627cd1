/** Whether each verdict is the job's own: never another build's tests, artifacts or inputs, and no success of what failed. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type BuildRecord, readCases } from "#/builds/record.ts";
import type { ScenarioClient } from "./clients.ts";
import { type JobName, type Plan, verdicts } from "./plan.ts";

/** Each record of the box, whichever client it belongs to. */
export async function assertVerdicts(
  stateDir: string,
  records: ReadonlyMap<string, BuildRecord>,
  clients: readonly ScenarioClient[],
  plan: Plan,
): Promise<void> {
  for (const record of records.values()) {
    if (record.job === "lease") continue;
    const client = clients.find(({ uuid }) => uuid === record.uuid);
    assert.ok(client, `${record.job}#${record.number} is nobody's: ${record.uuid}`);
    const own = verdicts[record.job as JobName];
    const name = `${record.job}#${record.number} of ${record.uuid}`;
    const { kind, reason } = record.ending ?? {};
    if (record.result !== undefined && record.result !== own) {
      const isExcused =
        (record.result === "ABORTED" && (client.isStopped || client.isGone)) ||
        // The script itself can't write.
        (plan.world === "disk" && record.result === "FAILURE") ||
        // Processes of its own that it can't start.
        (plan.world === "clients" && client.isGone && record.result === "FAILURE");
      assert.ok(isExcused, `${name} ended as ${record.result}, ${kind}: ${reason}; its job ends as ${own}`);
    }
    await assertOwn(join(stateDir, "builds", record.job, `${record.number}`), record, client);
  }
}

async function assertOwn(
  folder: string,
  record: BuildRecord,
  { uuid, digest }: ScenarioClient,
): Promise<void> {
  const { job, number, result } = record;
  const name = `${job}#${number}`;
  if (job === "ping") return;
  const text = record.console ? readFileSync(join(folder, "console.log"), "latin1") : "";
  for (const [, who] of text.matchAll(/^I am (\S+)/gm)) assert.equal(who, uuid, `the console of ${name}`);
  for (const { path } of record.artifacts ?? []) {
    const bytes = readFileSync(join(folder, "artifacts", path));
    if (path === "out/who") assert.equal(`${bytes}`, `${uuid}\n`, `the artifact of ${name}`);
    else assert.equal(createHash("sha256").update(bytes).digest("hex"), digest, `the input of ${name}`);
  }
  for (const test of (record.tests && (await readCases(folder))) ?? [])
    assert.equal(test.name, uuid, `the tests of ${name}`);
  if (result !== "SUCCESS") return;
  // What can't be kept is said, and the verdict stands.
  if (record.warnings?.some((warning) => /can(no|'t)? .*be kept|EMFILE/.test(warning))) return;
  assert.match(text, new RegExp(`^I am ${uuid}$`, "m"), `the console of ${name}`);
  const made = record.artifacts?.map(({ path }) => path).sort();
  assert.deepEqual(made, job === "copy" ? ["out/app", "out/who"] : ["out/who"], `the artifacts of ${name}`);
  assert.equal(record.tests?.tests, 1, `the tests of ${name}`);
  if (job === "copy") assert.match(text, new RegExp(`^${digest}`, "m"), `the input of ${name}`);
}
