/** What the package installs for the gate: the sample and the unit. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { execa } from "execa";
import { parse } from "yaml";
import { gateSchema, loadGateConfig } from "#/gate/config.ts";
import { folder } from "../config/folder.ts";
import { inUse, missingOptions } from "../config/sample-options.ts";
import { makeCa } from "../support/certificates.ts";
import { lacks } from "../support/parts.ts";

const sample = readFileSync(new URL("../../packaging/gate.yaml", import.meta.url), "utf8");
const everything = inUse(sample).replace("rules: []", "rules:");

test("as installed, nothing is allowed", () => {
  using dir = folder({ "gate.yaml": sample });
  assert.deepEqual(loadGateConfig(dir.at("gate.yaml")).rules, []);
});

test("with every option in use", { skip: lacks("openssl") }, async () => {
  const names = ["gate.pem", "gate.key", "ca.pem", "client.pem", "client.key", "operators", "jenkins"];
  const secret = "0123456789abcdef0123456789abcdef\n";
  using dir = folder({
    "gate.yaml": everything,
    ...Object.fromEntries(names.map((name) => [`gate/${name}`, secret])),
  });
  await makeCa(dir.at("gate"), "gate");
  assert.equal(loadGateConfig(dir.at("gate.yaml")).rules.length, 5);
});

test("it has every option of the schema", () => {
  // A server is text, or has options that the agent's sample shows.
  const isServers = (path: string) => path === ".gearman.servers";
  assert.deepEqual(missingOptions(gateSchema, [parse(everything)], isServers), []);
});

test("the unit has little exposure, and no complaints", {
  skip: !existsSync("/usr/bin/systemd-analyze") && "NOT TESTED HERE: there is no systemd-analyze",
}, async () => {
  using dir = folder({});
  const unit = dir.at("labgear-gate.service");
  const text = readFileSync(new URL("../../systemd/labgear-gate.service", import.meta.url), "utf8");
  writeFileSync(unit, text.replaceAll("/usr/bin/labgear", "/bin/true"));
  const verified = await execa("systemd-analyze", ["verify", "--man=no", unit], { all: true, reject: false });
  assert.equal(verified.all, "");
  await execa("systemd-analyze", ["security", "--offline=true", "--threshold=25", unit]);
});
