/** The examples for many boxes: good for the tools that read them, and the configuration in them for labgear. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { build } from "esbuild";
import { execa } from "execa";
import { parse, stringify } from "yaml";
import { loadConfig } from "#/config/load.ts";
import { testFolder } from "../support/folders.ts";
import { lacks, part, partsEnv } from "../support/parts.ts";

const example = (name: string) => new URL(`../../packaging/examples/${name}`, import.meta.url).pathname;

/** Unpacked programs are Python's, and their first line would look for the system's. */
const python = (args: string[], home: string) =>
  execa("python3", args, {
    env: { ...partsEnv, HOME: home, ANSIBLE_LOCAL_TEMP: home },
    all: true,
    reject: false,
  });

test("Ansible", { skip: lacks("ansiblePlaybook") }, async () => {
  using folder = testFolder();
  const check = ["--syntax-check", "-i", "localhost,", example("ansible.yaml")];
  const { exitCode, all } = await python([part("ansiblePlaybook"), ...check], folder.path);
  assert.equal(exitCode, 0, all);
  const [play] = parse(readFileSync(example("ansible.yaml"), "utf8"));
  const { labgear_config: config, labgear_servers: servers } = play.vars;
  await loads(folder.path, stringify({ ...config, servers }));
});

test("cloud-init", { skip: lacks("cloudInit") }, async () => {
  using folder = testFolder();
  const schema = ["schema", "--config-file", example("cloud-init.yaml")];
  const { exitCode, all } = await python([part("cloudInit"), ...schema], folder.path);
  assert.equal(exitCode, 0, all);
  assert.match(all, /^Valid /m);
  const { write_files: files } = parse(readFileSync(example("cloud-init.yaml"), "utf8"));
  for (const { content } of files) await loads(folder.path, content);
});

/** GitHub's own parser, bundled: as it is published, Node can't import it. */
async function githubParser(folder: string) {
  const parser = new URL("../../node_modules/@actions/workflow-parser/dist", import.meta.url).pathname;
  const contents = `export { parseWorkflow } from "./workflows/workflow-parser.js";
export { parseAction } from "./actions/action-parser.js";
export { NoOperationTraceWriter } from "./templates/trace-writer.js";`;
  const outfile = join(folder, "parser.mjs");
  await build({
    stdin: { contents, resolveDir: parser },
    ...{ bundle: true, platform: "node", format: "esm", outfile, logLevel: "error" },
    banner: { js: 'import { createRequire } from "node:module"; const require = createRequire("/");' },
  });
  const { parseWorkflow, parseAction, NoOperationTraceWriter } = await import(outfile);
  return (name: string, content: string): string[] => {
    const parse = name === "action.yml" ? parseAction : parseWorkflow;
    const { context } = parse({ name, content }, new NoOperationTraceWriter());
    return context.errors.getErrors().map(({ message }: { message: string }) => message);
  };
}

test("GitHub Actions: by GitHub's own schemas", async () => {
  using folder = testFolder();
  const errorsOf = await githubParser(folder.path);
  for (const name of ["action.yml", "build.yml", "hardware.yml"]) {
    const content = readFileSync(example(`github/${name}`), "utf8");
    assert.deepEqual(errorsOf(name, content), [], name);
    assert.notDeepEqual(
      errorsOf(name, content.replace("steps:", "step:")),
      [],
      `${name}: a mistake is found`,
    );
  }
});

test("GitLab CI: by GitLab's own schema, plain and as a component", async () => {
  using folder = testFolder();
  const program = new URL("../../node_modules/.bin/gitlab-ci-local", import.meta.url).pathname;
  const run = (file: string, ...args: string[]) =>
    execa(file, args, { cwd: folder.path, all: true, reject: false, env: { HOME: folder.path } });
  const git = (...args: string[]) => run("git", ...args);
  await git("init", "--initial-branch=main", ".");
  await git("remote", "add", "origin", "https://gitlab.example/lab/firmware.git");
  writeFileSync(join(folder.path, "component.yml"), readFileSync(example("gitlab/component.yml")));
  await git("add", ".");
  const plain = readFileSync(example("gitlab/gitlab-ci.yml"), "utf8");
  const inputs = {
    job: "smoke",
    server: "lab.example",
    node: "esp32",
    file: "app=app.elf",
    image: "labgear",
  };
  const component = { include: [{ local: "component.yml", inputs }], firmware: { script: ["make"] } };
  for (const [text, isGood] of [
    [plain, true],
    [plain.replace("when: always", "when: allways"), false],
    [stringify(component), true],
  ] as const) {
    writeFileSync(join(folder.path, ".gitlab-ci.yml"), text);
    const { exitCode, all } = await run(process.execPath, program, "--preview");
    assert.equal(exitCode, isGood ? 0 : 1, all);
    assert.match(all, isGood ? /^hardware:$/m : /'when' property must be one of/);
  }
});

async function loads(folder: string, text: string): Promise<void> {
  const file = join(folder, "labgear.yaml");
  writeFileSync(file, text);
  const config = await loadConfig({ file });
  assert.deepEqual([[...config.jobs.keys()], config.servers.length], [["unit-tests"], 1]);
}
