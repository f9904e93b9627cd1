/** The client's commands through a gate: the same options, output and exit codes as at a job server. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Running } from "../cli/running.ts";
import { labgear } from "../support/agent.ts";
import { makeCa, makeCertificate } from "../support/certificates.ts";
import { lacks } from "../support/parts.ts";
import { GateLab, staticToken } from "./gate-lab.ts";
import { githubWorkflowRun } from "./issuer.ts";

const yaml = `
name: box7
host: { classes: [lab1], executors: 2 }
jobs:
  passes: { run: "echo good; echo data >a.txt", artifacts: ["*.txt"] }
  fails:
    run: |
      echo '<testsuite name="s"><testcase name="bad"><failure message="m">why</failure></testcase></testsuite>' >r.xml
      exit 3
    junit: ["*.xml"]
  take: { inputs: { app: { max: 16MiB } }, run: 'wc -c <"$LABGEAR_INPUT_APP"' }
  waits: { run: 'echo begun; while [ ! -e "$GO" ]; do sleep 0.1; done; echo over', parameters: [GO] }
`;
const rules = `
  - when: { issuer: github, repository_id: 74, event_name: workflow_run }
    allow: { jobs: [take], inputs: { app: 16MiB } }
  - when: { token: jenkins }
    allow: { jobs: [passes, fails, waits, missing, take], parameters: { GO: ".*" }, inputs: { app: 16MiB }, at-once: 2 }
`;

let lab: GateLab;
before(async () => {
  lab = await GateLab.start({ yaml, rules });
});
after(() => lab[Symbol.asyncDispose]());

const token = { LABGEAR_TOKEN: staticToken };
const run = (args: readonly string[], env: NodeJS.ProcessEnv = token) =>
  labgear([...args, "--gate", lab.url], { env: { LABGEAR_TOKEN: undefined, ...env } });
const at = (name: string) => join(lab.folder, name);

describe("labgear build --gate", () => {
  test("a build that passes, its key, and its results for later commands", async () => {
    const built = await run([
      "build",
      "passes",
      "--key",
      at("key"),
      "--fetch",
      at("out"),
      "--summary",
      at("summary.md"),
    ]);
    assert.equal(built.exitCode, 0, built.stderr);
    assert.equal(built.stdout, "good\n");
    assert.match(built.stderr, /^passes is queued as [0-9a-f]{32}\npasses#1 runs on box7: http/);
    assert.match(built.stderr, /SUCCESS after .*; passes#1 on box7: http/);
    assert.equal(readFileSync(at("out/artifacts/a.txt"), "utf8"), "data\n");
    assert.match(readFileSync(at("summary.md"), "utf8"), /passes&#35;1/);
    const { uuid } = JSON.parse(readFileSync(at("key"), "utf8"));
    const fetched = await run(
      ["fetch", "box7", uuid, "console", "--to", at("later"), "--key", at("key")],
      {},
    );
    assert.equal(fetched.exitCode, 0, fetched.stderr);
    assert.equal(readFileSync(at("later/console.log"), "utf8"), "good\n");
    const keyless = await run(["fetch", "box7", uuid, "--to", at("later")], {});
    assert.deepEqual([keyless.exitCode, /the build's key is needed/.test(keyless.stderr)], [2, true]);
    writeFileSync(at("wrong"), JSON.stringify({ uuid, key: "x" }));
    const wrong = await run(["fetch", "box7", uuid, "--to", at("later"), "--key", at("wrong")], {});
    assert.deepEqual([wrong.exitCode, /no such build, or the key isn't its/.test(wrong.stderr)], [1, true]);
  });

  test("a build that fails, with its test reports", async () => {
    const failed = await run(["build", "fails", "--junit", at("junit.xml"), "--json"]);
    assert.equal(failed.exitCode, 1, failed.stderr);
    const events = failed.stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    assert.deepEqual(
      [events[0].event, events.at(-1).event, events.at(-1).result],
      ["created", "ended", "FAILURE"],
    );
    assert.match(readFileSync(at("junit.xml"), "utf8"), /name="bad"/);
  });

  test("a file, with a token that GitHub gives", async () => {
    writeFileSync(at("app.bin"), Buffer.alloc(5_000_000, "app"));
    const asked: string[] = [];
    const issued = await lab.issuer.sign(githubWorkflowRun);
    const actions = createServer((request, response) => {
      asked.push(`${request.url} ${request.headers.authorization}`);
      response.end(JSON.stringify({ value: issued }));
    }).listen(0, "127.0.0.1");
    await once(actions, "listening");
    const { port } = actions.address() as AddressInfo;
    try {
      const built = await run(["build", "take", "--file", `app=${at("app.bin")}`], {
        ACTIONS_ID_TOKEN_REQUEST_URL: `http://127.0.0.1:${port}/token?api-version=2`,
        ACTIONS_ID_TOKEN_REQUEST_TOKEN: "request-token",
        LABGEAR_AUDIENCE: "lab.example",
      });
      assert.equal(built.exitCode, 0, built.stderr);
      assert.match(built.stdout, /^5000000$/m);
      assert.deepEqual(asked, ["/token?api-version=2&audience=lab.example bearer request-token"]);
    } finally {
      actions.close();
      actions.closeAllConnections();
    }
  });

  test("what the gate refuses", async () => {
    const refused: [args: string[], code: number, expected: RegExp, env?: NodeJS.ProcessEnv][] = [
      [["build", "other"], 2, /the gate refused: the job other isn't allowed/],
      [["build", "missing"], 6, /no node runs missing now/],
      [["build", "passes", "-p", "X=1"], 2, /the parameter X isn't allowed/],
      [["build", "passes"], 2, /the token isn't accepted/, { LABGEAR_TOKEN: "wrong" }],
      [["build", "passes"], 2, /the gate needs a token in LABGEAR_TOKEN/, {}],
      [["build", "passes"], 2, /LABGEAR_TOKEN is no token: it has spaces, line/, { LABGEAR_TOKEN: "a\nb" }],
      [["build", "passes", "--server", "h"], 2, /--gate takes the place of --server/],
    ];
    refused.push(
      [["lab"], 2, /a gate shows nobody the whole lab: `labgear functions --gate URL`/],
      [["investigate", "box7", "passes#1"], 2, /run it in the lab, with --server/],
    );
    for (const [args, code, expected, env] of refused) {
      const { exitCode, stderr } = await run(args, env);
      assert.equal(exitCode, code, stderr);
      assert.match(stderr, expected);
    }
    const plain = await labgear(["build", "a", "--gate", "http://lab.example"], { env: token });
    assert.deepEqual(
      [plain.exitCode, /http:\/\/ would send the token in plain text/.test(plain.stderr)],
      [2, true],
    );
  });

  test("the gate starts anew in the middle of a build, and a stop by a signal", async () => {
    await using first = Running.start(["build", "waits", "-p", `GO=${at("go")}`, "--gate", lab.url], token);
    await first.until("stdout", "begun");
    const { port } = lab.gate.address;
    await lab.restart(async () => {
      // The client comes back to the same address.
      const config = readFileSync(at("gate.yaml"), "utf8");
      writeFileSync(at("gate.yaml"), config.replace("listen: 127.0.0.1:0", `listen: 127.0.0.1:${port}`));
    });
    await first.until("stderr", "the line is back");
    await using second = Running.start(["build", "waits", "-p", "GO=/nowhere", "--gate", lab.url], token);
    await second.until("stdout", "begun");
    // Two at once are allowed: the third waits until it gives up.
    const third = await run(["build", "passes", "--queue-timeout", "2s"]);
    assert.equal(third.exitCode, 8, third.stderr);
    assert.match(third.stderr, /2 builds at once are allowed/);
    second.child.kill("SIGINT");
    assert.equal(await second.ended, 3);
    writeFileSync(at("go"), "");
    assert.equal(await first.ended, 0, first.stderr);
    assert.equal(first.stdout, "begun\nover\n");
  });

  test("detached, then stopped by its key", async () => {
    const detached = await run(["build", "waits", "-p", "GO=/nowhere", "--detach", "--key", at("key-2")]);
    assert.equal(detached.exitCode, 0, detached.stderr);
    const build = JSON.parse(readFileSync(at("key-2"), "utf8"));
    const stopped = await run(["stop", build.uuid, "--key", at("key-2")], {});
    assert.deepEqual([stopped.exitCode, stopped.stdout], [0, `${build.uuid} is being stopped\n`]);
    assert.equal((await lab.follow(build)).last.result, "ABORTED");
  });

  test("labgear functions --gate", async () => {
    const { exitCode, stdout } = await run(["functions", "--json"]);
    assert.equal(exitCode, 0);
    const names = JSON.parse(stdout).map((row: { function: string }) => row.function);
    assert.ok(names.includes("build:passes:lab1") && !names.some((name: string) => name.startsWith("stop:")));
  });
});

test("over TLS, with a certificate that is renewed while the gate runs", {
  skip: lacks("openssl"),
}, async () => {
  const ca = await makeCa(lab.folder, "ca");
  const names = "DNS:localhost,IP:127.0.0.1";
  const { cert, key } = await makeCertificate(lab.folder, "gate", ca, names);
  const config = readFileSync(at("gate.yaml"), "utf8");
  await lab.restart(async () =>
    writeFileSync(at("gate.yaml"), `tls: { cert: "${cert}", key: "${key}" }\n${config}`),
  );
  const url = `https://127.0.0.1:${lab.gate.address.port}`;
  const build = (...more: string[]) => labgear(["build", "passes", "--gate", url, ...more], { env: token });
  const trusting = await build("--tls-ca", ca.cert);
  assert.equal(trusting.exitCode, 0, trusting.stderr);
  const distrusting = await labgear(["functions", "--gate", url], { env: token });
  assert.deepEqual(
    [
      distrusting.exitCode,
      /can't be reached: its certificate isn't trusted here: name its CA, --tls-ca FILE$/m.test(
        distrusting.stderr,
      ),
    ],
    [7, true],
    distrusting.stderr,
  );
  // Waiting doesn't mend it: the command doesn't try again.
  const untrusting = await build();
  assert.deepEqual(
    [untrusting.exitCode, /trying again/.test(untrusting.stderr)],
    [7, false],
    untrusting.stderr,
  );
  const installed = await labgear(["functions", "--gate", url], {
    env: { ...token, NODE_EXTRA_CA_CERTS: ca.cert },
  });
  assert.equal(installed.exitCode, 0, installed.stderr);
  const other = await makeCa(lab.folder, "other-ca");
  const read = lab.log.until((all) =>
    all.some(({ message }) => message.includes("certificate was read again")),
  );
  const renewed = await makeCertificate(lab.folder, "renewed", other, names);
  writeFileSync(key, readFileSync(renewed.key));
  writeFileSync(cert, readFileSync(renewed.cert));
  await read;
  await lab.log.until((all) => {
    const last = all.findLast(({ message }) => message.includes("the gate's certificate"));
    return last?.level === "info";
  });
  const again = await build("--tls-ca", other.cert);
  assert.equal(again.exitCode, 0, again.stderr);
});
