/** The gate's configuration and rules: mistakes that would let strangers in, the first match, and what a rule admits. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { describe, test } from "node:test";
import { ConfigError } from "#/config/errors.ts";
import type { AgentInfo, JobInfo } from "#/exchange/info.ts";
import { admit, checkAllowed } from "#/gate/admission.ts";
import { certificateWarnings, loadGateConfig } from "#/gate/config.ts";
import { Refusal } from "#/gate/errors.ts";
import { parseBuildRequest } from "#/gate/request.ts";
import { ruleWarnings } from "#/gate/rule-config.ts";
import { type Claims, claimsOf, decide, explain, type Rule } from "#/gate/rules.ts";
import { folder } from "../config/folder.ts";
import { labgear } from "../support/agent.ts";
import { makeCa } from "../support/certificates.ts";
import { lacks } from "../support/parts.ts";
import { githubMergeQueue, githubPush, githubWorkflowRun, gitlabPush } from "./issuer.ts";

const head = `
listen: 127.0.0.1:8443
gearman: { servers: [127.0.0.1:4730] }
issuers:
  github: { url: "https://token.actions.githubusercontent.com", audience: lab.example }
  gitlab: { url: "https://gitlab.example.com", audience: lab.example }
  other: { url: "https://ci.example.com", audience: lab.example }
tokens: { jenkins: { file: secrets/jenkins } }
`;
const secret = `${"0123456789abcdef".repeat(2)}\n`;

function load(yaml: string, start = head) {
  using dir = folder({
    ...{ "gate.yaml": start + yaml, "secrets/jenkins": secret, "secrets/short": "hunter2\n" },
    ...{ "secrets/same": secret, "secrets/jwt": "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln\n" },
  });
  return loadGateConfig(dir.at("gate.yaml"));
}

function rulesOf(...lines: string[]): readonly Rule[] {
  return load(`rules:\n${lines.map((line) => `  - ${line}\n`).join("")}`).rules;
}

const github = (payload: object) => claimsOf({ ...payload }, { issuer: "github" });
const gitlab = (payload: object) => claimsOf({ ...payload }, { issuer: "gitlab" });

describe("mistakes", () => {
  const mistakes: [name: string, yaml: string, expected: RegExp, start?: string][] = [
    [
      "a GitHub rule without event_name",
      "rules: [{ when: { issuer: github, repository_id: 74 }, allow: { jobs: [a] } }]",
      /rules\[0\]\.when: needs event_name/,
    ],
    [
      "a GitHub rule for every repository",
      "rules: [{ when: { issuer: github, event_name: push, job_workflow_ref: x }, allow: { jobs: [a] } }]",
      /matches every repository of the issuer: add repository_id/,
    ],
    [
      "a GitLab rule for every project",
      "rules: [{ when: { issuer: gitlab, ref: main }, allow: { jobs: [a] } }]",
      /matches every project of the issuer: add project_id/,
    ],
    [
      "a rule for every token of an issuer",
      "rules: [{ when: { issuer: other }, allow: { jobs: [a] } }]",
      /matches every token of the issuer/,
    ],
    [
      "a rule without issuer",
      "rules: [{ when: { repository_id: 74, event_name: push }, allow: { jobs: [a] } }]",
      /needs issuer or token/,
    ],
    [
      "a rule with both",
      "rules: [{ when: { issuer: other, token: jenkins }, allow: { jobs: [a] } }]",
      /no caller has both/,
    ],
    [
      "an unknown issuer",
      "rules: [{ when: { issuer: githup, sub: x }, allow: { jobs: [a] } }]",
      /"githup" is not configured: expected github, gitlab or other/,
    ],
    [
      "an unknown token",
      "rules: [{ when: { token: peter }, allow: { jobs: [a] } }]",
      /"peter" is not configured: expected jenkins/,
    ],
    [
      "a parameter of the gate's own",
      "rules: [{ when: { token: jenkins }, allow: { jobs: [a], parameters: { ZUUL_REF: x } } }]",
      /the gate alone sets LABGEAR_\*, ZUUL_\* and OFFLINE_\*/,
    ],
    [
      "a broken pattern",
      "rules: [{ when: { token: jenkins }, allow: { jobs: [a], parameters: { A: '(' } } }]",
      /can't be used as a pattern/,
    ],
    [
      "a pattern with a lookahead",
      "rules: [{ when: { token: jenkins }, allow: { jobs: [a], parameters: { A: '(?=x)' } } }]",
      /can't be used as a pattern/,
    ],
    [
      "an unknown key",
      "rules: [{ when: { token: jenkins }, allow: { jobs: [a], clases: [b] } }]",
      /clases: is not an option \(did you mean "classes"\?\)/,
    ],
    [
      "nothing",
      "rules: [{ when: { token: jenkins }, allow: { run: 5m } }]",
      /allows nothing: add jobs or leases/,
    ],
    [
      "plain HTTP for everybody",
      "rules: []",
      /listen: needs tls/,
      head.replace("127.0.0.1:8443", "0.0.0.0:8443"),
    ],
    [
      "an operators' page for everybody",
      "rules: []\noperators: { listen: 0.0.0.0:8444 }",
      /operators\.listen: needs token-file/,
    ],
    [
      "an issuer without TLS",
      "rules: []",
      /must begin with https/,
      head.replace("https://ci.example.com", "http://ci.example.com"),
    ],
    [
      "an issuer twice",
      "rules: []",
      /is the issuer gitlab already/,
      head.replace("https://ci.example.com", "https://gitlab.example.com"),
    ],
    [
      "a short token",
      "rules: []",
      /has no token of 24 printable characters or more/,
      head.replace("secrets/jenkins", "secrets/short"),
    ],
    [
      "a token that is another one's",
      "rules: []",
      /tokens\.peter\.file: .* has the token of jenkins/,
      head.replace("secrets/jenkins }", "secrets/jenkins }, peter: { file: secrets/same }"),
    ],
    [
      "a token that would be taken for an issuer's",
      "rules: []",
      /has the form of an issuer's token/,
      head.replace("secrets/jenkins", "secrets/jwt"),
    ],
    [
      "a certificate that is none",
      "rules: []",
      /tls\.cert: .* is no certificate in PEM/,
      `${head}tls: { cert: secrets/short, key: secrets/short }\n`,
    ],
    [
      "a token's file that isn't there",
      "rules: []",
      /does not exist/,
      head.replace("secrets/jenkins", "secrets/none"),
    ],
  ];
  for (const [name, yaml, expected, start] of mistakes) {
    test(name, () => {
      assert.throws(
        () => load(yaml, start),
        (error) =>
          error instanceof ConfigError &&
          expected.test(error.message) &&
          /gate\.yaml:\d+: /.test(error.message),
      );
    });
  }

  test("warnings", () => {
    const rules = rulesOf(
      "{ when: { issuer: github, repository: octo-org/octo-repo, event_name: push }, allow: { jobs: [a] } }",
      "{ when: { issuer: github, repository_id: 74, event_name: workflow_run }, allow: { jobs: [a] } }",
      "{ when: { issuer: github, repository_id: 74, event_name: pull_request_target }, allow: { jobs: [a], trust: [changes] } }",
      "{ when: { issuer: gitlab, project_path: g/p }, allow: { jobs: [a] } }",
      "{ when: { issuer: github, repository_id: 74, event_name: push }, allow: { jobs: [a] } }",
      "{ when: { issuer: github, repository_id: 74, event_name: push, ref: [refs/heads/main, main] }, allow: { jobs: [a] } }",
      "{ when: { issuer: github, repository_id: 74, event_name: push, job_workflow_ref: o/r/.github/workflows/ci.yml }, allow: { jobs: [a] } }",
      "{ when: { issuer: github, repository_id: 74, event_name: push, ref: '*/main', workflow_ref: 'o/r/**' }, allow: { jobs: [a] } }",
    );
    const kinds = new Map([
      ["github", "github"],
      ["gitlab", "gitlab"],
    ]);
    const found = ruleWarnings(rules, kinds).map((text) => text.replace(/:.*/, ""));
    assert.deepEqual(found, [
      "rule 1 matches repository without repository_id",
      "rule 2 allows workflow_run without job_workflow_ref",
      "rule 3 allows pull_request_target",
      "rule 3 allows trust",
      "rule 4 matches project_path without project_id",
      'rule 6 never matches ref "main"',
      'rule 7 never matches "o/r/.github/workflows/ci.yml"',
    ]);
  });
});

describe("who", () => {
  const rules = rulesOf(
    "{ when: { issuer: github, repository_id: 74, event_name: push, ref: refs/heads/main }, allow: { jobs: ['firmware-*'], priority: high } }",
    "{ when: { issuer: github, repository_id: 74, event_name: merge_group, ref: 'refs/heads/gh-readonly-queue/main/pr-*' }, allow: { jobs: [firmware-smoke] } }",
    "{ when: { issuer: github, repository_id: 74, event_name: workflow_run, job_workflow_ref: octo-org/octo-repo/.github/workflows/hardware.yml@refs/heads/main }, allow: { jobs: [firmware-smoke], priority: low } }",
    "{ when: { issuer: gitlab, project_id: 20, ref_protected: true }, allow: { jobs: [gitlab-job] } }",
    "{ when: { issuer: gitlab, project_id: [30, 31], groups_direct: 'mygroup/**' }, allow: { jobs: [groups] } }",
    "{ when: { token: jenkins }, allow: { jobs: [nightly] } }",
  );
  const number = (claims: Claims) => decide(rules, claims)?.number;

  test("the first rule that matches decides", () => {
    assert.equal(number(github(githubPush)), 1);
    assert.equal(number(github(githubMergeQueue)), 2);
    assert.equal(number(github(githubWorkflowRun)), 3);
    assert.equal(number(gitlab(gitlabPush)), 4);
    assert.equal(number(claimsOf({}, { token: "jenkins" })), 6);
    assert.equal(number(gitlab({ ...gitlabPush, project_id: "31", ref_protected: "false" })), 5);
  });

  test("everything else gets nothing", () => {
    const others: Claims[] = [
      github({ ...githubPush, repository_id: "75" }),
      github({ ...githubPush, ref: "refs/heads/other" }),
      github({ ...githubPush, ref: "refs/heads/main/x" }),
      github({ ...githubPush, event_name: "pull_request" }),
      github({ ...githubMergeQueue, ref: "refs/heads/gh-readonly-queue/main/pr-1/x" }),
      github({
        ...githubWorkflowRun,
        job_workflow_ref: "octo-org/octo-repo/.github/workflows/evil.yml@refs/heads/main",
      }),
      gitlab({ ...gitlabPush, project_id: "21" }),
      gitlab({ ...gitlabPush, ref_protected: "false" }),
      // The same claims from another issuer.
      claimsOf({ ...githubPush }, { issuer: "other" }),
      claimsOf({}, { token: "peter" }),
      claimsOf({}, { issuer: "github" }),
    ];
    for (const claims of others) assert.equal(number(claims), undefined);
  });

  test("a claim that the token lacks never matches, also by the names of what all objects have", () => {
    const { event_name: _, ...lacking } = githubPush;
    assert.equal(number(github(lacking)), undefined);
    const [rule] = rulesOf("{ when: { issuer: other, constructor: '**' }, allow: { jobs: [a] } }");
    assert.equal(decide([rule as Rule], claimsOf({ sub: "x" }, { issuer: "other" })), undefined);
  });

  test("a token can't say which issuer or static token it is", () => {
    assert.equal(
      number(claimsOf({ ...githubPush, issuer: "github", token: "jenkins" }, { issuer: "other" })),
      undefined,
    );
  });

  test("every rule says why it doesn't match", () => {
    const { decision, lines } = explain(rules, github(githubWorkflowRun));
    assert.equal(decision?.number, 3);
    assert.deepEqual(lines, [
      'rule 1 doesn\'t match: event_name is "workflow_run", and it wants "push"',
      'rule 2 doesn\'t match: event_name is "workflow_run", and it wants "merge_group"',
      "rule 3 matches and decides",
    ]);
    const none = explain(rules, github({ repository_id: "74" }));
    assert.equal(none.lines[0], 'rule 1 doesn\'t match: there is no event_name, and it wants "push"');
    assert.equal(none.lines.at(-1), "no rule matches: nothing is allowed");
  });
});

describe("what", () => {
  const [rule] = rulesOf(
    "{ when: { token: jenkins }, allow: { jobs: ['firmware-*'], classes: [esp32], inputs: { app: 8MiB }, parameters: { BOARD_REV: '[0-9]+' }, priority: normal, queue: 30m, run: 10m } }",
  ) as [Rule];
  const job: JobInfo = {
    ...{
      name: "firmware-smoke",
      nodes: ["esp32"],
      trust: "lab",
      checkout: false,
      debug: false,
      timeoutSeconds: 7200,
    },
    inputs: [{ name: "app", max: 4 * 1024 * 1024, optional: false, url: false }],
  };
  const info = (over: Partial<JobInfo> = {}, manager = "box7") =>
    ({
      manager,
      nodes: [{ name: "esp32-a", classes: ["esp32"], device: true, state: "free" }],
      jobs: [{ ...job, ...over }],
    }) as unknown as AgentInfo;
  const app = { name: "app", size: 1000, sha256: "a".repeat(64) };
  const ask = (
    request: object,
    infos: AgentInfo[] = [info()],
    by: Rule = rule,
    claims: Claims = new Map(),
  ) => {
    const parsed = parseBuildRequest({ job: "firmware-smoke", inputs: [app], ...request });
    return admit(by, parsed, checkAllowed(by, parsed), infos, claims);
  };
  const refuses = (request: object, expected: RegExp, infos?: AgentInfo[], by?: Rule, claims?: Claims) =>
    assert.throws(
      () => ask(request, infos, by, claims),
      (error) => error instanceof Refusal && expected.test(error.message),
    );

  test("what the rule says is submitted, and nothing else", () => {
    const admitted = ask({ parameters: { BOARD_REV: "12" }, priority: "high" });
    assert.deepEqual(admitted, {
      ...{ function: "build:firmware-smoke:esp32", node: "esp32", priority: "normal", managers: ["box7"] },
      parameters: { BOARD_REV: "12", ZUUL_NODE: "esp32" },
      ...{ queueMs: 30 * 60_000, runMs: 10 * 60_000 },
    });
    assert.equal(ask({ node: "esp32-a" }).function, "build:firmware-smoke:esp32-a");
    assert.equal(ask({ priority: "low" }).priority, "low");
  });

  test("everything else is refused", () => {
    refuses({ job: "deploy" }, /the job deploy isn't allowed/);
    refuses({ job: "firmware-a/b" }, /isn't allowed/);
    refuses({ job: "firmware-smoke:esp32" }, /job is no name of a job/);
    refuses({ job: "firmware-smoke\u0000" }, /job is no name of a job/);
    refuses({ node: "rpi4" }, /no node rpi4 runs/);
    refuses({ parameters: { OTHER: "1" } }, /the parameter OTHER isn't allowed/);
    refuses({ parameters: { BOARD_REV: "12; reboot" } }, /may not have this value/);
    refuses({ parameters: { BOARD_REV: "12\n" } }, /may not have this value/);
    refuses({ parameters: { LABGEAR_INPUTS: "[]" } }, /isn't allowed/);
    refuses({ inputs: [{ ...app, size: 9 * 1024 * 1024 }] }, /may have 8MiB at most/);
    refuses({ inputs: [{ ...app, size: 5 * 1024 * 1024 }] }, /the job takes 4MiB/);
    refuses({ inputs: [{ ...app, name: "other" }] }, /the input other isn't allowed/);
    refuses({ inputs: [{ ...app, url: "https://x" }] }, /unknown key "url"/);
    refuses({ inputs: [] }, /the job needs the input app/);
    refuses({ unknown: 1 }, /unknown key "unknown"/);
  });

  test("an agent that could take it and isn't as the rule wants it", () => {
    refuses({}, /jobs of trust changes/, [info(), info({ trust: "changes" }, "box8")]);
    refuses({}, /jobs with debug/, [info({ debug: true })]);
    refuses({}, /jobs with a checkout/, [info({ checkout: true })]);
    // One that has no such node doesn't count.
    assert.equal(ask({}, [info(), info({ trust: "changes", nodes: ["rpi4"] }, "box8")]).managers.length, 1);
  });

  test("a checkout is of the caller's own repository", () => {
    const [by] = rulesOf(
      "{ when: { issuer: github, repository_id: 74, event_name: push }, allow: { jobs: [unit], trust: [changes], checkout: 'https://github.com' } }",
    ) as [Rule];
    const unit = { name: "unit", trust: "changes", checkout: true, inputs: [] } as const;
    const asked = { job: "unit", node: "esp32", inputs: [] };
    assert.deepEqual(ask(asked, [info(unit)], by, github(githubPush)).parameters, {
      ...{ ZUUL_NODE: "esp32", ZUUL_URL: "https://github.com", ZUUL_PROJECT: "octo-org/octo-repo" },
      ...{ ZUUL_REF: "refs/heads/main", ZUUL_COMMIT: githubPush.sha },
    });
    assert.equal(ask(asked, [info(unit)], by, gitlab(gitlabPush)).parameters.ZUUL_REF, "refs/heads/main");
    refuses(asked, /no repository/, [info(unit)], by, github({ ...githubPush, repository: "../x" }));
    refuses(asked, /no repository/, [info(unit)], by, claimsOf({}, { token: "jenkins" }));
  });
});

test("labgear gate --check and --explain", async () => {
  const rules =
    "rules: [{ when: { issuer: github, repository: octo-org/octo-repo, event_name: push }, allow: { jobs: ['firmware-*'] } }]\n";
  using dir = folder({ "gate.yaml": head + rules, "secrets/jenkins": secret });
  const gate = (...args: string[]) => labgear(["gate", "--config", dir.at("gate.yaml"), ...args]);
  const checked = await gate("--check");
  assert.deepEqual([checked.exitCode, checked.stdout], [0, "1 rule, 3 issuers, 1 token, no mistakes\n"]);
  assert.match(checked.stderr, /^labgear: warning: rule 1 matches repository without repository_id/);
  const explained = await gate("--explain", JSON.stringify({ issuer: "github", ...githubPush }));
  assert.equal(explained.exitCode, 0, explained.stderr);
  assert.match(
    explained.stdout,
    /^rule 1 matches and decides\nit allows jobs firmware-\*; classes any; trust lab;/,
  );
  const refused = await gate("--explain", JSON.stringify({ issuer: "github", event_name: "push" }));
  assert.deepEqual([refused.exitCode, /nothing is allowed\n$/.test(refused.stdout)], [1, true]);
  const nonsense = await gate("--explain", "nonsense");
  assert.deepEqual([nonsense.exitCode, /neither a token nor claims/.test(nonsense.stderr)], [2, true]);
  const missing = await gate("--explain", `@${dir.at("missing")}`);
  assert.deepEqual([missing.exitCode, /--explain: @.*missing can't be read/.test(missing.stderr)], [2, true]);
});

test("the certificate and its key, before the gate starts", { skip: lacks("openssl") }, async () => {
  using dir = folder({ "gate.yaml": "", "secrets/jenkins": secret });
  const [one, two] = await Promise.all([makeCa(dir.path, "one"), makeCa(dir.path, "two")]);
  const loadPair = (cert: string, key: string) => {
    writeFileSync(dir.at("gate.yaml"), `${head}tls: { cert: "${cert}", key: "${key}" }\nrules: []\n`);
    return loadGateConfig(dir.at("gate.yaml"));
  };
  assert.deepEqual(certificateWarnings(loadPair(one.cert, one.key), new Date()), []);
  const later = new Date(Date.now() + 3 * 24 * 60 * 60 * 1000);
  assert.match(certificateWarnings(loadPair(one.cert, one.key), later).join(), /has expired/);
  assert.match(certificateWarnings(loadPair(one.cert, one.key), new Date(0)).join(), /isn't valid yet/);
  assert.throws(
    () => loadPair(one.cert, two.key),
    /tls\.key: .* is not the key of the first certificate in /,
  );
  assert.throws(() => loadPair(one.cert, one.cert), /tls\.key: .* is no private key in PEM/);
});
