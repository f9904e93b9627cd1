/** Builds a Debian package: lays everything out beside packaging/debian and lets debhelper do the rest. */
import { copyFileSync, cpSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";
import { addonFile } from "./executable.ts";
import { billOfMaterials, componentsOf, copyrightFile } from "./inside.ts";
import type { Architecture } from "./nodes.ts";

const root = new URL("..", import.meta.url).pathname;

const debianNames: Readonly<Record<Architecture, string>> = { x64: "amd64", arm64: "arm64" };

/** Those that no script of debhelper enables or starts. */
const otherUnits = [
  ...["labgear-helper", "labgear-debug"].flatMap((name) => [`${name}.service`, `${name}.socket`]),
  "labgear-gate.service",
];

/** How dpkg-deb compresses: xz for releases, none for packages that are unpacked at once. */
export type Compression = "xz" | "none";

export interface PackageOptions {
  readonly architecture: Architecture;
  readonly executable: string;
  /** The official Node inside. */
  readonly node: string;
  /** The files in the bundle. */
  readonly inside: readonly string[];
  /** A scratch folder that has man/ and completions/. */
  readonly work: string;
  readonly dist: string;
  readonly version: string;
  readonly compression: Compression;
  /** The time stamp of all files, in seconds: the commit's. */
  readonly epoch: number;
}

/** @throws when debhelper fails */
export async function makePackage(options: PackageOptions): Promise<void> {
  const { architecture, executable, version, epoch, work } = options;
  const name = debianNames[architecture];
  const folder = join(work, name, "labgear");
  const debian = join(folder, "debian");
  mkdirSync(folder, { recursive: true });
  cpSync(join(root, "packaging/debian"), debian, { recursive: true });
  for (const kind of ["service", "sysusers", "tmpfiles", "udev", "polkit"]) {
    copyFileSync(join(root, `systemd/labgear.${kind}`), join(debian, `labgear.${kind}`));
  }
  for (const unit of otherUnits) copyFileSync(join(root, "systemd", unit), join(debian, unit));
  copyFileSync(executable, join(folder, "labgear"));
  copyFileSync(addonFile[architecture], join(folder, "serialport.node"));
  for (const file of ["packaging/labgear.yaml", "packaging/gate.yaml", "README.md"]) {
    copyFileSync(join(root, file), join(folder, file.split("/").at(-1) ?? file));
  }
  for (const kind of ["man", "completions"])
    cpSync(join(work, kind), join(folder, kind), { recursive: true });
  const components = componentsOf(options.inside, options.node);
  writeFileSync(join(folder, "labgear.cdx.json"), billOfMaterials(components, version, epoch));
  writeFileSync(join(debian, "copyright"), copyrightFile(components));
  writeFileSync(join(debian, "changelog"), changelog(version, epoch));
  await execa("dpkg-buildpackage", ["-b", `-a${name}`, "-Pcross,nocheck", "-d", "-uc", "-us"], {
    cwd: folder,
    env: { SOURCE_DATE_EPOCH: String(epoch), COMPRESSION: options.compression, LC_ALL: "C.UTF-8" },
    all: true,
  });
  renameSync(
    join(work, name, `labgear_${version}_${name}.deb`),
    join(options.dist, `labgear_${version}_${name}.deb`),
  );
}

/** The newest section of CHANGELOG.md in Debian's format. */
function changelog(version: string, epoch: number): string {
  const text = readFileSync(join(root, "CHANGELOG.md"), "utf8");
  const chapter = text.split(/^## .*$/m)[1] ?? "";
  const lines = chapter
    .trim()
    .split("\n")
    .map((line) =>
      line
        .replace(/^### (.*)/, "[ $1 ]")
        .replace(/^- /, "* ")
        .trimEnd(),
    )
    .flatMap(wrapped);
  const maintainer = /^Maintainer: (.*)$/m.exec(
    readFileSync(join(root, "packaging/debian/control"), "utf8"),
  )?.[1];
  const date = new Date(epoch * 1000).toUTCString().replace("GMT", "+0000");
  return `labgear (${version}) unstable; urgency=medium\n\n${lines.map((line) => `  ${line}\n`).join("")}\n -- ${maintainer}  ${date}\n`;
}

/** Lines of at most 78 characters; an item's later lines are indented. */
function wrapped(line: string): string[] {
  const found = line.match(/.{1,74}(?:\s|$)/g) ?? [];
  return found.map((part, index) => (index === 0 ? part.trimEnd() : `  ${part.trim()}`));
}
