/** The sample configuration that the package installs: good as it is, good with every option in use, and complete. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { parse } from "yaml";
import { loadConfig } from "#/config/load.ts";
import { configSchema } from "#/config/schema.ts";
import { folder } from "./folder.ts";
import { inUse, missingOptions } from "./sample-options.ts";

const sample = readFileSync(new URL("../../packaging/labgear.yaml", import.meta.url), "utf8");
const everything = inUse(sample);

test("as installed", async () => {
  using dir = folder({ "labgear.yaml": sample, "defaults/labgear.yaml": "" });
  const { files, ...config } = await loadConfig({ file: dir.at("labgear.yaml") });
  const { files: none, ...defaults } = await loadConfig({ file: dir.at("defaults/labgear.yaml") });
  assert.deepEqual([files.length, none.length], [1, 1]);
  assert.deepEqual(config, defaults);
});

test("with every option in use", async () => {
  const pem = ["tls/ca.pem", "tls/other-ca.pem", "tls/box.pem", "tls/box.key"];
  const secrets = ["secrets/pages", "secrets/rpi4", "secrets/deploy"];
  using dir = folder({
    "labgear.yaml": everything,
    ...Object.fromEntries(pem.map((name) => [name, ""])),
    ...Object.fromEntries(secrets.map((name) => [name, "secret\n"])),
  });
  const { servers, jobs, devices } = await loadConfig({ file: dir.at("labgear.yaml") });
  assert.equal(servers.length, 3);
  assert.deepEqual(
    [...jobs.values()].map(({ name, work }) => [name, work.kind]),
    [
      ["unit-tests", "run"],
      ["publish", "run"],
      ["boot-smoke", "shell"],
      ["driver-tests", "shell"],
      ["boot-loader", "steps"],
      ["firmware-tests", "firmware"],
      ["firmware-smoke", "firmware"],
    ],
  );
  assert.deepEqual([...devices.keys()], ["rpi4-a", "loader-a", "esp32-a", "microbit-a", "modem-a"]);
});

/** Options that go with none of their neighbours: the prose has them. */
const alternatives = [".http.auth.token-file"];

test("it has every option of the schema", () => {
  const { tls, ...others } = parse(everything) as Record<string, unknown>;
  const { servers, ...schema } = configSchema.properties;
  assert.deepEqual(missingOptions({ properties: schema }, [{ ...others, tls }]), alternatives);
  for (const path of alternatives) assert.ok(sample.includes(`${path.split(".").at(-1)}: FILE`), path);
  assert.ok(servers && "servers" in others);
});
