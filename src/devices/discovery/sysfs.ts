/** What the kernel says about the serial ports of this box: sysfs has the hardware, /proc the programs that have a port open. */
import { readdir, readFile, readlink, realpath } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

/** Facts about a tty. Unknown ones are absent. */
export interface TtyFacts {
  /** Such as ttyUSB0. */
  readonly name: string;
  /** VENDOR:PRODUCT, hexadecimal, lower case. */
  readonly usb?: string;
  readonly serial?: string;
  /** Of the USB device: 1-1.4. */
  readonly location?: string;
  /** The USB interface's number. */
  readonly interface?: number;
  readonly manufacturer?: string;
  readonly product?: string;
  readonly driver?: string;
}

/** Every tty with hardware behind it: no virtual consoles, no pseudo-terminals, no entries for UARTs that aren't there. */
export async function listTtys(sys: string): Promise<TtyFacts[]> {
  const names = await readdir(join(sys, "class/tty")).catch(() => []);
  const found = await Promise.all(names.map((name) => readTty(sys, name)));
  return found.filter((facts) => facts !== undefined).sort((a, b) => order.compare(a.name, b.name));
}

const order = new Intl.Collator("en", { numeric: true });

/** @returns undefined if there is no such tty, or no hardware behind it */
export async function readTty(sys: string, name: string): Promise<TtyFacts | undefined> {
  const tty = join(sys, "class/tty", name);
  const device = await realpath(join(tty, "device")).catch(() => undefined);
  // The 8250 driver creates ttyS0 to ttyS3 whether they exist or not; type 0 is PORT_UNKNOWN (linux/serial_core.h).
  if (!device || (await attribute(tty, "type")) === "0") return undefined;
  const root = await realpath(sys);
  let usb: string | undefined;
  let facts: TtyFacts = { name };
  for (let folder = device; folder.startsWith(`${root}/`); folder = dirname(folder)) {
    const number = await attribute(folder, "bInterfaceNumber");
    if (number !== undefined) facts = { ...facts, interface: Number.parseInt(number, 16) };
    facts = { ...facts, ...(facts.driver ? {} : await driverOf(folder)) };
    usb = await attribute(folder, "idVendor");
    if (usb === undefined) continue;
    return { ...facts, location: basename(folder), ...(await usbFacts(folder, usb)) };
  }
  return facts;
}

async function usbFacts(folder: string, vendor: string): Promise<Partial<TtyFacts>> {
  const [id, serial, manufacturer, product] = await Promise.all(
    ["idProduct", "serial", "manufacturer", "product"].map((name) => attribute(folder, name)),
  );
  return {
    usb: `${vendor}:${id}`.toLowerCase(),
    ...(serial && { serial }),
    ...(manufacturer && { manufacturer }),
    ...(product && { product }),
  };
}

/** The driver of a device. `ctrl` and `port` are the levels that Linux 6.5 added between a UART and its ttys. */
async function driverOf(folder: string): Promise<{ driver?: string }> {
  const driver = basename(await readlink(join(folder, "driver")).catch(() => ""));
  return driver === "" || driver === "ctrl" || driver === "port" ? {} : { driver };
}

/** One line of at most 255 characters without control characters, because the text comes from the plugged-in device. */
async function attribute(folder: string, name: string): Promise<string | undefined> {
  const text = await readFile(join(folder, name), "utf8").catch(() => undefined);
  return text
    ?.split("\n", 1)[0]
    ?.replaceAll(/[\p{Cc}\p{Cf}]/gu, "")
    .trim()
    .slice(0, 255);
}

/** @returns "NAME (pid N)" for each other process that has a device file open. Only root sees those of other users. */
export async function holdersOf(path: string, proc = "/proc"): Promise<string[]> {
  const found: string[] = [];
  for (const pid of await readdir(proc).catch(() => [])) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue;
    if (!(await hasOpen(`${proc}/${pid}/fd`, path))) continue;
    const name = await readFile(`${proc}/${pid}/comm`, "utf8").catch(() => "");
    found.push(`${name.trim().replaceAll(/[^\x20-\x7e]/g, "?") || "a program"} (pid ${pid})`);
  }
  return found;
}

async function hasOpen(folder: string, path: string): Promise<boolean> {
  for (const descriptor of await readdir(folder).catch(() => []))
    if ((await readlink(`${folder}/${descriptor}`).catch(() => "")) === path) return true;
  return false;
}
