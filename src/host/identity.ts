/** What this box is: the classes of its hardware, its names and addresses on the network. */
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { arch, hostname, networkInterfaces } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

/** In characters, for each class. */
const maxLength = 63;

/** Names as users write them in NODE_NAME: x86-64 and arm64 as in Debian's and Zuul's labels, not uname's aarch64. */
const architectures: Readonly<Record<string, string>> = {
  x64: "x86-64",
  arm64: "arm64",
  arm: "armhf",
  riscv64: "riscv64",
};

/** What firmware contains when the maker left a field alone. */
const placeholder =
  /^(to be filled by o\.?e\.?m\.?|o\.?e\.?m\.?|default string|default|system (product name|manufacturer|version|name)|(not|none) (specified|applicable|available|provided)|(base )?board( product name| manufacturer)?|product name|type1productconfigid|unknown|undefined|none|n\/?a|null|empty|invalid|other|x\.x|[-.0x*\s]*|\d{8,}|version \d[\d.]*|all series|\[?oem\]?|standard)$/i;

/** Makers by their common names; for others it is the first word. */
const makers: readonly [RegExp, string][] = [
  [/^hewlett[- ]packard/i, "hp"],
  [/^innotek gmbh/i, "virtualbox"],
  [/^(super ?micro)/i, "supermicro"],
  [/^asustek/i, "asus"],
  [/^micro-star/i, "msi"],
  [/^dell/i, "dell"],
];

/**
 * The classes of this box, the architecture first; each is [a-z0-9.-], 63 characters at most, unique, and the same at each
 * start. Device trees have the model and the board's "compatible" name (Devicetree Specification, 2.3), PCs have DMI.
 *
 * @param root another root than "/", as for tests with other machines' files
 * @param machine Node's name of the architecture
 */
export async function hardwareClasses(root = "/", machine: string = arch()): Promise<string[]> {
  const read = async (path: string) =>
    (await readFile(join(root, path), "utf8").catch(() => "")).slice(0, 1000);
  const model = await read("proc/device-tree/model");
  const compatible = await read("proc/device-tree/compatible");
  const dmi = async (field: string) => value(await read(`sys/class/dmi/id/${field}`));
  const [maker, name, version] = await Promise.all([
    dmi("sys_vendor"),
    dmi("product_name"),
    dmi("product_version"),
  ]);
  const found = [
    architectures[machine] ?? machine,
    boardModel(value(model)),
    // The first entry is the board; families and the chip follow.
    value(compatible.split("\0", 1)[0] ?? "").replace(",", "-"),
    machineModel(maker, name, version),
  ];
  return [...new Set(found.map(slug).filter((one) => one !== ""))];
}

/** A field's first line if it is printable and not a placeholder, else "". */
function value(text: string): string {
  const line = text.split(/[\0\n]/, 1)[0]?.trim() ?? "";
  return placeholder.test(line) || !/^[\x20-\x7e]+$/.test(line) ? "" : line;
}

/** Without the revision: "Raspberry Pi 4 Model B Rev 1.4" is a Raspberry Pi 4 Model B. */
function boardModel(model: string): string {
  return model.replace(/[\s,(-]+rev(ision)?\.?\s*[\w.]+\)?$/i, "");
}

/** The maker and the model, once each. Lenovo has the common name in the version. */
function machineModel(maker: string, name: string, version: string): string {
  const short = makers.find(([pattern]) => pattern.test(maker))?.[1] ?? maker.split(/[\s,]/, 1)[0] ?? "";
  const readable = /^lenovo/i.test(maker) && /[a-z]{3}/i.test(version) ? version : name;
  // "Standard PC (Q35 + ICH9, 2009)" becomes "Standard PC Q35".
  const model = readable.replace(/\(([\w ]+)[^)]*\)/, "$1");
  if (model === "") return "";
  return slug(model).startsWith(slug(short)) ? model : `${short} ${model}`;
}

/** Any text as [a-z0-9.-]. */
function slug(text: string): string {
  return text
    .toLowerCase()
    .replace(/\((r|tm)\)|[®™]/g, "")
    .replace(/[^a-z0-9.]+/g, "-")
    .slice(0, maxLength)
    .replace(/^[-.]+|[-.]+$/g, "");
}

export interface HostFacts {
  readonly hostname: string;
  readonly fqdn: string;
  /** Without loopback and link-local ones. */
  readonly ips: readonly string[];
}

/** The resolver has two seconds for the full name; after that the short one is used. */
export async function hostFacts(): Promise<HostFacts> {
  const asked = await promisify(execFile)("hostname", ["--fqdn"], { timeout: 2000 }).catch(() => undefined);
  const name = asked?.stdout.trimEnd() ?? "";
  const fqdn = /^[\w.-]+$/.test(name) ? name : hostname();
  const ips = Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(({ internal, address }) => !internal && !/^(fe80:|169\.254\.)/.test(address))
    .map(({ address }) => address);
  return { hostname: hostname(), fqdn, ips };
}
