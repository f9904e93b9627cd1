/** Mistakes in the configuration: all of them at once, each with its file, its line and what was expected. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { loadConfig } from "#/config/load.ts";
import { folder } from "./folder.ts";
import { mistakes } from "./mistakes.ts";

/** @returns what is said about one job option, without place and key */
async function about(option: string): Promise<string[]> {
  const found = await mistakes(`jobs: {j: {run: x, ${option}}}`);
  return found.map((line) => line.replace(/^\S+ \S+ /, ""));
}

test("ten different mistakes in one file give ten lines, at their lines", async () => {
  const found = await mistakes(`name: "rack 7"
servers:
  - gearman.example
  - gearman.example:4730
htpp: {}
http:
  url: ftp://rack7
host: { classes: [fast], executors: 0 }
jobs:
  unit-tests:
    run: make
    timeout: soon
    nodes: [fasst]
    artifacts:
      - build/*.bin
      - ../secrets
    timeout: 5m
  lost:
    checkout: true
  preload:
    run: make
    parameters: [LD_PRELOAD]
`);
  assert.deepEqual(found, [
    'labgear.yaml:1: name: "rack 7" can\'t be a name: it contains white space',
    "labgear.yaml:4: servers[1]: the server gearman.example:4730 is in the list twice (see entry 1)",
    'labgear.yaml:5: htpp: is not an option (did you mean "http"?)',
    'labgear.yaml:7: http.url: expected an http:// or https:// address, found "ftp://rack7"',
    "labgear.yaml:8: host.executors: expected a whole number from 1 to 256, found 0",
    'labgear.yaml:13: jobs.unit-tests.nodes[0]: no node has the name or class "fasst" (did you mean "fast"?)',
    'labgear.yaml:16: jobs.unit-tests.artifacts[1]: "../secrets" must stay inside the workspace: it contains ".."',
    "labgear.yaml:17: jobs.unit-tests.timeout: is given twice, first on line 12",
    "labgear.yaml:18: jobs.lost: expected one of run, shell, steps or firmware",
    'labgear.yaml:22: jobs.preload.parameters[0]: "LD_PRELOAD" can\'t be set by clients: it changes what is loaded into every program',
  ]);
});

test("a timeout in words", async () => {
  assert.deepEqual(await mistakes("jobs:\n  unit-tests:\n    run: x\n    timeout: soon"), [
    'labgear.yaml:4: jobs.unit-tests.timeout: expected a duration such as 30m, 10s or 1h30m, found "soon"',
  ]);
});

test("mistakes are in the file that they were made in, drop-in or not", async () => {
  const found = await mistakes({
    "labgear.yaml": "host: {executors: x}\nbuilds:\n  keep: 0\njobs: {a: {run: x}}\n",
    "conf.d/1.yaml": "\nhost:\n  executors: many\n",
    "conf.d/2.yaml": "jobs:\n  a:\n    grase: 3s\n  b: {timeout: 3s}\n",
  });
  assert.deepEqual(found, [
    "labgear.yaml:3: builds.keep: expected a whole number from 1 to 1000000, found 0",
    'conf.d/1.yaml:3: host.executors: expected a whole number from 1 to 256, found "many"',
    'conf.d/2.yaml:3: jobs.a.grase: is not an option (did you mean "grace"?)',
    "conf.d/2.yaml:4: jobs.b: expected one of run, shell, steps or firmware",
  ]);
});

test("a mistake behind an alias or a merge key is where it is written", async () => {
  const found = await mistakes("jobs:\n  a: &a\n    run: x\n    timeout: 0s\n  b:\n    <<: *a\n  c: *a\n");
  assert.deepEqual(found, [
    "labgear.yaml:4: jobs.a.timeout: must be longer than 0s",
    "labgear.yaml:4: jobs.b.timeout: must be longer than 0s",
    "labgear.yaml:4: jobs.c.timeout: must be longer than 0s",
  ]);
});

test("broken YAML: its line, and the mistakes before it", async () => {
  const found = await mistakes("nane: a\nhost:\n\texecutors: 0\nstop-timeout: soon\n");
  assert.deepEqual(found, [
    'labgear.yaml:1: nane: is not an option (did you mean "name"?)',
    "labgear.yaml:3: is not valid YAML: Tabs are not allowed as indentation",
  ]);
});

test("YAML that is good and yet no configuration", async () => {
  const cases: Record<string, RegExp> = {
    "- a\n- b": /^labgear.yaml:1: expected options \(KEY: VALUE\), found a list$/,
    "just text": /^labgear.yaml:1: expected options \(KEY: VALUE\), found "just text"$/,
    "name: a\n---\nname: b": /^labgear.yaml:2: expected a single document/,
    "name: *nobody": /^labgear.yaml:1: \*nobody refers to nothing/,
    "jobs: &jobs\n  a: *jobs": /^labgear.yaml:2: \*jobs is inside the value that it refers to$/,
    "? [a]\n: b": /^labgear.yaml:1: a key must be plain text$/,
    "name: !!js/function x": /^labgear.yaml:1: .*tag/,
    "jobs: {<<: [3]}": /^labgear.yaml:1: has a merge key/,
    "host: !!binary aGVsbG8=": /^labgear.yaml:1: the tag .* is not supported$/,
    "name: 'x\njobs: y":
      /^labgear.yaml:2: is not valid YAML: Missing closing 'quote \(in the option that begins on line 1\)$/,
  };
  for (const [text, message] of Object.entries(cases)) {
    const found = await mistakes(text);
    assert.equal(found.length, 1, found.join("\n"));
    assert.match(found[0] ?? "", message);
  }
});

test("files made to hurt: alias bombs, depth, numbers of keys, of aliases and of mistakes", async () => {
  const letters = "bcdefghi".split("");
  const bomb = letters.map(
    (name, i) => `${name}: &${name} [${Array(9).fill(`*${"abcdefgh"[i]}`).join(",")}]`,
  );
  const cases: Record<string, RegExp> = {
    [`a: &a [x, x, x]\n${bomb.join("\n")}`]: /aliases/,
    [`a: &a [x]\nb: [${Array(2 ** 15)
      .fill("*a")
      .join(",")}]`]: /aliases/,
    ["[".repeat(2 ** 19)]: /nested too deeply/,
    [`${"{a: ".repeat(100)}x${"}".repeat(100)}`]: /nested too deeply/,
    [Array.from({ length: 2 ** 14 }, (_, i) => `k${i}: 1`).join("\n")]: /is not an option/,
  };
  for (const [text, message] of Object.entries(cases)) {
    const found = await mistakes(text);
    assert.match(found[0] ?? "", message);
    assert.ok(found.length <= 101, String(found.length));
  }
});

test("names that could not be registered, or be folders", async () => {
  const refused: Record<string, RegExp> = {
    '"a:b"': /colon/,
    '"a b"': /white space/,
    '"a\\tb"': /white space/,
    '"a\\u00a0b"': /white space/,
    '"a\\0b"': /control characters/,
    '"a\\e[31m"': /control characters/,
    '"a\\u202eb"': /control characters/,
    '""': /empty/,
    [`"${"x".repeat(101)}"`]: /longer than 100/,
    [`"${"\u{1F916}".repeat(64)}"`]: /longer than 100/,
  };
  const refusedJobs: Record<string, RegExp> = {
    ...refused,
    "/etc": /part between slashes is empty, or dots/,
    "a//b": /part between slashes/,
    "a/../b": /part between slashes/,
    "a/b/": /part between slashes/,
    [`"${"\u{1F916}/".repeat(45)}x"`]: /longer than 255 bytes/,
    '".."': /begins with "\."/,
    ".": /begins with "\."/,
    ".hidden": /begins with "\."/,
    "-rf": /begins with "-"/,
  };
  for (const [name, reason] of Object.entries(refusedJobs)) {
    const found = await mistakes(`jobs:\n  ${name}:\n    run: x`);
    assert.equal(found.length, 1, name);
    assert.match(found[0] ?? "", reason);
    assert.match(found[0] ?? "", /^labgear.yaml:2: [^\p{C}]*$/u, "fit for a terminal");
  }
  for (const [name, reason] of Object.entries(refused)) {
    for (const text of [
      `name: ${name}`,
      `host: {classes: [${name}]}`,
      `jobs: {j: {run: x, nodes: [${name}]}}`,
    ]) {
      const found = await mistakes(text);
      assert.match(found[0] ?? "", reason, text);
      assert.match(found.join(""), /^[^\p{C}]*$/u, "fit for a terminal");
    }
  }
  using dir = folder({
    "labgear.yaml": `jobs: {${"x".repeat(100)}: {run: x}, größe_1.2+3@é: {run: x}, a-b#c: {run: x}}`,
  });
  assert.equal((await loadConfig({ file: dir.at("labgear.yaml") })).jobs.size, 3);
});

test("parameters that would let a client change what the job runs", async () => {
  const names = `NODE_OPTIONS LD_PRELOAD LD_LIBRARY_PATH BASH_ENV BASH_FUNC_x ENV PATH GIT_SSH_COMMAND PYTHONPATH
    PYTHONSTARTUP PERL5LIB PERL5OPT IFS SHELL SHELLOPTS HOME LABGEAR_UUID JOB_NAME WORKSPACE http_proxy MAKEFLAGS`;
  for (const name of names.split(/\s+/)) {
    assert.match(
      (await about(`parameters: [${name}]`)).join(),
      /^"\w+" (can't be set by clients: it|is set by labgear)/,
    );
  }
  for (const name of ["A-B", "1A", "A=B", "''", "BÄR"]) {
    assert.match((await about(`parameters: [${name}]`)).join(), /can't name a variable/);
  }
  using dir = folder({
    "labgear.yaml": "jobs: {j: {run: x, parameters: [BOARD_REV, _x, environment, HOMEPAGE, PATHS]}}",
  });
  assert.equal((await loadConfig({ file: dir.at("labgear.yaml") })).jobs.get("j")?.parameters.length, 5);
});

test("patterns that lead out of the workspace", async () => {
  for (const glob of [
    "/etc/*",
    "..",
    "../x",
    "a/../../x",
    "a/..",
    "{..,x}/y",
    "{/etc,x}/y",
    "{x,/etc}",
    "@(..|x)/y",
  ]) {
    const found = await about(`artifacts: ["${glob}"]`);
    assert.match(found.join("\n"), /^".*" must (be relative|stay inside)/, glob);
  }
  assert.match((await about('junit: [""]')).join(), /^expected a pattern/);
  using dir = folder({
    "labgear.yaml": 'jobs: {j: {run: x, artifacts: ["a..b/*", "**/*.{bin,elf}", "out{/a,/b}", "..."]}}',
  });
  assert.equal((await loadConfig({ file: dir.at("labgear.yaml") })).jobs.get("j")?.artifacts.length, 4);
});

test("values of the wrong type or out of range", async () => {
  const cases: Record<string, string> = {
    "timeout: 30": "expected a duration such as 30m, 10s or 1h30m, found 30",
    "timeout: 25d": "must be 24d at most",
    "grace: -1s": 'expected a duration such as 30m, 10s or 1h30m, found "-1s"',
    "checkout: yes": 'expected true or false, found "yes"',
    "nodes: []": "expected at least one entry, found an empty list",
    "nodes: x86-64": 'expected a list, found "x86-64"',
    "nodes: [7]": "expected a name, found 7: put it in quotes",
    "artifacts: [a, b, a]": '"a" is in the list twice (see entry 1)',
    "limits: 4": "expected a mapping of options, found 4",
    "limits: {memory: 0}": "must be larger than 0",
    "limits: {processes: 1.5}": "expected a whole number from 1 to 4194304, found 1.5",
    "limits: {cpu: 2}": "expected a share of one processor such as 50% or 200%, found 2",
    "timeout:": "expected a duration such as 30m, 10s or 1h30m, found nothing",
  };
  for (const [option, message] of Object.entries(cases))
    assert.deepEqual(await about(option), [message], option);
  const whole: Record<string, string> = {
    "name: 7": "labgear.yaml:1: name: expected a name, found 7: put it in quotes",
    "jobs: {a: }": "labgear.yaml:1: jobs.a: expected a mapping of options, found nothing",
    'jobs: {a: {run: " "}}': 'labgear.yaml:1: jobs.a.run: expected a shell script, found " "',
    "servers: [7]": "labgear.yaml:1: servers[0]: expected HOST or HOST:PORT, IPv6 in brackets, found 7",
    "servers: [a:0]": 'labgear.yaml:1: servers[0]: expected HOST or HOST:PORT, IPv6 in brackets, found "a:0"',
    "servers: [{}]": "labgear.yaml:1: servers[0]: the option server is required",
    "tls: {}":
      "labgear.yaml:1: tls: has no effect without servers: the embedded job server listens on loopback only",
    "http: {url: 'http://u:p@h'}":
      "labgear.yaml:1: http.url: must not contain a user name or a password: everybody can see it",
    "infrastructure-result: SUCCESS":
      'labgear.yaml:1: infrastructure-result: expected a result in capitals such as NODE_FAILURE, but not SUCCESS, found "SUCCESS"',
  };
  for (const [text, message] of Object.entries(whole))
    assert.deepEqual(await mistakes(text), [message], text);
});

test("files for TLS: there, readable, and a certificate with its key", async () => {
  const found = await mistakes({
    "labgear.yaml": "servers:\n  - server: a\n    tls:\n      cert: conf.d\n  - b\ntls:\n  ca: none.pem\n",
    "conf.d/x.yaml": "",
  });
  assert.equal(found.length, 3);
  assert.equal(found[0], "labgear.yaml:3: servers[0].tls: the option cert also needs key");
  assert.match(found[1] ?? "", /^labgear.yaml:4: servers\[0\]\.tls\.cert: "conf.d" is not a file$/);
  assert.match(found[2] ?? "", /^labgear.yaml:7: tls\.ca: "none.pem" does not exist$/);
});

test("nodes that a job may name: the classes and the name of the host; with auto nobody knows yet", async () => {
  const jobs = "jobs: {j: {run: x, nodes: [fast, rack7, other]}}";
  assert.deepEqual(await mistakes(`name: rack7\nhost: {classes: [fast]}\n${jobs}`), [
    'labgear.yaml:3: jobs.j.nodes[2]: no node has the name or class "other" (expected one of "fast", "rack7")',
  ]);
  using dir = folder({ "labgear.yaml": `name: rack7\nhost: {classes: [fast, auto]}\n${jobs}` });
  assert.equal((await loadConfig({ file: dir.at("labgear.yaml") })).jobs.size, 1);
});

test("links that lead nowhere, or where a build says", async () => {
  const template = "an http:// or https:// address with parts such as {project} or {change}";
  for (const [link, message] of [
    ["review.example/{change}", `expected ${template}, found "review.example/{change}"`],
    ["javascript:alert(1)", `expected ${template}, found "javascript:alert(1)"`],
    ["https://{project}/x", `expected ${template}, found "https://{project}/x"`],
    [
      "https://review.example/{chang}",
      "names {chang}; there are {project} {branch} {change} {patchset} {pipeline} {ref} {commit}",
    ],
  ]) {
    assert.deepEqual(await mistakes(`links: { change: "${link}" }`), [
      `labgear.yaml:1: links.change: ${message}`,
    ]);
  }
});
