/** Bundles the program, or the client's commands alone, into one CommonJS file that loads each command on demand. */
import { readFileSync, writeFileSync } from "node:fs";
import { type BuildOptions, build, type Plugin } from "esbuild";
import { browserFiles } from "#/web/browser-files.ts";
import packageJson from "../package.json" with { type: "json" };

const manifest = new URL("../package.json", import.meta.url).pathname;
const addon = new URL("../src/host/addon.ts", import.meta.url).pathname;

/** serialport finds its native addon with node-gyp-build, which needs a node_modules folder; our loader does not. */
const ownAddonLoader: Plugin = {
  name: "own-addon-loader",
  setup(build) {
    build.onResolve({ filter: /^node-gyp-build$/ }, () => ({ path: addon }));
  },
};

/** Embeds the files for the browser, because the packaged program reads no files of its own. */
const withBrowserFiles: Plugin = {
  name: "with-browser-files",
  setup(build) {
    const contents = `export const browserFiles = ${JSON.stringify(browserFiles)};`;
    build.onLoad({ filter: /[/]web[/]browser-files\.ts$/ }, () => ({ contents, loader: "js" }));
  },
};

/** The version of the package. */
const withVersion = (version: string): Plugin => ({
  name: "with-version",
  setup(build) {
    const contents = JSON.stringify({ ...packageJson, version });
    build.onLoad({ filter: /package\.json$/ }, ({ path }) =>
      path === manifest ? { contents, loader: "json" } : undefined,
    );
  },
});

/** Only the commands that need a job server. */
const clientOnly: Plugin = {
  name: "client-only",
  setup(build) {
    const path = new URL("../src/cli/client-commands.ts", import.meta.url).pathname;
    build.onResolve({ filter: /^\.\/commands\.ts$/ }, () => ({ path }));
  },
};

/** Stands in for import.meta.url, which CommonJS has not. */
const bundleUrl = 'const bundleUrl = require("node:url").pathToFileURL(__filename).href;';

/** What Node 20 lacks of what the client calls. */
const forOlderNode = [
  "#!/usr/bin/env node",
  "Promise.withResolvers ??= function () {",
  "  let resolve, reject;",
  "  const promise = new this((a, b) => { resolve = a; reject = b; });",
  "  return { promise, resolve, reject };",
  "};",
  'require("node:tls").getCACertificates ??= () => {',
  "  const extra = process.env.NODE_EXTRA_CA_CERTS;",
  '  const more = extra ? [require("node:fs").readFileSync(extra, "utf8")] : [];',
  '  return [...require("node:tls").rootCertificates, ...more];',
  "};",
].join("\n");

/** @returns the paths of all files inside, for their licenses */
export function bundle(outfile: string, version: string): Promise<string[]> {
  const plugins = [ownAddonLoader, withBrowserFiles, withVersion(version)];
  return write(outfile, { target: "node26", plugins, banner: { js: bundleUrl } });
}

/** The client's commands in one file, for Node 20.4 and later on any system. @returns as bundle() does */
export function bundleClient(outfile: string, version: string): Promise<string[]> {
  const plugins = [clientOnly, withVersion(version)];
  return write(outfile, { target: "node20.4", plugins, banner: { js: `${forOlderNode}\n${bundleUrl}` } });
}

/** The bundle keeps its white space, so that stack traces are readable. */
async function write(
  outfile: string,
  options: Pick<BuildOptions, "target" | "plugins" | "banner">,
): Promise<string[]> {
  const { metafile } = await build({
    ...options,
    entryPoints: [new URL("../src/main.ts", import.meta.url).pathname],
    absWorkingDir: new URL("..", import.meta.url).pathname,
    outfile,
    bundle: true,
    platform: "node",
    format: "cjs",
    // V8 keeps pure ASCII source in half the memory.
    charset: "ascii",
    legalComments: "none",
    define: { "import.meta.url": "bundleUrl" },
    metafile: true,
    logLevel: "warning",
  });
  toAscii(outfile);
  return Object.keys(metafile.inputs);
}

/** esbuild leaves other characters in comments and regular expressions. */
function toAscii(file: string): void {
  const escaped = (unit: string) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
  writeFileSync(file, readFileSync(file, "utf8").replace(/[^\0-\x7f]/g, escaped));
}
