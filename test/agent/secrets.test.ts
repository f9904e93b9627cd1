/** Secrets of jobs: what a build gets, what is left of it, and that nobody reads it in what the build printed. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { TestAgent } from "../support/agent.ts";
import { object, submit } from "../support/clients.ts";
import { testFolder } from "../support/folders.ts";
import { makeGate, openGate, waitAtGate } from "../support/gate.ts";
import { lacks } from "../support/parts.ts";
import { type RunningServer, startGearmand } from "../support/servers.ts";

const skip = lacks("gearmand");

const token = "t0ken-of-the-registry";
const line = "QUJDREVGabcdef0123456789/+".repeat(3);
const key = `-----BEGIN KEY-----\n${line}\nlast=\n-----END KEY-----\n`;

const yaml = (folder: string) => `
name: box7
builds: { min-free: 1MiB }
jobs:
  publish:
    parameters: [TOKEN]
    junit: ["*.xml"]
    secrets:
      DEPLOY_KEY: { file: "${folder}/deploy" }
      TOKEN: { file: "${folder}/token", env: true }
    run: |
      stat -c %a "$LABGEAR_SECRETS/DEPLOY_KEY"; ls "$LABGEAR_SECRETS"
      cp "$LABGEAR_SECRETS/DEPLOY_KEY" "$LABGEAR_ARTIFACTS/key"
      printf %s "$TOKEN" >"$LABGEAR_ARTIFACTS/token"
      echo "$LABGEAR_SECRETS" >"$LABGEAR_ARTIFACTS/folder"
      cat "$LABGEAR_SECRETS/DEPLOY_KEY"
      base64 "$LABGEAR_SECRETS/DEPLOY_KEY"
      printf 'user:%s' "$TOKEN" | base64
      od -An -v -tx1 "$LABGEAR_SECRETS/DEPLOY_KEY" | tr -d ' \\n'; echo
      echo "token $TOKEN $TOKEN" >&2
      printf '<testsuite><testcase name="a"><failure message="%s">%s</failure></testcase></testsuite>' "$TOKEN" "$TOKEN" >r.xml
      ln -s /etc/hostname "$LABGEAR_ARTIFACTS/link-$TOKEN"
      bash -c 'exec -a "leaks $TOKEN" sleep 100' &
      until grep -q leaks /proc/$!/cmdline; do sleep 0.1; done
      printf 'in two parts: t0ken-of-'
      ${waitAtGate}
      echo the-registry
      printf 'the end: t0ken-'
  plain: { run: "echo $TOKEN $LABGEAR_SECRETS." }
  unit:
    secrets: { FILE: { credential: registry }, VARIABLE: { credential: registry, env: true } }
    run: |
      cat "$LABGEAR_SECRETS/FILE"
      cmp "$LABGEAR_SECRETS/FILE" "${folder}/registry"
      test "$VARIABLE" = "$(cat "${folder}/registry")"
      echo "$VARIABLE, folder=$CREDENTIALS_DIRECTORY."
  removes:
    secrets: { FILE: { file: "${folder}/deploy" } }
    run: |
      cat "$LABGEAR_SECRETS/FILE"
      cd "$(dirname "$LABGEAR_SECRETS")/.."
      rm -rf secrets; echo >secrets; exit 7
`;

let server: RunningServer;
let agent: TestAgent;
const folder = testFolder();

before(async () => {
  if (skip) return;
  writeFileSync(join(folder.path, "deploy"), key);
  writeFileSync(join(folder.path, "token"), `${token}\n`);
  server = await startGearmand();
  writeFileSync(join(folder.path, "registry"), "s3cret of the unit\n");
  // As systemd sets it for a unit with LoadCredential= (systemd.exec(5)).
  const env = { CREDENTIALS_DIRECTORY: folder.path };
  agent = await TestAgent.start({ yaml: yaml(folder.path), ports: [server.port], env });
  await makeGate(agent.stateDir);
});

after(async () => {
  await agent?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

const start = (job: string, parameters: Record<string, string> = {}) =>
  submit(server.port, {
    function: `build:${job}`,
    unique: `u-${job}-${performance.now()}`,
    data: JSON.stringify({ LABGEAR_STREAM: "1", ...parameters }),
  });

test("a build gets its secrets, and nobody else sees them", { skip }, async () => {
  const build = await start("publish", { TOKEN: "the client's" });
  await build.said("in two parts: ");
  await using _ = await openGate(agent.stateDir);
  const events = await build.ended;
  assert.equal(object(events.at(-1)).result, "SUCCESS");

  const artifact = async (name: string) => (await agent.file("publish", 1, `artifacts/${name}`)).toString();
  assert.equal(await artifact("key"), key);
  assert.equal(await artifact("token"), token);
  assert.equal(existsSync((await artifact("folder")).trim()), false, "the files go with the build");

  const console = (await agent.file("publish", 1, "console.log")).toString();
  assert.match(
    console,
    /^400\nDEPLOY_KEY\n\[masked\]\n\[masked\]\n\[masked\]\n\[masked\]\n(.{0,4}\[masked\].{0,4}\n?)+/,
  );
  assert.ok(console.includes("token [masked] [masked]\n"), console);
  assert.ok(console.includes("in two parts: [masked]\n"), console);
  assert.ok(console.includes("the end: t0ken-"), console);
  const streamed = events.filter(({ type }) => type === "data").map((event) => object(event).output ?? "");
  assert.equal(streamed.join(""), console);

  const { tests, leftovers } = await agent.record("publish", 1);
  assert.equal((tests as { failures: number }).failures, 1);
  assert.match(JSON.stringify(leftovers), /leaks \[masked\]/);
  const cases = JSON.parse(`${await agent.file("publish", 1, "tests.json")}`);
  assert.deepEqual([cases[0].message, cases[0].details], ["[masked]", "[masked]"]);

  const forms = [token, line, line.slice(20), Buffer.from(line).toString("hex")];
  for (const before of ["", "x", "xx"])
    for (const text of [token, line])
      forms.push(
        Buffer.from(before + text)
          .toString("base64")
          .slice(4, -4),
      );
  const kept = ["console.log", "build.json", "tests.json"].map(
    async (name) => `${await agent.file("publish", 1, name)}`,
  );
  const all = [
    ...(await Promise.all(kept)),
    JSON.stringify(events.map((event) => event)),
    JSON.stringify(agent.log),
  ]
    .join("\n")
    .replaceAll("\\n", "")
    .replaceAll("\n", "");
  for (const form of forms) assert.ok(!all.includes(form), form);
});

test("other jobs get nothing of it", { skip }, async () => {
  assert.equal(object((await (await start("plain")).ended).at(-1)).result, "SUCCESS");
  assert.equal(`${await agent.file("plain", 1, "console.log")}`, ".\n");
});

test("a credential of the unit is the build's as a file or a variable, and it doesn't learn their folder", {
  skip,
}, async () => {
  assert.equal(object((await (await start("unit")).ended).at(-1)).result, "SUCCESS");
  assert.equal(`${await agent.file("unit", 1, "console.log")}`, "[masked]\n[masked], folder=.\n");
});

test("a secret that is gone, or too short by now, ends a build without a result", { skip }, async () => {
  const file = join(folder.path, "token");
  for (const [number, why] of [
    [2, `the secret TOKEN can't be used: ${file} can't be read (ENOENT)`],
    [
      3,
      `the secret TOKEN can't be used: ${file} has no line of 4 characters or more: it is too short to be masked`,
    ],
  ] as const) {
    if (number === 2) rmSync(file);
    else writeFileSync(file, "abc\n");
    const events = await (await start("publish")).ended;
    assert.equal(events.at(-1)?.type, "fail");
    const { ending } = await agent.record("publish", number);
    assert.deepEqual(ending, { kind: "infrastructure", reason: why });
  }
  assert.deepEqual(readdirSync(join(agent.stateDir, "secrets")), []);
});

test("what a build does to the folder of all secrets changes neither its verdict nor the next one's", {
  skip,
}, async () => {
  for (const number of [1, 2]) {
    assert.equal(object((await (await start("removes")).ended).at(-2)).result, "FAILURE");
    const { ending } = await agent.record("removes", number);
    assert.equal((ending as { exitCode: number }).exitCode, 7);
    assert.match(`${await agent.file("removes", number, "console.log")}`, /^\[masked\]/);
  }
});

test("what an agent that was killed left is removed at the next start", { skip }, async () => {
  writeFileSync(join(folder.path, "token"), token);
  const build = await start("publish");
  await build.said("in two parts: ");
  const left = join(agent.stateDir, "secrets", "publish.4", "DEPLOY_KEY");
  assert.equal(readFileSync(left, "utf8"), key);
  await agent.end("SIGKILL");
  assert.equal(existsSync(left), true);
  await using next = await TestAgent.start({ yaml: yaml(folder.path), ports: [], folder: agent.folder });
  assert.equal(existsSync(join(next.stateDir, "secrets")), false);
  const processes = execFileSync("ps", ["-eo", "args"]).toString();
  assert.ok(!processes.includes(`leaks ${token}`));
});
