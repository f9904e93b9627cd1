/** The sample configuration that the package installs: good as it is, good with every option in use, and complete. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { parse } from "yaml";
import { loadConfig } from "#/config/load.ts";
import { configSchema } from "#/config/schema.ts";
import { folder } from "./folder.ts";

const sample = readFileSync(new URL("../../packaging/labgear.yaml", import.meta.url), "utf8");
/** Options are commented out without a space after the #, or with the two and more of their indentation; prose has one. */
const everything = sample.replaceAll(/^#(?! \S|$)/gm, "");

test("as installed", async () => {
  using dir = folder({ "labgear.yaml": sample, "defaults/labgear.yaml": "" });
  const { files, ...config } = await loadConfig({ file: dir.at("labgear.yaml") });
  const { files: none, ...defaults } = await loadConfig({ file: dir.at("defaults/labgear.yaml") });
  assert.deepEqual([files.length, none.length], [1, 1]);
  assert.deepEqual(config, defaults);
});

test("with every option in use", async () => {
  const pem = ["tls/ca.pem", "tls/other-ca.pem", "tls/box.pem", "tls/box.key"];
  using dir = folder({ "labgear.yaml": everything, ...Object.fromEntries(pem.map((name) => [name, ""])) });
  const config = await loadConfig({ file: dir.at("labgear.yaml") });
  assert.deepEqual([config.servers.length, [...config.jobs.keys()]], [3, ["unit-tests"]]);
});

test("it has every option of the schema", () => {
  const missing = (schema: unknown, value: unknown, path: string): string[] => {
    const { properties, items, additionalProperties } = schema as Record<
      string,
      Record<string, unknown> | undefined
    >;
    const below = (value ?? {}) as Record<string, unknown>;
    if (items)
      return Object.values(below).every((entry) => missing(items, entry, `${path}[]`).length > 0)
        ? [path]
        : [];
    if (additionalProperties)
      return Object.keys(below).flatMap((key) => missing(additionalProperties, below[key], `${path}.${key}`));
    return Object.entries(properties ?? {}).flatMap(([key, part]) =>
      key in below ? missing(part, below[key], `${path}.${key}`) : [`${path}.${key}`],
    );
  };
  const { tls, ...others } = parse(everything) as Record<string, unknown>;
  const { servers, ...schema } = configSchema.properties;
  assert.deepEqual(missing({ properties: schema }, { ...others, tls }, ""), []);
  assert.ok(servers && "servers" in others);
});
