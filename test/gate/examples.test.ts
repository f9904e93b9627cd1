/** The recipes for CI systems, run as they are against a gate: the shell steps, with what a runner sets. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { chmodSync, copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { execa } from "execa";
import { parse } from "yaml";
import { bundleClient } from "../../packaging/bundle.ts";
import { lacksPrograms } from "../package/products.ts";
import { neutralEnv } from "../support/agent.ts";
import { GateLab, staticToken } from "./gate-lab.ts";
import { githubWorkflowRun } from "./issuer.ts";

const yaml = `
name: box7
host: { classes: [esp32] }
jobs:
  firmware-smoke:
    inputs: { app: { max: 32MiB } }
    run: |
      cat "$LABGEAR_INPUT_APP"
      echo '::error::not from labgear'
      cp "$LABGEAR_INPUT_APP" image.log
      echo '<testsuite name="board"><testcase name="boots"/></testsuite>' >r.xml
      grep -q good "$LABGEAR_INPUT_APP"
    artifacts: ["*.log"]
    junit: ["*.xml"]
`;
const rules = `
  - when: { issuer: github, repository_id: 74, event_name: workflow_run, job_workflow_ref: "octo-org/octo-repo/.github/workflows/hardware.yml@refs/heads/main" }
    allow: { jobs: [firmware-smoke], classes: [esp32], inputs: { app: 1MiB }, priority: low }
  - when: { token: jenkins }
    allow: { jobs: [firmware-smoke], classes: [esp32], inputs: { app: 1MiB } }
`;
const example = (name: string) =>
  readFileSync(new URL(`../../packaging/examples/${name}`, import.meta.url), "utf8");
const main = new URL("../../src/main.ts", import.meta.url).pathname;

let lab: GateLab;
before(async () => {
  lab = await GateLab.start({ yaml, rules });
  mkdirSync(join(lab.folder, "bin"));
  const labgear = join(lab.folder, "bin/labgear");
  writeFileSync(
    labgear,
    `#!/bin/sh\nexec '${process.execPath}' --disable-warning=ExperimentalWarning '${main}' "$@"\n`,
  );
  chmodSync(labgear, 0o755);
});
after(() => lab[Symbol.asyncDispose]());

/** A checkout with the image where the recipe has it. */
function workspace(name: string, image: string, content = "good image\n"): string {
  const folder = join(lab.folder, name);
  mkdirSync(join(folder, image, ".."), { recursive: true });
  writeFileSync(join(folder, image), content);
  return folder;
}

const run = (script: string, cwd: string, env: Record<string, string | undefined>) =>
  execa("bash", ["-e", "-c", script], {
    ...{ cwd, reject: false, extendEnv: false, stripFinalNewline: false, timeout: 100_000 },
    env: { ...neutralEnv, HOME: cwd, PATH: `${join(lab.folder, "bin")}:/usr/bin:/bin`, ...env },
  });

/** A runner's root folder with bash, Node and the client's commands, and nothing else of this machine. */
async function makeRoot(): Promise<string> {
  const root = join(lab.folder, "root");
  const install = (file: string, name: string) => {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    copyFileSync(file, join(root, name));
  };
  for (const folder of ["proc", "tmp", "home"]) mkdirSync(join(root, folder), { recursive: true });
  const programs = {
    bash: "/bin/bash",
    rm: "/bin/rm",
    mkdir: "/bin/mkdir",
    env: "/usr/bin/env",
    node: process.execPath,
  };
  for (const [name, program] of Object.entries(programs)) {
    install(program, `/usr/bin/${name}`);
    const { stdout } = await execa("ldd", [program]);
    for (const [, library = ""] of stdout.matchAll(/(\/\S+) \(0x/g)) install(library, library);
  }
  const labgear = join(root, "usr/bin/labgear");
  await bundleClient(labgear, "0.0.0");
  chmodSync(labgear, 0o755);
  return root;
}

/** @param cwd below the root */
function runIn(root: string, script: string, cwd: string, env: Record<string, string | undefined>) {
  const enter = ["--mount", "--pid", "--fork", "--mount-proc", `--root=${root}`, `--wd=${cwd}`];
  return execa("unshare", [...enter, "/usr/bin/bash", "-e", "-c", script], {
    ...{ reject: false, extendEnv: false, stripFinalNewline: false, stdin: "ignore", timeout: 100_000 },
    env: { ...neutralEnv, HOME: "/home", PATH: "/usr/bin", ...env },
  });
}

function brought(folder: string): void {
  assert.deepEqual(readdirSync(folder).sort(), ["artifacts", "build.json", "console.log", "junit.xml"]);
  assert.equal(readFileSync(join(folder, "artifacts/image.log"), "utf8"), "good image\n");
  assert.match(readFileSync(join(folder, "junit.xml"), "utf8"), /boots/);
}

test("GitHub: the action's steps in a clean root, with a token that the runner gives, and no secret", {
  skip: lacksPrograms("unshare", "ldd"),
}, async () => {
  const root = await makeRoot();
  const action = parse(example("github/action.yml"));
  const token = await lab.issuer.sign(githubWorkflowRun);
  const tokens = createServer((request, response) => {
    assert.match(request.url ?? "", /audience=lab\.example/);
    response.end(JSON.stringify({ value: token }));
  }).listen(0, "127.0.0.1");
  await once(tokens, "listening");
  try {
    for (const [name, content, code] of [
      ["github", "good image\n", 0],
      ["github-bad", "bad\n", 1],
    ] as const) {
      const here = workspace(`root/${name}`, "firmware/app.elf", content);
      const cwd = `/${name}`;
      const given: Record<string, string> = {
        job: "firmware-smoke",
        gate: lab.url,
        audience: "lab.example",
        node: "esp32",
        files: "app=firmware/app.elf\n",
        priority: "low",
      };
      const runner = {
        GITHUB_OUTPUT: join(cwd, "output"),
        GITHUB_STEP_SUMMARY: join(cwd, "summary"),
        RUNNER_TEMP: join(cwd, "temp"),
      };
      const { port } = tokens.address() as AddressInfo;
      const github = {
        GITHUB_ACTIONS: "true",
        GITHUB_WORKSPACE: cwd,
        ACTIONS_ID_TOKEN_REQUEST_URL: `http://127.0.0.1:${port}/?v=1`,
        ACTIONS_ID_TOKEN_REQUEST_TOKEN: "x",
      };
      const [step] = action.runs.steps as { run: string; env: Record<string, string> }[];
      const env = Object.fromEntries(
        Object.entries(step?.env ?? {}).map(([key, text]) => [
          key,
          text.replaceAll(
            /\$\{\{ inputs\.([\w-]+) \}\}/g,
            (_, input) => given[input] ?? action.inputs[input].default,
          ),
        ]),
      );
      const { exitCode, stdout, stderr } = await runIn(root, step?.run ?? "", cwd, {
        ...{ ...github, ...runner, ...env },
      });
      assert.equal(exitCode, code, stderr);
      assert.match(
        stdout,
        /^::group::firmware-smoke#\d+ on box7\n::stop-commands::(\w+)\n.*not from labgear.*^::\1::\n::endgroup::$/ms,
      );
      assert.match(readFileSync(join(here, "summary"), "utf8"), code === 0 ? /✅/ : /❌/);
      if (code === 0) brought(join(here, "labgear-results"));
    }
  } finally {
    tokens.close();
    tokens.closeAllConnections();
  }
});

test("GitLab and Jenkins: one command each", async () => {
  const gitlab = parse(example("gitlab/gate-ci.yml")).hardware;
  assert.deepEqual(gitlab.id_tokens, { LABGEAR_TOKEN: { aud: "lab.example" } });
  const [, jenkins = ""] =
    /exec (labgear build[\s\S]*?)\n\s*'''/.exec(example("jenkins/Jenkinsfile.gate")) ?? [];
  const scripts = { gitlab: gitlab.script.join("\n").replace("https://lab.example:8443", lab.url), jenkins };
  for (const [name, script] of Object.entries(scripts)) {
    const cwd = workspace(name, "build/app.elf");
    const env = { LABGEAR_TOKEN: staticToken, ...(name === "jenkins" && { LABGEAR_GATE: lab.url }) };
    const { exitCode, stderr } = await run(script, cwd, env);
    assert.equal(exitCode, 0, stderr);
    brought(join(cwd, "results"));
  }
});
