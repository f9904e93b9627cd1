/** A sysfs and a /dev in a folder, laid out as Linux 6.1 lays them out for real adapters. */
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";

export interface Adapter {
  /** As 1-1.4. */
  readonly location: string;
  readonly vendor: string;
  readonly product: string;
  readonly driver: string;
  readonly texts?: Readonly<Record<string, string>>;
  /** The ttys by the number of their interface. */
  readonly ttys: Readonly<Record<number, string>>;
}

export const ft4232 = (location: string, first: number): Adapter => ({
  location,
  vendor: "0403",
  product: "6011",
  driver: "ftdi_sio",
  texts: { manufacturer: "FTDI", product: "Quad RS232-HS", serial: "FT4XYZ12" },
  ttys: { 0: `ttyUSB${first}`, 1: `ttyUSB${first + 1}`, 2: `ttyUSB${first + 2}`, 3: `ttyUSB${first + 3}` },
});

export const cp2102 = (location: string, tty: string, serial = "0001"): Adapter => ({
  location,
  vendor: "10c4",
  product: "ea60",
  driver: "cp210x",
  texts: { manufacturer: "Silicon Labs", product: "CP2102 USB to UART Bridge Controller", serial },
  ttys: { 0: tty },
});

export const esp32s3 = (location: string, tty: string): Adapter => ({
  location,
  vendor: "303A",
  product: "1001",
  driver: "cdc_acm",
  texts: { manufacturer: "Espressif", product: "USB JTAG/serial debug unit", serial: "F4:12:FA:5A:00:01" },
  ttys: { 0: tty },
});

export class SysfsTree {
  readonly sys: string;
  readonly dev: string;
  readonly #root: string;

  constructor(folder: string) {
    this.sys = join(folder, "sys");
    this.dev = join(folder, "dev");
    this.#root = join(this.sys, "devices/pci0000:00/0000:00:14.0/usb1/1-1");
    mkdirSync(join(this.sys, "class/tty"), { recursive: true });
    mkdirSync(this.dev, { recursive: true });
    // What every box has: a virtual console, and a UART that isn't there.
    mkdirSync(join(this.sys, "devices/virtual/tty/tty0"), { recursive: true });
    symlinkSync("../../devices/virtual/tty/tty0", join(this.sys, "class/tty/tty0"));
    this.#tty(join(this.sys, "devices/platform/serial8250"), "serial8250", "ttyS1", { type: "0" });
    writeFileSync(join(this.dev, "ttyS1"), "");
  }

  plug({ location, vendor, product, driver, texts = {}, ttys }: Adapter): void {
    const device = join(this.#root, location);
    write(device, { idVendor: vendor, idProduct: product, ...texts });
    for (const [number, tty] of Object.entries(ttys)) {
      const place = join(device, `${location}:1.${number}`);
      write(place, { bInterfaceNumber: number.padStart(2, "0") });
      // usb-serial puts a device of its own between the interface and the tty; cdc_acm doesn't.
      this.#tty(driver === "cdc_acm" ? place : join(place, tty), driver, tty);
      writeFileSync(join(this.dev, tty), "");
      this.#link(texts, tty, Number(number));
    }
  }

  unplug({ location, ttys, texts = {} }: Adapter): void {
    for (const [number, tty] of Object.entries(ttys)) {
      rmSync(join(this.sys, "class/tty", tty));
      rmSync(join(this.dev, tty));
      rmSync(join(this.dev, "serial/by-id", nameById(texts, Number(number))), { force: true });
    }
    rmSync(join(this.#root, location), { recursive: true });
  }

  /** udev's link; of two adapters with one serial number, which cheap ones have, the last one gets it. */
  #link(texts: Readonly<Record<string, string>>, tty: string, number: number): void {
    mkdirSync(join(this.dev, "serial/by-id"), { recursive: true });
    const link = join(this.dev, "serial/by-id", nameById(texts, number));
    rmSync(link, { force: true });
    symlinkSync(`../../${tty}`, link);
  }

  #tty(
    device: string,
    driver: string,
    name: string,
    attributes: Readonly<Record<string, string>> = {},
  ): void {
    const folder = join(device, "tty", name);
    write(folder, { ...attributes, dev: "188:0" });
    mkdirSync(join(this.sys, "bus/drivers", driver), { recursive: true });
    symlinkSync(relative(device, join(this.sys, "bus/drivers", driver)), join(device, "driver"));
    symlinkSync(relative(folder, device), join(folder, "device"));
    const entry = join(this.sys, "class/tty", name);
    symlinkSync(relative(dirname(entry), folder), entry);
  }
}

function nameById(texts: Readonly<Record<string, string>>, number: number): string {
  const { manufacturer = "", product = "", serial = "" } = texts;
  return `usb-${[manufacturer, product, serial].join("_").replaceAll(/[ /]/g, "_")}-if0${number}-port0`;
}

function write(folder: string, attributes: Readonly<Record<string, string>>): void {
  mkdirSync(folder, { recursive: true });
  for (const [name, text] of Object.entries(attributes)) writeFileSync(join(folder, name), `${text}\n`);
}
