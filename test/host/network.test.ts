import assert from "node:assert/strict";
import { chmodSync, writeFileSync } from "node:fs";
import { isIP } from "node:net";
import { hostname, networkInterfaces } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { hostFacts } from "#/host/network.ts";
import { testFolder } from "../support/folders.ts";

/** Asks with a `hostname` program that is this script; without one when it is undefined. */
async function factsWith(script: string | undefined) {
  using folder = testFolder();
  const file = join(folder.path, "hostname");
  if (script !== undefined) {
    writeFileSync(file, `#!/bin/sh\n${script}\n`);
    chmodSync(file, 0o755);
  }
  const before = process.env.PATH;
  process.env.PATH = folder.path;
  try {
    return await hostFacts();
  } finally {
    process.env.PATH = before;
  }
}

test("the full name is what the system says", async () => {
  assert.deepEqual((await factsWith("echo rack7.lab.example")).fqdn, "rack7.lab.example");
});

const silent: Record<string, string | undefined> = {
  "says nothing": "exit 0",
  "says an error": "echo 'hostname: Name or service not known' >&2; exit 1",
  "says what is no name": "echo 'a b; c'",
  "says two lines": "echo a; echo b",
  "says control characters": "printf 'a\\033[31m'",
  "isn't there": undefined,
};
for (const [what, script] of Object.entries(silent)) {
  test(`the short name stands for the full one when the system ${what}`, async () => {
    const { fqdn, hostname: short } = await factsWith(script);
    assert.equal(fqdn, hostname());
    assert.equal(short, hostname());
  });
}

test("a resolver that hangs is given up", async () => {
  assert.equal((await factsWith("exec /bin/sleep 60")).fqdn, hostname());
});

test("the addresses are those that others can reach", async () => {
  const { ips } = await hostFacts();
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  for (const ip of ips) {
    assert.ok(isIP(ip), ip);
    assert.ok(!/^(127\.|::1$|fe80:|169\.254\.)/.test(ip), ip);
  }
  const outside = all.filter(
    ({ internal, scopeid, address }) => !internal && !scopeid && !address.startsWith("169.254."),
  );
  assert.deepEqual(
    ips,
    outside.map(({ address }) => address),
  );
});

test("addresses of one link only are left out", async (t) => {
  const os = await import("node:os");
  const address = (ip: string, internal = false) => ({ address: ip, internal });
  const interfaces = {
    lo: [address("127.0.0.1", true)],
    eth0: ["10.0.0.7", "169.254.3.4", "fe80::1", "2001:db8::7"].map((ip) => address(ip)),
  };
  t.mock.method(os.default, "networkInterfaces", () => interfaces);
  const { syncBuiltinESMExports } = await import("node:module");
  syncBuiltinESMExports();
  t.after(syncBuiltinESMExports);
  assert.deepEqual((await hostFacts()).ips, ["10.0.0.7", "2001:db8::7"]);
});
