/** `labgear build` in a CI system: what it prints where, summaries, and builds that try to command the runner. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { open, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { Job } from "#/gearman/worker/worker.ts";
import { labgear, neutralEnv } from "../support/agent.ts";
import { startWorker, type TestWorker } from "../support/gearman.ts";
import { lacks } from "../support/parts.ts";
import { bounded, type RunningServer, startGearmand, temporaryFolder } from "../support/servers.ts";

const skip = lacks("gearmand");
const facts = {
  name: "here",
  number: 7,
  manager: "box7",
  node_name: "rpi4-a",
  url: "http://box7/builds/here/7",
};

/** Ends as its parameters say. */
async function play(job: Job): Promise<void> {
  const { OUTPUT: output = "", LAST: last = "{}" } = JSON.parse(`${job.argument}`) as Record<string, string>;
  job.data(JSON.stringify(facts));
  if (output) job.data(JSON.stringify({ output, offset: 0 }));
  job.data(JSON.stringify({ ...facts, ...JSON.parse(last) }));
  job.fail();
}

describe("in a CI system", { skip }, () => {
  let server: RunningServer;
  let box: TestWorker;
  before(async () => {
    server = await startGearmand();
    box = await startWorker([server], ["build:here"], { onJob: play });
  });
  after(async () => {
    await box?.[Symbol.asyncDispose]();
    await server?.[Symbol.asyncDispose]();
  });

  const build = (output: string, last: object, args: string[] = [], env: NodeJS.ProcessEnv = {}) => {
    const parameters = ["-p", `OUTPUT=${output}`, "-p", `LAST=${JSON.stringify(last)}`];
    const options = ["--server", `127.0.0.1:${server.port}`, "--client-timeout", "0"];
    return labgear(["build", "here", ...parameters, ...options, ...args], { env });
  };

  test("the last line names result, reason, cause, node and URL", async () => {
    const { stderr } = await build("", { result: "FAILURE", reason: "a test failed", cause: "verdict" });
    const line = stderr.trim().split("\n").at(-1) ?? "";
    assert.match(
      line,
      /^FAILURE after .*: a test failed \(verdict\); here#7 on rpi4-a: http:\/\/box7\/builds\/here\/7$/,
    );
  });

  test("--quiet: only the build's output, and an ending that isn't SUCCESS", async () => {
    const good = await build("text\n", { result: "SUCCESS" }, ["--quiet"]);
    assert.deepEqual([good.exitCode, good.stdout, good.stderr], [0, "text\n", ""]);
    const bad = await build("text\n", { reason: "unplugged" }, ["-q"]);
    assert.deepEqual([bad.exitCode, bad.stdout], [5, "text\n"]);
    assert.match(bad.stderr, /^no result after .*: unplugged; here#7 on rpi4-a: [^\n]*\n$/);
  });

  test("GitHub: a group, an annotation, and no command of the build's in between", async () => {
    const hostile =
      "::add-mask::x\n##[set-output name=a]b\n  ::error::no\n::stop-commands::guess\n::guess::\nunfinished";
    const last = { result: "FAILURE", reason: "100 % bad\n::error::injected ##[error]x" };
    const { stdout, stderr } = await build(hostile, last, [], { GITHUB_ACTIONS: "true" });
    const [, token, output, rest] =
      /^::group::here#7 on rpi4-a\n::stop-commands::([0-9a-f]{32})\n(.*)\n::\1::\n::endgroup::\n(.*)$/s.exec(
        stdout,
      ) ?? [];
    assert.ok(token, stdout);
    assert.equal(output, hostile);
    assert.equal(
      rest,
      "::error title=FAILURE%3A here#7 on rpi4-a::100 %25 bad%0A::error::injected ## [error]x http://box7/builds/here/7\n",
    );
    // The runner reads both streams.
    for (const line of stderr.split("\n")) assert.doesNotMatch(line, /^\s*::|##\[/);
    const again = await build(hostile, last, [], { GITHUB_ACTIONS: "true" });
    assert.ok(!again.stdout.includes(token), "a build can't learn the token");
  });

  test("GitHub: a build that moves has a group on each agent, and the log never shows the token", async () => {
    const { stdout } = await build("text\n", { result: "SUCCESS", manager: "box8" }, [], {
      GITHUB_ACTIONS: "true",
    });
    const [, token] = /::stop-commands::([0-9a-f]{32})\n/.exec(stdout) ?? [];
    const group = (text: string) =>
      `::group::here#7 on rpi4-a\n::stop-commands::${token}\n${text}::${token}::\n::endgroup::\n`;
    assert.equal(stdout, `${group("text\n")}${group("")}`);
  });

  test("GitHub: JSON lines are no commands either", async () => {
    const { stdout } = await build("##[error]x\n::error::y\n", { result: "SUCCESS" }, ["--json"], {
      GITHUB_ACTIONS: "true",
    });
    for (const line of stdout.trim().split("\n")) {
      assert.doesNotMatch(line, /^\s*::|##\[/);
      JSON.parse(line);
    }
    assert.match(stdout, /#\\u0023\[error\]x/);
  });

  test("GitHub: into a file of the user's own goes the output alone", async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, "output");
    const args = [
      "-p",
      "OUTPUT=text",
      "-p",
      'LAST={"result":"FAILURE","reason":"##[error]x"}',
      "--server",
      `127.0.0.1:${server.port}`,
    ];
    const main = new URL("../../src/main.ts", import.meta.url).pathname;
    await using output = await open(file, "w");
    const child = spawn(
      process.execPath,
      ["--disable-warning=ExperimentalWarning", main, "build", "here", ...args],
      {
        env: { ...process.env, ...neutralEnv, GITHUB_ACTIONS: "true" },
        stdio: ["ignore", output.fd, "pipe"],
      },
    );
    let own = "";
    child.stderr?.setEncoding("utf8").on("data", (chunk) => {
      own += chunk;
    });
    await bounded(once(child, "close"), 60_000);
    assert.equal(await readFile(file, "utf8"), "text");
    assert.match(own, /^FAILURE after [^\n]*: ## \[error\]x; /m, "no command in the log");
  });

  test("GitLab: a section of the log, and a red line for what hasn't passed", async () => {
    const { stdout } = await build("text\n", { result: "TIMED_OUT", reason: "late" }, [], {
      GITLAB_CI: "true",
    });
    assert.match(
      stdout,
      // biome-ignore lint/suspicious/noControlCharactersInRegex: GitLab's markers have them
      /^\u001b\[0Ksection_start:\d+:(labgear_\d+_1)\r\u001b\[0Khere#7 on rpi4-a\ntext\n\u001b\[0Ksection_end:\d+:\1\r\u001b\[0K\n\u001b\[31;1mTIMED_OUT: here#7 on rpi4-a: late http\S+\u001b\[0m\n$/,
    );
  });

  test("a summary in Markdown, appended, with nothing of the build's acting in it", async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, "summary.md");
    await writeFile(file, "# Before\n");
    const reason = "<img src=x> | [a](http://evil) @all `x`\n# title";
    await build("", { result: "FAILURE", reason }, [], { GITHUB_STEP_SUMMARY: file });
    await build("", { result: "SUCCESS" }, ["--summary", file]);
    const text = await readFile(file, "utf8");
    const [before, failed = "", passed = ""] = text.split("###");
    assert.equal(before, "# Before\n");
    assert.match(
      failed,
      /^ ❌ here&#35;7 on rpi4&#45;a\n\n\| \| \|\n\|---\|---\|\n\| Result \| FAILURE \|\n\| Reason \| /,
    );
    assert.match(failed, /\n\| Page \| <http:\/\/box7\/builds\/here\/7> \|\n\n$/);
    assert.doesNotMatch(failed, /<img|\[a\]|@all|`|\n# title/);
    assert.match(passed, /^ ✅ here&#35;7 on rpi4&#45;a\n/);
    // Not 1, which says that the change is bad, and never in place of the build's own code.
    for (const [result, code] of [
      ["SUCCESS", 5],
      ["ABORTED", 3],
    ] as const) {
      const lost = await build("", { result }, ["--summary", join(folder.path, "no", "file")]);
      assert.equal(lost.exitCode, code);
      assert.match(lost.stderr, /^\[the summary can't be written: ENOENT[^\n]*\]\n[A-Z]+ after [^\n]*\n$/m);
    }
  });

  test("--retry-infra: builds again without a result under a new uuid, and never a FAILURE", async () => {
    const lost = await build("", { reason: "unplugged" }, ["--retry-infra", "2", "-p", "ZUUL_UUID=mine"]);
    assert.equal(lost.exitCode, 5);
    const uuids = [...lost.stderr.matchAll(/^here is queued as (\S+)$/gm)].map(([, uuid]) => uuid);
    assert.equal(uuids[0], "mine");
    assert.equal(new Set(uuids).size, 3);
    assert.equal(lost.stderr.match(/^no result after/gm)?.length, 3);
    assert.match(lost.stderr, /^\[it ended without a result: trying again on any node, attempt 3 of 3\]$/m);
    const failed = await build("", { result: "FAILURE" }, ["--retry-infra", "2"]);
    assert.equal(failed.exitCode, 1);
    assert.equal(failed.stderr.match(/is queued as/g)?.length, 1);
  });
});
