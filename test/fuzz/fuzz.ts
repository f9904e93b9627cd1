/**
 * Fuzzes the decoders: `npm run fuzz -- [--seconds 180] [TARGET…]`. Jazzer.js (libFuzzer) follows which code each input reaches. It
 * instruments CommonJS, so each target is bundled first. What it finds new is in test/.out/fuzz/TARGET/; an input that fails is
 * kept there, too, and belongs into test/fuzz/corpus/ together with its mend.
 */
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { build } from "esbuild";
import { execa } from "execa";
import { targets } from "./targets.ts";

const root = new URL("../..", import.meta.url).pathname;
const out = join(root, "test/.out/fuzz");
const corpus = join(root, "test/fuzz/corpus");
/** Not among the dependencies: it is large, and only this needs it. */
const fuzzer = "@jazzer.js/core@4.0.0";
const cli = join(out, "tool/node_modules/@jazzer.js/core/dist/cli.js");
/** The targets that wait for something. */
const waiting = new Set(["configuration", "record", "token"]);

const { values, positionals } = parseArgs({
  options: { seconds: { type: "string", default: "180" } },
  allowPositionals: true,
});

async function bundle(name: string): Promise<string> {
  const outfile = join(out, "bundles", `${name}.cjs`);
  // The fuzzer sets a timer and leaves its signal to the system, which would end the process.
  const contents = `import { targets } from "./targets.ts";
    process.on("SIGALRM", () => {});
    export const fuzz = targets[${JSON.stringify(name)}];`;
  await build({
    stdin: { contents, resolveDir: join(root, "test/fuzz"), loader: "ts" },
    ...{ bundle: true, platform: "node", format: "cjs", target: "node26", outfile, logLevel: "error" },
    define: { "import.meta.url": "bundleUrl" },
    banner: { js: 'const bundleUrl = require("node:url").pathToFileURL(__filename).href;' },
  });
  return outfile;
}

function install(): void {
  if (existsSync(cli)) return;
  mkdirSync(join(out, "tool"), { recursive: true });
  execFileSync("npm", ["install", "--silent", "--no-save", "--prefix", join(out, "tool"), fuzzer], {
    stdio: "inherit",
  });
}

/** The prebuilt fuzzer needs glibc 2.38. On an older system Node runs under the one of Debian 13, unpacked beside it. */
function nodeCommand(): string[] {
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
  const [major = 0, minor = 0] = (header.glibcVersionRuntime ?? "2.99").split(".").map(Number);
  if (major > 2 || minor >= 38) return [process.execPath];
  const libc = join(out, "debian13");
  const triplet = process.arch === "arm64" ? "aarch64-linux-gnu" : "x86_64-linux-gnu";
  const folder = join(libc, "usr/lib", triplet);
  const loader = join(folder, process.arch === "arm64" ? "ld-linux-aarch64.so.1" : "ld-linux-x86-64.so.2");
  if (!existsSync(loader)) unpackLibc(libc);
  return [loader, "--library-path", folder, process.execPath];
}

function unpackLibc(into: string): void {
  for (const folder of ["lists/partial", "cache/archives/partial"])
    mkdirSync(join(into, folder), { recursive: true });
  const source =
    "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main";
  execFileSync("sh", ["-c", `echo '${source}' >sources.list`], { cwd: into });
  const options = [
    ["Dir::Etc::sourcelist", join(into, "sources.list")],
    ["Dir::Etc::sourceparts", "/dev/null"],
    ["Dir::State::lists", join(into, "lists")],
    ["Dir::Cache", join(into, "cache")],
    ["APT::Sandbox::User", "root"],
  ].flatMap(([key, value]) => ["-o", `${key}=${value}`]);
  const names = ["libc6", "libstdc++6", "libgcc-s1", "libatomic1"];
  execFileSync("apt-get", [...options, "-qq", "update"], { cwd: into, stdio: "inherit" });
  execFileSync("apt-get", [...options, "-qq", "download", ...names.map((name) => `${name}/trixie`)], {
    cwd: into,
    stdio: "inherit",
  });
  for (const file of readdirSync(into).filter((name) => name.endsWith(".deb")))
    execFileSync("dpkg-deb", ["-x", file, "."], { cwd: into });
}

/** @returns false when it found an input that fails */
async function fuzz(name: string, node: readonly string[]): Promise<boolean> {
  const folder = join(out, name);
  mkdirSync(folder, { recursive: true });
  const kept = join(corpus, name);
  if (existsSync(kept)) cpSync(kept, folder, { recursive: true });
  const file = await bundle(name);
  const [command = "", ...before] = node;
  const mode = waiting.has(name) ? [] : ["--sync"];
  const limits = [`-max_total_time=${values.seconds}`, "-max_len=4096", "-rss_limit_mb=3000"];
  const args = [
    cli,
    file,
    folder,
    "-i",
    "bundles/",
    ...mode,
    "--",
    ...limits,
    `-artifact_prefix=${folder}/failed-`,
  ];
  const { all, exitCode } = await execa(command, [...before, ...args], {
    all: true,
    reject: false,
    cwd: out,
  });
  const done = /^Done (\d+) runs/m.exec(all)?.[1];
  const coverage = [...all.matchAll(/ cov: (\d+) ft: (\d+)/g)].at(-1);
  const facts = `${done ?? "?"} inputs, ${coverage?.[1] ?? "?"} places reached`;
  process.stdout.write(
    `${name}: ${done !== undefined ? `nothing found; ${facts}` : `FAILED, exit code ${exitCode}\n${all.slice(-4000)}`}\n`,
  );
  return done !== undefined;
}

install();
const node = nodeCommand();
const names = positionals.length > 0 ? positionals : Object.keys(targets);
let isFine = true;
for (const name of names) isFine = (await fuzz(name, node)) && isFine;
process.exitCode = isFine ? 0 : 1;
