/** The client's commands as an npm package, for machines that are no build boxes: macOS, Windows, Linux. */
import { chmodSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import packageJson from "../package.json" with { type: "json" };
import { bundleClient } from "./bundle.ts";
import { packagesIn } from "./inside.ts";

const root = new URL("..", import.meta.url).pathname;

/** What the bundle needs: handles of Node that can be disposed of. Anything younger that it calls is in its banner. */
const engines = { node: ">=20.4" };

/** @param work a folder for what goes into it; the archive is written to `dist` */
export async function makeNpmPackage(work: string, dist: string, version: string): Promise<void> {
  mkdirSync(work, { recursive: true });
  const inputs = await bundleClient(join(work, "labgear.cjs"), version);
  chmodSync(join(work, "labgear.cjs"), 0o755);
  const { name, license } = packageJson;
  const manifest = {
    ...{ name, version, description: "Runs builds on the boxes and boards of a labgear lab" },
    ...{ license, bin: { labgear: "labgear.cjs" }, engines, files: ["labgear.cjs", "THIRD-PARTY"] },
  };
  writeFileSync(join(work, "package.json"), `${JSON.stringify(manifest, null, 2)}\n`);
  copyFileSync(join(root, "LICENSE"), join(work, "LICENSE"));
  writeFileSync(join(work, "README.md"), readme());
  const licences = packagesIn(inputs).map(
    (one) => `${one.name} ${one.version} (${one.licence})\n\n${one.text.trim()}\n`,
  );
  writeFileSync(join(work, "THIRD-PARTY"), licences.join(`\n${"-".repeat(72)}\n\n`));
  await execa("npm", ["pack", "--silent", "--pack-destination", dist], { cwd: work, stdin: "ignore" });
}

/** The chapter on the client, which has all that its users need. */
function readme(): string {
  const text = readFileSync(join(root, "README.md"), "utf8");
  const [, chapter = ""] = /^## From any machine\n(.*?)^## /ms.exec(text) ?? [];
  return `# labgear\n\nThe commands of labgear that talk to a job server: they run builds on the boxes and boards of a lab.\n${chapter}`;
}
