/** The client's npm package, installed into an empty folder, and the recipes for CI systems run with it. */
import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { execa } from "execa";
import { parse, parseAllDocuments } from "yaml";
import { version } from "#/lib/version.ts";
import { makeNpmPackage } from "../../packaging/npm.ts";
import { TestAgent } from "../support/agent.ts";
import { makeCa, makeCertificate } from "../support/certificates.ts";
import { testFolder } from "../support/folders.ts";
import { lacks, part, partsEnv } from "../support/parts.ts";
import { startGearmand, startStunnel } from "../support/servers.ts";
import { lacksPrograms } from "./products.ts";

const skip = lacks("gearmand", "stunnel", "openssl") || lacksPrograms("npm", "bash", "python3");
const example = (name: string) => new URL(`../../packaging/examples/${name}`, import.meta.url).pathname;
const yamlOf = (name: string) => parse(readFileSync(example(name), "utf8"));

const yaml = `
name: box7
host: { classes: [esp32], executors: 2 }
builds: { min-free: 1MiB }
jobs:
  firmware-smoke:
    inputs: { app: { max: 1MiB } }
    parameters: [COLOUR]
    run: |
      cp "$LABGEAR_INPUT_APP" image.bin
      echo "::error::not from labgear, $COLOUR"
      echo '<testsuite name="s"><testcase classname="c" name="one"/></testsuite>' > r.xml
      grep -q good image.bin
    artifacts: ["*.bin"]
    junit: ["*.xml"]
`;

describe("the npm package and the recipes", { skip, timeout: 300_000 }, () => {
  const resources = new AsyncDisposableStack();
  const folder = resources.use(testFolder());
  const installed = join(folder.path, "installed");
  /** A PATH with little but Node and labgear. */
  const bin = join(folder.path, "bin");
  let port = 0;
  let tls: { server: string; ca: string; cert: string; key: string };

  before(async () => {
    const gearmand = resources.use(await startGearmand());
    ({ port } = gearmand);
    const ca = await makeCa(folder.path, "ca");
    const mine = await makeCertificate(folder.path, "mine", ca, "IP:127.0.0.1");
    const stunnel = resources.use(await startStunnel({ to: port, ...mine, clientCa: ca.cert }));
    tls = { server: `127.0.0.1:${stunnel.port}`, ca: ca.cert, cert: mine.cert, key: mine.key };
    const agent = resources.use(await TestAgent.start({ yaml, ports: [port] }));
    await agent.logged((line) => line.msg.startsWith("registered") && "exchange" in line);
    await makeNpmPackage(join(folder.path, "work"), folder.path, version);
    mkdirSync(installed);
    const install = [
      "install",
      "--offline",
      "--no-audit",
      "--no-fund",
      join(folder.path, `labgear-${version}.tgz`),
    ];
    await execa("npm", install, { cwd: installed, stdin: "ignore" });
    mkdirSync(bin);
    symlinkSync(process.execPath, join(bin, "node"));
    symlinkSync(join(installed, "node_modules/.bin/labgear"), join(bin, "labgear"));
  });
  after(() => resources.disposeAsync());

  /** A folder as a CI job has it, with an image that an earlier step has built. */
  function workspace(name: string, image = "good image\n"): string {
    const path = join(folder.path, name);
    mkdirSync(join(path, "build"), { recursive: true });
    writeFileSync(join(path, "build/app.elf"), image);
    return path;
  }

  const clean = () => ({ PATH: `${bin}:/usr/bin:/bin`, HOME: folder.path });
  const run = (
    script: string,
    cwd: string,
    env: NodeJS.ProcessEnv,
    shell = ["bash", "-e", "-o", "pipefail"],
  ) =>
    execa(shell[0] ?? "", [...shell.slice(1), "-c", script], {
      ...{
        cwd,
        env: { ...clean(), ...env },
        extendEnv: false,
        reject: false,
        stdin: "ignore",
        timeout: 120_000,
      },
    });

  function brought(results: string): void {
    assert.deepEqual(
      readdirSync(results)
        .filter((name) => !name.endsWith(".md"))
        .sort(),
      ["artifacts", "build.json", "console.log", "junit.xml"],
    );
    assert.equal(readFileSync(join(results, "artifacts/image.bin"), "utf8"), "good image\n");
    assert.match(readFileSync(join(results, "junit.xml"), "utf8"), /<testcase/);
  }

  test("the package: one file for several Nodes, without dependencies", async (context) => {
    const about = JSON.parse(readFileSync(join(installed, "node_modules/labgear/package.json"), "utf8"));
    assert.deepEqual([about.dependencies, about.bin], [undefined, { labgear: "labgear.cjs" }]);
    assert.match(readFileSync(join(installed, "node_modules/labgear/THIRD-PARTY"), "utf8"), /^commander /m);
    const file = join(installed, "node_modules/labgear/labgear.cjs");
    const nodes = [process.execPath, "/usr/bin/node"];
    for (const node of nodes) {
      const found = await execa(node, ["--version"], { reject: false });
      if (found.failed || Number(/^v(\d+)/.exec(`${found.stdout}`)?.[1]) < 20) {
        context.diagnostic(`NOT TESTED HERE: ${node} is no Node 20 or later`);
        continue;
      }
      const cwd = workspace(`node-${nodes.indexOf(node)}`);
      const args = [
        "build",
        "firmware-smoke",
        "--file",
        "app=build/app.elf",
        "--fetch",
        "out",
        "-p",
        "COLOUR=red",
      ];
      const secure = [
        "--server",
        tls.server,
        "--tls-ca",
        tls.ca,
        "--tls-cert",
        tls.cert,
        "--tls-key",
        tls.key,
      ];
      const built = await execa(node, [file, ...args, ...secure], {
        cwd,
        env: clean(),
        extendEnv: false,
        reject: false,
      });
      assert.equal(built.exitCode, 0, `${found.stdout}: ${built.stderr}`);
      brought(join(cwd, "out"));
      assert.equal((await execa(node, [file, "--version"])).stdout, `labgear ${version}`);
      const none = await execa(node, [file, "agent"], { reject: false });
      assert.equal(none.exitCode, 2);
    }
  });

  test("GitHub: the steps of the action, in a clean environment", async () => {
    const action = yamlOf("github/action.yml");
    const steps = action.runs.steps as { shell: string; run: string; env?: Record<string, string> }[];
    assert.equal(action.runs.using, "composite");
    for (const [name, image, code] of [
      ["github", "good image\n", 0],
      ["github-bad", "bad\n", 1],
    ] as const) {
      const cwd = workspace(name, image);
      const given: Record<string, string> = {
        ...{ job: "firmware-smoke", server: tls.server, node: "esp32", files: "app=build/app.elf\n" },
        ...{ parameters: 'COLOUR=$(touch injected) "; exit 0' },
        "tls-ca": readFileSync(tls.ca, "utf8"),
        "tls-cert": readFileSync(tls.cert, "utf8"),
        "tls-key": readFileSync(tls.key, "utf8"),
      };
      const inputs = Object.entries(action.inputs as Record<string, { required?: true; default?: string }>);
      for (const [input, { required }] of inputs) assert.ok(!required || given[input], input);
      const value = (input: string) =>
        given[input] ?? inputs.find(([known]) => known === input)?.[1].default ?? assert.fail(input);
      const runner = join(folder.path, `${name}-runner`);
      mkdirSync(runner);
      const files = { GITHUB_OUTPUT: join(runner, "output"), GITHUB_STEP_SUMMARY: join(runner, "summary") };
      const codes = [];
      let log = "";
      for (const { shell, run: script, env = {} } of steps) {
        assert.equal(shell, "bash");
        assert.doesNotMatch(script, /\$\{\{/, "an expression in a script would be a command");
        const own = Object.entries(env).map(([key, text]) => [
          key,
          text.replaceAll(/\$\{\{ inputs\.([\w-]+) \}\}/g, (_, input) => value(input)),
        ]);
        const github = { GITHUB_ACTIONS: "true", GITHUB_WORKSPACE: cwd, RUNNER_TEMP: runner, ...files };
        const { exitCode, stdout, stderr } = await run(script, cwd, {
          ...github,
          ...Object.fromEntries(own),
        });
        codes.push(exitCode);
        log += `${stdout}\n${stderr}`;
      }
      assert.deepEqual(codes, [code, 0], log);
      assert.match(
        log,
        /^::group::firmware-smoke#\d+ on box7\n::stop-commands::(\w+)\n.*not from labgear, \$\(touch.*^::\1::$/ms,
      );
      assert.match(readFileSync(files.GITHUB_OUTPUT, "utf8"), /^results=labgear-results$/m);
      assert.match(readFileSync(files.GITHUB_STEP_SUMMARY, "utf8"), code === 0 ? /✅/ : /❌/);
      assert.deepEqual(readdirSync(runner).sort(), ["output", "summary"], "no key is left");
      assert.ok(!readdirSync(cwd).includes("injected"));
      if (code === 0) brought(join(cwd, "labgear-results"));
    }
  });

  test("GitHub: what is from a pull request has no rights, and what has rights runs nothing of it", () => {
    const [build, hardware] = [yamlOf("github/build.yml"), yamlOf("github/hardware.yml")];
    assert.deepEqual([build.on, build.permissions], [["pull_request"], {}]);
    assert.deepEqual(Object.keys(hardware.on), ["workflow_run"]);
    assert.deepEqual(hardware.permissions, { actions: "read", "id-token": "write", statuses: "write" });
    assert.deepEqual(hardware.on.workflow_run.workflows, [build.name]);
    const steps = hardware.jobs.smoke.steps as {
      uses?: string;
      run?: string;
      with?: Record<string, string>;
    }[];
    // Commands of its own, without anything that a pull request could write into them.
    for (const { uses, run: script = "", with: given } of steps) {
      assert.ok((uses !== undefined) !== (script !== "") && !given?.ref);
      assert.doesNotMatch(script, /\$\{\{/);
    }
    const ours = steps.find(({ uses }) => uses?.startsWith("./"));
    const known = Object.keys(yamlOf("github/action.yml").inputs);
    for (const input of Object.keys(ours?.with ?? {})) assert.ok(known.includes(input), input);
  });

  test("GitLab: the component, and the plain file", async () => {
    const [spec, jobs] = parseAllDocuments(readFileSync(example("gitlab/component.yml"), "utf8"));
    const given: Record<string, string> = {
      ...{ job: "firmware-smoke", server: `127.0.0.1:${port}`, node: "esp32", file: "app=build/app.elf" },
      ...{ image: "registry.example/labgear", stage: "test" },
    };
    const known = Object.keys(spec?.toJS().spec.inputs);
    const text = JSON.stringify(jobs?.toJS());
    for (const [, input = ""] of text.matchAll(/\$\[\[ inputs\.(\w+) \]\]/g))
      assert.ok(known.includes(input), input);
    const component = JSON.parse(
      text.replaceAll(/\$\[\[ inputs\.(\w+) \]\]/g, (_, input) => given[input] ?? "[]"),
    );
    const plain = yamlOf("gitlab/gitlab-ci.yml");
    const secrets = { LAB_SERVER: tls.server, LAB_CA: tls.ca, LAB_CERT: tls.cert, LAB_KEY: tls.key };
    for (const [name, job, env] of [
      ["component", component.hardware, component.hardware.variables],
      ["plain", plain.hardware, secrets],
    ]) {
      assert.deepEqual(job.artifacts, {
        when: "always",
        paths: ["results"],
        reports: { junit: "results/junit.xml" },
      });
      const cwd = workspace(`gitlab-${name}`);
      const { exitCode, stdout, stderr } = await run(job.script.join("\n"), cwd, {
        GITLAB_CI: "true",
        ...env,
      });
      assert.equal(exitCode, 0, stderr);
      assert.match(stdout, /section_start:/);
      brought(join(cwd, "results"));
    }
  });

  test("Jenkins: the shell step of the pipeline", async () => {
    const pipeline = readFileSync(example("jenkins/Jenkinsfile"), "utf8");
    const [, script = ""] = /sh '''\n(.*?)'''/s.exec(pipeline) ?? [];
    const cwd = workspace("jenkins");
    const env = { LABGEAR_SERVER: `127.0.0.1:${port}` };
    const { exitCode, stderr } = await run(script, cwd, env, ["sh", "-xe"]);
    assert.equal(exitCode, 0, stderr);
    brought(join(cwd, "results"));
    assert.equal(pipeline.split("{").length, pipeline.split("}").length);
  });

  test("Zuul 3: the playbook with its role", { skip: lacks("ansiblePlaybook") }, async () => {
    const [job] = yamlOf("zuul/zuul.yaml");
    const cwd = workspace("zuul");
    const variables = {
      ...job.job.vars,
      ...{ labgear_server: `127.0.0.1:${port}`, labgear_chdir: cwd, labgear_results: join(cwd, "results") },
      ...{ labgear_executable: join(bin, "labgear"), ansible_python_interpreter: "/usr/bin/python3" },
      labgear_parameters: ["COLOUR=a b"],
    };
    const args = ["-i", "localhost,", "-c", "local", "-e", JSON.stringify(variables)];
    const { exitCode, all } = await execa(
      "python3",
      [part("ansiblePlaybook"), ...args, example(`zuul/${job.job.run}`)],
      {
        env: {
          ...{ ...partsEnv, HOME: cwd, ANSIBLE_LOCAL_TEMP: cwd, PATH: clean().PATH, LC_ALL: "C.UTF-8" },
          ANSIBLE_ROLES_PATH: example("zuul/roles"),
        },
        ...{ all: true, reject: false, timeout: 180_000 },
      },
    );
    assert.equal(exitCode, 0, all);
    rmSync(join(cwd, ".ansible"), { recursive: true, force: true });
    brought(join(cwd, "results"));
  });

  test("Zuul 2: the layout, and the function that chooses the board", async () => {
    const layout = yamlOf("zuul-v2/layout.yaml");
    const names = layout.jobs.map(({ name }: { name: string }) => name);
    assert.deepEqual(layout.projects[0].check, names);
    const [include] = layout.includes;
    const program = `exec(open(${JSON.stringify(example(`zuul-v2/${include["python-file"]}`))}).read())
import json
params = {}
${layout.jobs[0]["parameter-function"]}(None, None, params)
print(json.dumps(params))`;
    const { stdout } = await execa("python3", ["-c", program]);
    assert.deepEqual(JSON.parse(`${stdout}`), { ZUUL_NODE: "esp32" });
  });
});
