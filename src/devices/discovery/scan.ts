/** The plugged-in ports as configuration to paste. Pure. */
import type { FoundPort } from "./discovery.ts";

/**
 * A `devices:` section with an entry for each port, matched by its serial number, or else by its location.
 *
 * @param found with `inUse`, if known, for a remark
 */
export function scanYaml(found: readonly FoundPort[]): string {
  if (found.length === 0)
    return "# No serial ports with hardware behind them were found: plug in a board and try again.\n";
  const names = new Set<string>();
  return `devices:\n${found.map((port) => entry(port, found, names)).join("")}`;
}

function entry(port: FoundPort, all: readonly FoundPort[], names: Set<string>): string {
  const what = [port.manufacturer, port.product].filter((text) => text !== undefined).join(" ");
  const about = [port.path, what, port.driver && `driver ${port.driver}`].filter(Boolean).join(", ");
  const lines = [
    `  ${nameFor(port, names)}:  # ${comment(about)}`,
    ...(port.inUse?.length ? [`    # in use by ${comment(port.inUse.join(", "))}: end it first`] : []),
    "    classes: [board]",
    `    port: { ${identity(port, all).join(", ")}, baud: 115200 }`,
    "    console: linux  # linux, u-boot, barebox, zephyr, nuttx, micropython or raw",
  ];
  return `${lines.join("\n")}\n`;
}

/** The fewest facts that only this port has. */
function identity(port: FoundPort, all: readonly FoundPort[]): string[] {
  const fact = (key: "serial" | "usb" | "location" | "interface") =>
    port[key] === undefined
      ? []
      : [`${key}: ${typeof port[key] === "number" ? port[key] : quote(port[key])}`];
  const only = (...keys: ("serial" | "usb" | "location" | "interface")[]) =>
    keys.every((key) => port[key] !== undefined) &&
    all.every((other) => other === port || keys.some((key) => other[key] !== port[key]));
  if (only("serial")) return fact("serial");
  if (only("serial", "interface")) return [...fact("serial"), ...fact("interface")];
  if (only("location")) return [...fact("usb"), ...fact("location")];
  if (only("location", "interface")) return [...fact("usb"), ...fact("location"), ...fact("interface")];
  return [`path: ${quote(port.path)}`];
}

/** A name from the adapter's product name; people usually choose a better one. */
function nameFor({ product, path }: FoundPort, names: Set<string>): string {
  const text = (product ?? path.slice(path.lastIndexOf("/") + 1)).toLowerCase();
  const base =
    text
      .replaceAll(/[^a-z0-9]+/g, "-")
      .replaceAll(/^-+|-+$/g, "")
      .slice(0, 40) || "board";
  let name = /^[0-9]/.test(base) ? `board-${base}` : base;
  for (let number = 2; names.has(name); number++) name = `${base}-${number}`;
  names.add(name);
  return name;
}

/** A JSON string is a double-quoted YAML one. */
function quote(text: string): string {
  return /^[A-Za-z/][A-Za-z0-9/_-]*$/.test(text) ? text : JSON.stringify(text);
}

/** On one line, because the text comes from the plugged-in device. */
function comment(text: string): string {
  return text.replaceAll(/[\p{C}\p{Zl}\p{Zp}]/gu, "?").slice(0, 200);
}
