/** Builds the single executable: a stripped Node with the bundle and its files inside. */
import { chmodSync, copyFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname } from "node:path";
import { arch } from "node:process";
import { execa } from "execa";
import type { Architecture } from "./nodes.ts";

const bindings = new URL("../node_modules/@serialport/bindings-cpp/prebuilds", import.meta.url).pathname;

/** The prebuilt addon from serialport's npm package. */
export const addonFile: Readonly<Record<Architecture, string>> = {
  x64: `${bindings}/linux-x64/@serialport+bindings-cpp.glibc.node`,
  arm64: `${bindings}/linux-arm64/@serialport+bindings-cpp.armv8.glibc.node`,
};

const flags = [
  "--disable-warning=ExperimentalWarning",
  // The start leaves mostly garbage; a larger young generation would keep 10 MB of it.
  "--max-semi-space-size=2",
] as const;

const strips: Readonly<Record<Architecture, string>> = {
  x64: "x86_64-linux-gnu-strip",
  arm64: "aarch64-linux-gnu-strip",
};

export interface ExecutableOptions {
  readonly architecture: Architecture;
  /** The official Node for that architecture. */
  readonly node: string;
  /** The bundle. */
  readonly main: string;
  readonly output: string;
  /**
   * Adds V8's code cache, which shortens the start. Only a Node of the same architecture can make it, and it differs from build
   * to build; the rest of the executable is reproducible.
   */
  readonly codeCache: boolean;
}

/** @throws when strip or Node fails */
export async function makeExecutable(options: ExecutableOptions): Promise<void> {
  const { architecture, node, main, output } = options;
  const base = `${output}.node`;
  const config = `${output}.json`;
  copyFileSync(node, base);
  // Strip before the injection: afterwards strip would cut off what was injected.
  await execa(strips[architecture], ["--strip-all", base]);
  const settings = {
    // A full path would end up in the executable.
    main: basename(main),
    output,
    executable: base,
    disableExperimentalSEAWarning: true,
    useCodeCache: options.codeCache && architecture === arch,
    execArgv: [...flags],
    // Ignore NODE_OPTIONS: the environment must not change what the agent runs.
    execArgvExtension: "none",
    assets: {
      "serialport.node": addonFile[architecture],
      "labgear.yaml": new URL("labgear.yaml", import.meta.url).pathname,
    },
  };
  writeFileSync(config, JSON.stringify(settings, null, 2));
  // With the same flags: V8 rejects a code cache made with others.
  await execa(process.execPath, [...flags, "--build-sea", config], {
    cwd: dirname(main),
    stdout: "ignore",
  });
  chmodSync(output, 0o755);
  rmSync(base);
  rmSync(config);
}
