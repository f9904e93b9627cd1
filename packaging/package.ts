/**
 * `npm run package`: builds the executables and Debian packages for both architectures, with checksums, in dist/. With
 * --reproducible they have no code cache, and the same commit gives the same bytes.
 */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { argv } from "node:process";
import { execa } from "execa";
import packageJson from "../package.json" with { type: "json" };
import { makeProducts } from "./make.ts";
import { architectures } from "./nodes.ts";

const root = new URL("..", import.meta.url).pathname;
const dist = join(root, "dist");

rmSync(dist, { recursive: true, force: true });
const committed = await execa("git", ["log", "-1", "--format=%ct"], { cwd: root });
await makeProducts({
  dist,
  architectures,
  version: packageJson.version,
  codeCache: !argv.includes("--reproducible"),
  compression: "xz",
  epoch: Number(committed.stdout),
});
const products = readdirSync(dist).sort();
const sums = products.map((name) => {
  const hash = createHash("sha256").update(readFileSync(join(dist, name)));
  return `${hash.digest("hex")}  ${name}\n`;
});
writeFileSync(join(dist, "SHA256SUMS"), sums.join(""));
for (const name of products) {
  const megabytes = (statSync(join(dist, name)).size / 1e6).toFixed(1);
  console.log(`${megabytes.padStart(6)} MB  dist/${name}`);
}
