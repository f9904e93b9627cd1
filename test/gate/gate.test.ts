/** The gate as CI systems meet it: who gets what, builds to their end, over limits, stops, lost lines and restarts. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { get, type IncomingMessage } from "node:http";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Validator } from "@seriousme/openapi-schema-validator";
import { bounded } from "../support/servers.ts";
import { GateLab, staticToken } from "./gate-lab.ts";
import { githubMergeQueue, githubPush, githubWorkflowRun } from "./issuer.ts";

/** More than all buffers between the agent and a client that doesn't read. */
const largeBytes = 64_000_000;
const yaml = `
name: box7
host: { classes: [lab1], executors: 4 }
jobs:
  firmware-smoke: { inputs: { app: { max: 16MiB } }, run: 'sha256sum <"$LABGEAR_INPUT_APP"; echo "rev $BOARD_REV"', parameters: [BOARD_REV] }
  firmware-all: { run: "echo one; echo two" }
  unit: { trust: changes, run: "true" }
  waits: { run: 'echo begun; while [ ! -e "$GO" ]; do sleep 0.1; done; echo over', parameters: [GO] }
  flood: { run: 'seq 200000; echo end' }
  large: { run: "head -c ${largeBytes} /dev/zero >a.bin", artifacts: ["*.bin"] }
`;
const workflow = "octo-org/octo-repo/.github/workflows/hardware.yml@refs/heads/main";
const rules = (folder: string) => `
  - when: { issuer: github, repository_id: 74, event_name: push, ref: refs/heads/main }
    allow: { jobs: ["**"], trust: [lab, changes], parameters: { GO: "${folder}/.*" }, inputs: { app: 16MiB }, priority: high }
  - when: { issuer: github, repository_id: 74, event_name: workflow_run, job_workflow_ref: "${workflow}" }
    allow: { jobs: [firmware-smoke], classes: [lab1], inputs: { app: 8MiB }, parameters: { BOARD_REV: "[0-9]+" }, priority: low, run: 10m, minutes-a-day: 19, at-once: 2 }
  - when: { issuer: github, repository_id: 74, event_name: merge_group, ref: "refs/heads/gh-readonly-queue/main/pr-*" }
    allow: { jobs: [firmware-all] }
  - when: { issuer: github, repository_id: 74, event_name: schedule }
    allow: { jobs: [waits], parameters: { GO: ".*" }, run: 2s }
  - when: { issuer: github, repository_id: 74, event_name: release }
    allow: { jobs: [waits], parameters: { GO: ".*" }, at-once: 1 }
  - when: { token: jenkins }
    allow: { jobs: ["*"], trust: [lab, changes], parameters: { GO: ".*" }, at-once: 100 }
`;

let lab: GateLab;
let push = "";

before(async () => {
  lab = await GateLab.start({ yaml, rules: rules("/nowhere") });
  push = await lab.issuer.sign(githubPush);
});
after(() => lab[Symbol.asyncDispose]());

const announce = (bytes: Buffer) => [
  { name: "app", size: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") },
];

function audit(): Record<string, unknown>[] {
  const folder = join(lab.folder, "state/audit");
  const text = readdirSync(folder).map((name) => readFileSync(join(folder, name), "utf8"));
  return text
    .join("")
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line));
}

/** Resolves when the build has written that. */
async function said(build: { uuid: string; key: string }, wanted: string): Promise<void> {
  const leave = new AbortController();
  let output = "";
  const heard = async () => {
    for await (const { event, data } of lab.events(build, undefined, leave.signal)) {
      if (event === "output") output += data.output;
      if (output.includes(wanted)) return;
    }
    throw new Error(`it ended without ${wanted}: ${output}`);
  };
  await bounded(heard());
  leave.abort();
}

/** A file that a build waits for, made by the test. */
const go = (name: string) => join(lab.folder, name);

describe("who gets what", () => {
  test("a push to main runs", async () => {
    const build = await lab.submit(push, { job: "firmware-all" });
    assert.equal(build.status, 201);
    const { output, last } = await bounded(lab.follow(build));
    assert.equal(output, "one\ntwo\n");
    assert.deepEqual(
      [last.result, last.name, last.node_name, last.manager],
      ["SUCCESS", "firmware-all", "box7", "box7"],
    );
    const { state, minutes } = await lab.status(build);
    assert.deepEqual([state, minutes], ["ended", 1]);
    const lines = audit().filter(({ uuid }) => uuid === build.uuid);
    assert.deepEqual(
      lines.map(({ event, rule, job, result }) => [event, rule, job, result]),
      [
        ["submitted", 1, "firmware-all", undefined],
        ["ended", 1, "firmware-all", "SUCCESS"],
      ],
    );
    assert.equal((lines[0]?.who as Record<string, string> | undefined)?.actor, "octocat");
  });

  test("workflow_run for a fork's pull request: the image as data, one job, its parameters", async () => {
    const token = await lab.issuer.sign(githubWorkflowRun);
    const image = Buffer.alloc(3_000_000, "image");
    const build = await lab.submit(token, {
      job: "firmware-smoke",
      parameters: { BOARD_REV: "7" },
      inputs: announce(image),
    });
    assert.equal(build.status, 201, JSON.stringify(build));
    const put = (from: number, to: number, key = build.key) =>
      lab.request(`/v1/builds/${build.uuid}/inputs/app?offset=${from}`, key, {
        method: "PUT",
        body: image.subarray(from, to),
      });
    let output = "";
    let isSent = false;
    for await (const { event, data } of lab.events(build)) {
      if (event === "output") output += data.output;
      if (event !== "data" || !data.wants || isSent) continue;
      isSent = true;
      assert.deepEqual(data.wants, [{ name: "app", offset: 0 }]);
      assert.equal((await put(0, 10, "another key")).status, 404);
      assert.deepEqual(await (await put(0, 2_000_000)).json(), { received: 2_000_000 });
      const gap = await put(2_500_000, 3_000_000);
      assert.deepEqual([gap.status, ((await gap.json()) as { offset: number }).offset], [409, 2_000_000]);
      const beyond = await lab.request(`/v1/builds/${build.uuid}/inputs/app?offset=1`, build.key, {
        method: "PUT",
        body: image,
      });
      assert.equal(beyond.status, 413);
      assert.deepEqual(await (await put(2_000_000, 3_000_000)).json(), { received: 3_000_000 });
    }
    assert.ok(isSent);
    assert.ok(output.includes(announce(image)[0]?.sha256 ?? "?"));
    assert.ok(output.includes("rev 7"));
    const { parameters } = await lab.agent.record("firmware-smoke", 1);
    const known = parameters as Record<string, string>;
    assert.equal(known.BOARD_REV, "7");
    assert.equal(known.ZUUL_NODE, "lab1");
    assert.match(known.LABGEAR_CALLER ?? "", /^[0-9a-f]{32}$/);
    // Its results are there for the key, and for nobody else.
    const results = (path: string, key: string) =>
      lab.request(`/v1/builds/${build.uuid}/results/${path}`, key);
    const fetched = await results("console", build.key);
    assert.deepEqual([await fetched.text(), fetched.headers.get("labgear-end")], [output, "true"]);
    assert.equal((await results("console", push)).status, 404);
    assert.equal((await results("artifacts/..%2F..%2Fbuild.json", build.key)).status, 404);
    assert.equal((await results("artifacts/none", build.key)).status, 404);
    // What this caller has sent before isn't sent again; another caller sends it.
    const again = await lab.submit(token, {
      job: "firmware-smoke",
      parameters: { BOARD_REV: "8" },
      inputs: announce(image),
    });
    assert.match((await bounded(lab.follow(again))).output, /sent before/);
    const other = await lab.submit(push, { job: "firmware-smoke", inputs: announce(image) });
    for await (const { event, data } of lab.events(other)) if (event === "data" && data.wants) break;
    await lab.request(`/v1/builds/${other.uuid}`, other.key, { method: "DELETE" });
    assert.equal((await bounded(lab.follow(other))).last.result, "ABORTED");
    // Two builds took minutes; a third of ten minutes at most fits, and waits for its image. A fourth doesn't fit.
    const third = await lab.submit(token, { job: "firmware-smoke", inputs: announce(Buffer.alloc(5)) });
    assert.equal(third.status, 201);
    const fourth = await lab.submit(token, { job: "firmware-smoke", inputs: announce(image) });
    assert.equal(fourth.status, 429);
    assert.match(String(audit().at(-1)?.why), /19 minutes a day are allowed/);
    await lab.request(`/v1/builds/${third.uuid}`, third.key, { method: "DELETE" });
    await bounded(lab.follow(third));
  });

  test("everybody else gets nothing, and the log says why", async () => {
    const image = announce(Buffer.alloc(10));
    const workflowRun = await lab.issuer.sign(githubWorkflowRun);
    const merge = await lab.issuer.sign(githubMergeQueue);
    const refused: [token: string | undefined, build: object, status: number, why: RegExp][] = [
      [undefined, { job: "firmware-all" }, 401, /there is no token/],
      ["x.y.z", { job: "firmware-all" }, 401, /can't be read/],
      [
        await lab.issuer.sign({ ...githubPush, repository_id: "75" }),
        { job: "firmware-all" },
        403,
        /no rule/,
      ],
      [
        await lab.issuer.sign({ ...githubPush, event_name: "pull_request" }),
        { job: "firmware-all" },
        403,
        /no rule/,
      ],
      [
        await lab.issuer.sign(githubPush, { issued: -600, expires: -300 }),
        { job: "firmware-all" },
        401,
        /expired/,
      ],
      [await lab.issuer.sign(githubPush, { audience: "x" }), { job: "firmware-all" }, 401, /aud/],
      [workflowRun, { job: "firmware-all" }, 403, /the job firmware-all isn't allowed/],
      [workflowRun, { job: "firmware-smoke", node: "box7:x", inputs: image }, 400, /node is no class/],
      [workflowRun, { job: "firmware-smoke", node: "rpi4", inputs: image }, 503, /no node rpi4 runs/],
      [
        workflowRun,
        { job: "firmware-smoke", parameters: { BOARD_REV: "x" }, inputs: image },
        403,
        /may not have this value/,
      ],
      [
        workflowRun,
        { job: "firmware-smoke", parameters: { ZUUL_URL: "x" }, inputs: image },
        403,
        /ZUUL_URL isn't allowed/,
      ],
      [merge, { job: "unit" }, 403, /the job unit isn't allowed/],
      [
        await lab.issuer.sign({ ...githubMergeQueue, ref: "refs/heads/main" }),
        { job: "firmware-all" },
        403,
        /no rule/,
      ],
      [staticToken.slice(1), { job: "unit" }, 401, /no static token/],
    ];
    for (const [token, build, status, why] of refused) {
      const answer = await lab.submit(token, build);
      assert.equal(answer.status, status, JSON.stringify([build, answer]));
      const line = audit().at(-1) ?? {};
      assert.deepEqual([line.event, why.test(String(line.why))], ["refused", true], JSON.stringify(line));
    }
    const merged = await lab.submit(merge, { job: "firmware-all" });
    assert.equal((await bounded(lab.follow(merged))).last.result, "SUCCESS");
    const byToken = await lab.submit(staticToken, { job: "unit" });
    assert.equal((await bounded(lab.follow(byToken))).last.result, "SUCCESS");
  });

  test("the queue shows what the caller may use", async () => {
    const jobs = async (token: string) => {
      const answer = (await (await lab.request("/v1/queue", token)).json()) as {
        queue: { job: string; node?: string }[];
      };
      return answer.queue.map(({ job, node }) => `${job} ${node ?? ""}`.trim()).sort();
    };
    assert.deepEqual(await jobs(await lab.issuer.sign(githubWorkflowRun)), ["firmware-smoke lab1"]);
    assert.ok((await jobs(staticToken)).includes("unit lab1"));
    assert.equal((await lab.request("/v1/queue", undefined)).status, 401);
  });
});

describe("builds", () => {
  test("the same request with the same key is the same build", async () => {
    const key = { "idempotency-key": "run 1" };
    const first = await lab.submit(push, { job: "firmware-all" }, key);
    const second = await lab.submit(push, { job: "firmware-all" }, key);
    assert.deepEqual(
      [first.status, second.status, second.uuid, second.key],
      [201, 200, first.uuid, first.key],
    );
    assert.equal((await lab.submit(push, { job: "unit" }, key)).status, 409);
    // Another caller's key is another key.
    const other = await lab.submit(staticToken, { job: "firmware-all" }, key);
    assert.deepEqual([other.status, other.uuid === first.uuid], [201, false]);
    await bounded(Promise.all([lab.follow(first), lab.follow(other)]));
  });

  test("at once: one", async () => {
    const token = await lab.issuer.sign({ ...githubPush, event_name: "release" });
    const build = { job: "waits", parameters: { GO: "/nowhere" } };
    const first = await lab.submit(token, build);
    const second = await lab.submit(token, build);
    assert.deepEqual([first.status, second.status], [201, 429]);
    // Others see and stop nothing of it.
    for (const key of [push, second.key, "", staticToken])
      for (const method of ["GET", "DELETE"])
        assert.equal((await lab.request(`/v1/builds/${first.uuid}`, key, { method })).status, 404);
    await said(first, "begun");
    assert.equal(
      (await lab.request(`/v1/builds/${first.uuid}`, first.key, { method: "DELETE" })).status,
      202,
    );
    const { last } = await bounded(lab.follow(first));
    assert.deepEqual([last.result, last.cause], ["ABORTED", "stopped"]);
    assert.equal((await lab.submit(token, { ...build, parameters: { GO: "/proc" } })).status, 201);
  });

  test("longer than the rule allows", async () => {
    const token = await lab.issuer.sign({ ...githubPush, event_name: "schedule" });
    const build = await lab.submit(token, { job: "waits", parameters: { GO: "/nowhere" } });
    const { last } = await bounded(lab.follow(build));
    assert.deepEqual([last.result, last.cause], ["TIMED_OUT", "run"]);
    assert.match(String(last.reason), /longer than 2s, which the gate allows/);
  });

  test("without a sign of life from the client", async () => {
    const build = await lab.submit(staticToken, {
      job: "waits",
      parameters: { GO: "/nowhere" },
      client_timeout: 5,
    });
    await said(build, "begun");
    const ended = await lab.agent.logged(
      (line) => line.uuid === build.uuid && /ABORTED|stopped/.test(JSON.stringify(line)),
    );
    assert.ok(ended);
    const { last } = await bounded(lab.follow(build));
    assert.deepEqual([last.result, last.cause], ["ABORTED", "client-gone"]);
  });

  test("a console from the middle, and one that comes faster than it goes", async () => {
    const build = await lab.submit(staticToken, { job: "flood" });
    const { output } = await bounded(lab.follow(build));
    assert.equal(
      createHash("sha256").update(output).digest("hex"),
      createHash("sha256")
        .update(await lab.agent.file("flood", 1, "console.log"))
        .digest("hex"),
    );
    const from = output.length - 10;
    assert.equal((await bounded(lab.follow(build, from))).output, output.slice(from));
    const piece = await lab.request(`/v1/builds/${build.uuid}/results/console?offset=2&length=5`, build.key);
    assert.deepEqual([await piece.text(), piece.headers.get("labgear-end")], [output.slice(2, 7), "false"]);
  });

  test("a result that becomes shorter while it is sent is an error, and no short file", async () => {
    const build = await lab.submit(staticToken, { job: "large" });
    const { last } = await bounded(lab.follow(build));
    assert.equal(last.result, "SUCCESS");
    const request = get(`${lab.url}/v1/builds/${build.uuid}/results/artifacts/a.bin`, {
      headers: { authorization: `Bearer ${build.key}` },
    });
    const [response] = (await bounded(once(request, "response"))) as [IncomingMessage];
    assert.equal(response.headers["content-length"], String(largeBytes));
    // The gate waits for this client, with most of it still at the agent.
    const file = join(lab.agent.stateDir, "builds/large/1/artifacts/a.bin");
    truncateSync(file, 1_000_000);
    await assert.rejects(async () => {
      for await (const _ of response);
    }, /aborted/);
    assert.equal(response.complete, false);
  });

  test("the gate ends in the middle of a build: it is taken up again, and ends once", async () => {
    const path = go("go-1");
    const build = await lab.submit(staticToken, { job: "waits", parameters: { GO: path } });
    await said(build, "begun");
    const { started } = await lab.status(build);
    await lab.restart();
    const now = await lab.status(build);
    assert.deepEqual([now.state, now.started], ["running", started]);
    const following = lab.follow(build, 6);
    writeFileSync(path, "");
    const { output, last } = await bounded(following);
    assert.deepEqual([output, last.result], ["over\n", "SUCCESS"]);
    assert.equal((await lab.status(build)).minutes, 1);
    assert.equal(audit().filter(({ uuid, event }) => uuid === build.uuid && event === "ended").length, 1);
  });

  test("it ends while the gate is down", async () => {
    const path = go("go-2");
    const build = await lab.submit(
      staticToken,
      { job: "waits", parameters: { GO: path } },
      { "idempotency-key": "down" },
    );
    await said(build, "begun");
    const { number } = (await lab.status(build)).build as { number: number };
    await lab.restart(async () => {
      writeFileSync(path, "");
      await lab.agent.logged(
        (line) =>
          line.number === number && line.job === "waits" && /SUCCESS|passed/.test(JSON.stringify(line)),
      );
    });
    const { output, last } = await bounded(lab.follow(build));
    assert.deepEqual([output, last.result], ["begun\nover\n", "SUCCESS"]);
    const again = await lab.submit(
      staticToken,
      { job: "waits", parameters: { GO: path } },
      { "idempotency-key": "down" },
    );
    assert.deepEqual([again.status, again.uuid], [200, build.uuid]);
  });

  test("one that waits is taken out of the queue, or submitted again by the next gate", async () => {
    const busy = await Promise.all(
      [1, 2, 3, 4].map(() => lab.submit(staticToken, { job: "waits", parameters: { GO: go("go-3") } })),
    );
    await Promise.all(busy.map((build) => said(build, "begun")));
    const stopped = await lab.submit(staticToken, { job: "firmware-all" });
    const waiting = await lab.submit(staticToken, { job: "firmware-all" });
    assert.equal((await lab.status(stopped)).state, "queued");
    await lab.request(`/v1/builds/${stopped.uuid}`, stopped.key, { method: "DELETE" });
    const { last } = await bounded(lab.follow(stopped));
    assert.deepEqual([last.result, last.cause], ["ABORTED", "stopped"]);
    await lab.restart();
    assert.equal((await lab.status(waiting)).state, "queued");
    writeFileSync(go("go-3"), "");
    const { output, last: ended } = await bounded(lab.follow(waiting));
    assert.deepEqual([output, ended.result], ["one\ntwo\n", "SUCCESS"]);
    await bounded(Promise.all(busy.map((build) => lab.follow(build))));
  });
});

test("no secret is in the audit log, nor in the log", async () => {
  const text = JSON.stringify(audit()) + JSON.stringify(lab.log.all);
  for (const secret of [staticToken, push, "PRIVATE KEY"]) {
    const at = text.indexOf(secret);
    assert.equal(at, -1, text.slice(Math.max(0, at - 200), at + 50));
  }
  const keys = readdirSync(join(lab.folder, "state/builds"));
  assert.ok(keys.length > 5);
});

test("the API's description is valid OpenAPI", async () => {
  const document = (await (await lab.request("/v1/openapi.json", undefined)).json()) as Record<
    string,
    unknown
  >;
  const { valid, errors } = await new Validator().validate(document);
  assert.ok(valid, JSON.stringify(errors));
});

test("operators see refusals and use, and metrics", async () => {
  const { port } = lab.gate.operators ?? { port: 0 };
  const page = await fetch(`http://127.0.0.1:${port}/`);
  const text = await page.text();
  assert.match(text, /<h2>Refused<\/h2>/);
  assert.match(page.headers.get("content-security-policy") ?? "", /default-src 'none'; style-src 'sha256-/);
  const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  assert.match(metrics, /^labgear_gate_builds\{state="queued"\} 0$/m);
  const strange = await fetch(`http://127.0.0.1:${port}/none`);
  assert.equal(strange.status, 404);
});
