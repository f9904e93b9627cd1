/**
 * `npm run package`: makes the executables and the Debian packages for both processors, and their checksums, in dist/. With
 * --reproducible they have no code cache, and are the same bytes each time.
 */
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { argv, execPath } from "node:process";
import { execa } from "execa";
import packageJson from "../package.json" with { type: "json" };
import { bundle } from "./bundle.ts";
import { makePackage } from "./debian.ts";
import { makeExecutable } from "./executable.ts";
import { architectures, findNode } from "./nodes.ts";

const { version } = packageJson;
const root = new URL("..", import.meta.url).pathname;
const dist = join(root, "dist");
const work = join(dist, "build");
const codeCache = !argv.includes("--reproducible");

rmSync(dist, { recursive: true, force: true });
mkdirSync(work, { recursive: true });
/** All times inside are that of the commit. */
const epoch = (await execa("git", ["log", "-1", "--format=%ct"], { cwd: root })).stdout.trim();
const main = join(work, "labgear.cjs");
const inside = await bundle(main);
await writeTexts();
await Promise.all(
  architectures.map(async (architecture) => {
    const node = await findNode(architecture);
    const executable = join(dist, `labgear-linux-${architecture}`);
    await makeExecutable({ architecture, node, main, output: executable, codeCache });
    await makePackage({ architecture, executable, node, inside, work, dist, version, epoch: Number(epoch) });
  }),
);
rmSync(work, { recursive: true, force: true });
const products = readdirSync(dist).sort();
const sums = products.map(
  (name) =>
    `${createHash("sha256")
      .update(readFileSync(join(dist, name)))
      .digest("hex")}  ${name}\n`,
);
writeFileSync(join(dist, "SHA256SUMS"), sums.join(""));
for (const name of products)
  console.log(`${(statSync(join(dist, name)).size / 1e6).toFixed(1).padStart(6)} MB  dist/${name}`);

/** Manual pages and completions: the program prints them itself. */
async function writeTexts(): Promise<void> {
  const texts = {
    "man/labgear.1": ["manual", "labgear"],
    "man/labgear.yaml.5": ["manual", "labgear.yaml"],
    "completions/labgear": ["completion", "bash"],
    "completions/_labgear": ["completion", "zsh"],
    "completions/labgear.fish": ["completion", "fish"],
  };
  for (const folder of ["man", "completions"]) mkdirSync(join(work, folder));
  for (const [file, args] of Object.entries(texts)) {
    const { stdout } = await execa(execPath, ["--disable-warning=ExperimentalWarning", main, ...args]);
    writeFileSync(join(work, file), `${stdout}\n`);
  }
}
