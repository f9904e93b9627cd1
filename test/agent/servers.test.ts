import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { defaultServer, serverAddresses } from "#/agent/servers.ts";
import { loadConfig } from "#/config/load.ts";
import { testFolder } from "../support/folders.ts";

async function addressesOf(folder: string, text: string) {
  const file = join(folder, "labgear.yaml");
  writeFileSync(file, `name: rack7\n${text}\n`);
  return serverAddresses(await loadConfig({ file }));
}

test("without a job server in the configuration the one on this box is meant", async () => {
  using folder = testFolder();
  assert.deepEqual(await addressesOf(folder.path, ""), [defaultServer]);
  assert.deepEqual(defaultServer, { host: "127.0.0.1", port: 4730 });
});

test("servers are dialled in their order, with what their TLS files hold", async () => {
  using folder = testFolder();
  writeFileSync(join(folder.path, "ca.pem"), "the CA");
  writeFileSync(join(folder.path, "box.key"), "the key");
  writeFileSync(join(folder.path, "box.pem"), "the certificate");
  const tls = "tls: { ca: ca.pem, cert: box.pem, key: box.key }";
  assert.deepEqual(await addressesOf(folder.path, `servers: [a.example:4731, "[::1]"]\n${tls}`), [
    {
      host: "a.example",
      port: 4731,
      tls: { ca: Buffer.from("the CA"), cert: Buffer.from("the certificate"), key: Buffer.from("the key") },
    },
    {
      host: "::1",
      port: 4730,
      tls: { ca: Buffer.from("the CA"), cert: Buffer.from("the certificate"), key: Buffer.from("the key") },
    },
  ]);
  assert.deepEqual(await addressesOf(folder.path, "servers: [a.example]"), [
    { host: "a.example", port: 4730 },
  ]);
});

test("a TLS file that can't be read is named", async () => {
  using folder = testFolder();
  const text = "servers: [a.example]\ntls: { ca: gone.pem }";
  await assert.rejects(addressesOf(folder.path, text), /gone\.pem/);
});
