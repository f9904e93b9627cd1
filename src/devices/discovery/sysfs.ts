/** What the kernel says about the serial ports of this box: sysfs has the hardware, /proc the programs that have a port open. */
import { readdir, readFile, readlink, realpath } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

/** Facts about one tty; what isn't said is absent. */
export interface TtyFacts {
  /** As in ttyUSB0. */
  readonly name: string;
  /** VENDOR:PRODUCT, hexadecimal, lower case. */
  readonly usb?: string;
  readonly serial?: string;
  /** The USB device's place: 1-1.4. */
  readonly location?: string;
  /** The USB interface's number. */
  readonly interface?: number;
  readonly manufacturer?: string;
  readonly product?: string;
  readonly driver?: string;
}

/** Every tty with hardware behind it: no virtual consoles, no pseudo-terminals, no sockets for UARTs that aren't there. */
export async function listTtys(sys: string): Promise<TtyFacts[]> {
  const names = await readdir(join(sys, "class/tty")).catch(() => []);
  const found = await Promise.all(names.map((name) => readTty(sys, name)));
  return found.filter((facts) => facts !== undefined).sort((a, b) => order.compare(a.name, b.name));
}

const order = new Intl.Collator("en", { numeric: true });

/** @returns undefined when there is no such tty, or no hardware behind it */
export async function readTty(sys: string, name: string): Promise<TtyFacts | undefined> {
  const tty = join(sys, "class/tty", name);
  const device = await realpath(join(tty, "device")).catch(() => undefined);
  // The 8250 driver makes ttyS0 to ttyS3 whether they are there or not; type 0 is PORT_UNKNOWN (linux/serial_core.h).
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

/** The driver of a device; `ctrl` and `port` are the steps that Linux 6.5 put between a UART and its ttys. */
async function driverOf(folder: string): Promise<{ driver?: string }> {
  const driver = basename(await readlink(join(folder, "driver")).catch(() => ""));
  return driver === "" || driver === "ctrl" || driver === "port" ? {} : { driver };
}

/** The texts come from whatever is plugged in: one line of at most 255 characters is taken, without control characters. */
async function attribute(folder: string, name: string): Promise<string | undefined> {
  const text = await readFile(join(folder, name), "utf8").catch(() => undefined);
  return text
    ?.split("\n", 1)[0]
    ?.replaceAll(/[\p{Cc}\p{Cf}]/gu, "")
    .trim()
    .slice(0, 255);
}

/** Finds the processes that have a device file open, as far as this user may see them. */
/** @returns one "NAME (pid N)" each; this process is left out. A user other than root sees only processes of their own. */
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
