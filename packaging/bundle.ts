/** Bundles the program into one CommonJS file, each command loaded when it is wanted. */
import { readFileSync, writeFileSync } from "node:fs";
import { build, type Plugin } from "esbuild";
import { browserFiles } from "#/web/browser-files.ts";
import packageJson from "../package.json" with { type: "json" };

const manifest = new URL("../package.json", import.meta.url).pathname;
const addon = new URL("../src/host/addon.ts", import.meta.url).pathname;

/** serialport finds its native addon through node-gyp-build, which needs a node_modules folder: ours knows where it is. */
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

/** The program tells the version that it is packaged as. */
const withVersion = (version: string): Plugin => ({
  name: "with-version",
  setup(build) {
    const contents = JSON.stringify({ ...packageJson, version });
    build.onLoad({ filter: /package\.json$/ }, ({ path }) =>
      path === manifest ? { contents, loader: "json" } : undefined,
    );
  },
});

/**
 * @param outfile where the bundle goes; its white space stays, so that a stack names lines that can be read
 * @returns the paths of all files inside, for their licences
 */
export async function bundle(outfile: string, version: string): Promise<string[]> {
  const { metafile } = await build({
    entryPoints: [new URL("../src/main.ts", import.meta.url).pathname],
    absWorkingDir: new URL("..", import.meta.url).pathname,
    outfile,
    bundle: true,
    platform: "node",
    format: "cjs",
    target: "node26",
    // A source in ASCII alone takes half of the memory.
    charset: "ascii",
    legalComments: "none",
    plugins: [ownAddonLoader, withBrowserFiles, withVersion(version)],
    // CommonJS has none; what asks for it finds the bundle.
    define: { "import.meta.url": "bundleUrl" },
    banner: { js: 'const bundleUrl = require("node:url").pathToFileURL(__filename).href;' },
    metafile: true,
    logLevel: "warning",
  });
  // What esbuild leaves of other characters is in comments and regular expressions.
  const escaped = (unit: string) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
  writeFileSync(outfile, readFileSync(outfile, "utf8").replace(/[^\0-\x7f]/g, escaped));
  return Object.keys(metafile.inputs);
}
