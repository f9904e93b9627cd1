/** What the hardware says it is, as classes of the host: the architecture, and the board's or machine's model. */
import { readFile } from "node:fs/promises";
import { arch } from "node:os";
import { join } from "node:path";

/** A class is at most that long. */
const maxLength = 63;

/** Names as users write them in NODE_NAME: x86-64 and arm64 as in Debian's and Zuul's labels, not uname's aarch64. */
const architectures: Readonly<Record<string, string>> = {
  x64: "x86-64",
  arm64: "arm64",
  arm: "armhf",
  riscv64: "riscv64",
};

/** What firmware says when its maker left the field alone. */
const placeholder =
  /^(to be filled by o\.?e\.?m\.?|o\.?e\.?m\.?|default string|default|system (product name|manufacturer|version|name)|(not|none) (specified|applicable|available|provided)|(base )?board( product name| manufacturer)?|product name|type1productconfigid|unknown|undefined|none|n\/?a|null|empty|invalid|other|x\.x|[-.0x*\s]*|\d{8,}|version \d[\d.]*|all series|\[?oem\]?|standard)$/i;

/** Makers as people say them; anything else is its first word. */
const makers: readonly [RegExp, string][] = [
  [/^hewlett[- ]packard/i, "hp"],
  [/^innotek gmbh/i, "virtualbox"],
  [/^(super ?micro)/i, "supermicro"],
  [/^asustek/i, "asus"],
  [/^micro-star/i, "msi"],
  [/^dell/i, "dell"],
];

/**
 * The classes of this box, the architecture first; each [a-z0-9.-], 63 characters at most, none twice, and the same
 * at each start. Device trees give the model and the board's own "compatible" name (Devicetree Specification, 2.3),
 * PCs what DMI says.
 *
 * @param root "/" but for other trees
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
    // The first entry is the board, those after it the families and the chip.
    value(compatible.split("\0", 1)[0] ?? "").replace(",", "-"),
    machineModel(maker, name, version),
  ];
  return [...new Set(found.map(slug).filter((one) => one !== ""))];
}

/** A field as it should be: printable, one line, and not a placeholder; else "". */
function value(text: string): string {
  const line = text.split(/[\0\n]/, 1)[0]?.trim() ?? "";
  return placeholder.test(line) || !/^[\x20-\x7e]+$/.test(line) ? "" : line;
}

/** "Raspberry Pi 4 Model B Rev 1.4" is told to be a Raspberry Pi 4 Model B. */
function boardModel(model: string): string {
  return model.replace(/[\s,(-]+rev(ision)?\.?\s*[\w.]+\)?$/i, "");
}

/** The maker and the model, once each: Lenovo keeps the name that people know in the version. */
function machineModel(maker: string, name: string, version: string): string {
  const short = makers.find(([pattern]) => pattern.test(maker))?.[1] ?? maker.split(/[\s,]/, 1)[0] ?? "";
  const readable = /^lenovo/i.test(maker) && /[a-z]{3}/i.test(version) ? version : name;
  // "Standard PC (Q35 + ICH9, 2009)": what is in parentheses matters up to the first other sign.
  const model = readable.replace(/\(([\w ]+)[^)]*\)/, "$1");
  if (model === "") return "";
  return slug(model).startsWith(slug(short)) ? model : `${short} ${model}`;
}

/** Anything as [a-z0-9.-]. */
function slug(text: string): string {
  return text
    .toLowerCase()
    .replace(/\((r|tm)\)|[®™]/g, "")
    .replace(/[^a-z0-9.]+/g, "-")
    .slice(0, maxLength)
    .replace(/^[-.]+|[-.]+$/g, "");
}
