/** Makes the single executable: a stripped Node with the bundle and its files inside. */
import { chmodSync, copyFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname } from "node:path";
import { arch } from "node:process";
import { execa } from "execa";
import type { Architecture } from "./nodes.ts";

const bindings = new URL("../node_modules/@serialport/bindings-cpp/prebuilds", import.meta.url).pathname;

/** The addon that serialport was published with. */
export const addonFile: Readonly<Record<Architecture, string>> = {
  x64: `${bindings}/linux-x64/@serialport+bindings-cpp.glibc.node`,
  arm64: `${bindings}/linux-arm64/@serialport+bindings-cpp.armv8.glibc.node`,
};

const flags = [
  "--disable-warning=ExperimentalWarning",
  // Most of what a start leaves behind is garbage that a larger young generation would keep: 10 MB of it.
  "--max-semi-space-size=2",
] as const;

const strips: Readonly<Record<Architecture, string>> = {
  x64: "x86_64-linux-gnu-strip",
  arm64: "aarch64-linux-gnu-strip",
};

export interface ExecutableOptions {
  readonly architecture: Architecture;
  /** The official Node for it. */
  readonly node: string;
  /** The bundle. */
  readonly main: string;
  readonly output: string;
  /**
   * With V8's code cache, which makes the start shorter. Only a Node of the same processor can make it, and no two are the
   * same: everything else of the executable is.
   */
  readonly codeCache: boolean;
}

/** @throws when strip, or Node, refuses */
export async function makeExecutable(options: ExecutableOptions): Promise<void> {
  const { architecture, node, main, output } = options;
  const base = `${output}.node`;
  const config = `${output}.json`;
  copyFileSync(node, base);
  // Before the injection: afterwards it would cut what was injected.
  await execa(strips[architecture], ["--strip-all", base]);
  const settings = {
    // A whole path would be in the executable, and tell where it was made.
    main: basename(main),
    output,
    executable: base,
    disableExperimentalSEAWarning: true,
    useCodeCache: options.codeCache && architecture === arch,
    execArgv: [...flags],
    // NODE_OPTIONS would let a user's environment change what the agent is.
    execArgvExtension: "none",
    assets: {
      "serialport.node": addonFile[architecture],
      "labgear.yaml": new URL("labgear.yaml", import.meta.url).pathname,
    },
  };
  writeFileSync(config, JSON.stringify(settings, null, 2));
  // With the same flags: V8 refuses a code cache that was made with others.
  await execa(process.execPath, [...flags, "--build-sea", config], {
    cwd: dirname(main),
    stdout: "ignore",
  });
  chmodSync(output, 0o755);
  rmSync(base);
  rmSync(config);
}
