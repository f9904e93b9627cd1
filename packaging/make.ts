/** Builds the executables, Debian packages and the npm package from the sources. */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { execPath } from "node:process";
import { execa } from "execa";
import { bundle } from "./bundle.ts";
import { type Compression, makePackage } from "./debian.ts";
import { makeExecutable } from "./executable.ts";
import { type Architecture, findNode } from "./nodes.ts";
import { makeNpmPackage } from "./npm.ts";

export interface MakeOptions {
  /** The output folder; created if needed. */
  readonly dist: string;
  readonly version: string;
  readonly architectures: readonly Architecture[];
  /** See ExecutableOptions. */
  readonly codeCache: boolean;
  readonly compression: Compression;
  /** The time stamp of everything inside, in seconds. */
  readonly epoch: number;
}

/** @throws when a tool fails or is missing */
export async function makeProducts(options: MakeOptions): Promise<void> {
  const { dist, version, codeCache, compression, epoch } = options;
  const work = join(dist, "build");
  mkdirSync(work, { recursive: true });
  const main = join(work, "labgear.cjs");
  const inside = await bundle(main, version);
  await writeTexts(main, work);
  await makeNpmPackage(join(work, "npm"), dist, version);
  await Promise.all(
    options.architectures.map(async (architecture) => {
      const node = await findNode(architecture);
      const executable = join(dist, `labgear-linux-${architecture}`);
      await makeExecutable({ architecture, node, main, output: executable, codeCache });
      await makePackage({ architecture, executable, node, inside, work, dist, version, compression, epoch });
    }),
  );
  rmSync(work, { recursive: true, force: true });
}

/** The program prints its manual pages and completions itself. */
async function writeTexts(main: string, work: string): Promise<void> {
  const texts = {
    "man/labgear.1": ["manual", "labgear"],
    "man/labgear.yaml.5": ["manual", "labgear.yaml"],
    "man/labgear-gate.yaml.5": ["manual", "labgear-gate.yaml"],
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
