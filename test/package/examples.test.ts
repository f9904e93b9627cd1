/** The examples for many boxes: good for the tools that read them, and the configuration in them for labgear. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
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

async function loads(folder: string, text: string): Promise<void> {
  const file = join(folder, "labgear.yaml");
  writeFileSync(file, text);
  const config = await loadConfig({ file });
  assert.deepEqual([[...config.jobs.keys()], config.servers.length], [["unit-tests"], 1]);
}
