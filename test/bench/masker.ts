/** How fast a console with secrets is masked: `node test/bench/masker.ts [MIB]`. A console without secrets isn't masked at all. */
import { generateKeyPairSync } from "node:crypto";
import { Masker } from "#/builds/masker.ts";

const [mebibytes = 64] = process.argv.slice(2).map(Number);
const { privateKey } = generateKeyPairSync("rsa", {
  modulusLength: 4096,
  privateKeyEncoding: { type: "pkcs8", format: "pem" },
  publicKeyEncoding: { type: "spki", format: "pem" },
});
const line =
  "  CC      drivers/net/ethernet/intel/e1000e/netdev.o  # 0x7f3a9c  [ 42%] Building C object src/main.c.o\n";
const chunk = Buffer.from(line.repeat(Math.ceil(65_536 / line.length))).subarray(0, 65_536);

for (const [name, secrets] of [
  ["a token", ["ghp_0123456789abcdefghijABCDEFGHIJ"]],
  ["an RSA key and a token", [privateKey, "ghp_0123456789abcdefghijABCDEFGHIJ"]],
] as const) {
  const begun = performance.now();
  const masker = new Masker(secrets.map((secret) => Buffer.from(secret)));
  const made = performance.now();
  let bytes = 0;
  for (let count = 0; count < mebibytes * 16; count += 1) bytes += masker.write(chunk).length;
  bytes += masker.end().length;
  const seconds = (performance.now() - made) / 1000;
  if (bytes !== mebibytes * 1024 ** 2) process.exitCode = 1;
  const rate = (mebibytes / seconds).toFixed(0);
  process.stdout.write(`${name}: made in ${(made - begun).toFixed(0)} ms, ${rate} MiB/s\n`);
}
