import assert from "node:assert/strict";
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { loadConfig } from "#/config/load.ts";
import { Discovery } from "#/devices/discovery/discovery.ts";
import { scanYaml } from "#/devices/discovery/scan.ts";
import { testFolder } from "../../support/folders.ts";
import { cp2102, esp32s3, ft4232, SysfsTree } from "./sysfs-tree.ts";

test("adapters are listed with their facts; consoles and UARTs that aren't there are not", async () => {
  using folder = testFolder();
  const tree = new SysfsTree(folder.path);
  tree.plug(ft4232("1-1.4", 9));
  tree.plug(esp32s3("1-1.2", "ttyACM0"));
  using discovery = new Discovery(tree);
  const found = await discovery.list();
  assert.deepEqual(
    found.map(({ path }) => path.slice(tree.dev.length)),
    ["/ttyACM0", "/ttyUSB9", "/ttyUSB10", "/ttyUSB11", "/ttyUSB12"],
  );
  assert.deepEqual(found[0], {
    path: join(tree.dev, "ttyACM0"),
    byId: "usb-Espressif_USB_JTAG_serial_debug_unit_F4:12:FA:5A:00:01-if00-port0",
    usb: "303a:1001",
    serial: "F4:12:FA:5A:00:01",
    location: "1-1.2",
    interface: 0,
    manufacturer: "Espressif",
    product: "USB JTAG/serial debug unit",
    driver: "cdc_acm",
  });
  assert.deepEqual([found[3]?.interface, found[3]?.driver, found[3]?.location], [2, "ftdi_sio", "1-1.4"]);
});

test("ports are found by serial number, location and interface; several matches are named", async () => {
  using folder = testFolder();
  const tree = new SysfsTree(folder.path);
  const quad = ft4232("1-1.4", 0);
  tree.plug(quad);
  tree.plug(cp2102("1-1.1", "ttyUSB4"));
  tree.plug(cp2102("1-1.2", "ttyUSB5"));
  using discovery = new Discovery(tree);
  const found = async (match: Parameters<Discovery["find"]>[0]) =>
    (await discovery.find(match))?.path.slice(tree.dev.length + 1);
  assert.equal(await found({ serial: "FT4XYZ12", interface: 2 }), "ttyUSB2");
  assert.equal(await found({ usb: "10c4:ea60", location: "1-1.2" }), "ttyUSB5");
  assert.equal(await found({ usb: "1a86:7523" }), undefined);
  await assert.rejects(found({ usb: "10c4:ea60" }), {
    code: "PORT_AMBIGUOUS",
    message: /2 ports match usb 10c4:ea60: .*ttyUSB4 serial 0001 location 1-1\.1 .*ttyUSB5.*; add serial/,
  });
  tree.unplug(quad);
  assert.equal(await found({ serial: "FT4XYZ12", interface: 2 }), undefined);
  // Plugged in again it has other names.
  tree.plug(ft4232("1-1.4", 20));
  assert.equal(await found({ serial: "FT4XYZ12", interface: 2 }), "ttyUSB22");
});

test("a port that comes and goes causes calls, with udev's links and without them", async () => {
  for (const withUdev of [true, false]) {
    using folder = testFolder();
    const tree = new SysfsTree(folder.path);
    if (withUdev) mkdirSync(join(tree.dev, "char"));
    using discovery = new Discovery(tree);
    let news = Promise.withResolvers<void>();
    using _ = discovery.watch({ serial: "0001" }, () => news.resolve());
    const told = async () => {
      await news.promise;
      news = Promise.withResolvers();
    };
    const board = cp2102("1-1.1", "ttyUSB0");
    tree.plug(board);
    if (withUdev) symlinkSync("../ttyUSB0", join(tree.dev, "char/188:0"));
    await told();
    assert.equal((await discovery.find({ serial: "0001" }))?.path, join(tree.dev, "ttyUSB0"));
    tree.unplug(board);
    if (withUdev) rmSync(join(tree.dev, "char/188:0"));
    while (await discovery.find({ serial: "0001" })) await told();
  }
});

test("a link's folder is missing, comes, goes, and is replaced", async () => {
  using folder = testFolder();
  const tree = new SysfsTree(folder.path);
  using discovery = new Discovery(tree);
  const links = join(folder.path, "lab/links");
  const path = join(links, "board");
  let news = Promise.withResolvers<void>();
  using _ = discovery.watch({ path }, () => news.resolve());
  const until = async (there: boolean) => {
    while (((await discovery.find({ path })) !== undefined) !== there) {
      await news.promise;
      news = Promise.withResolvers();
    }
  };
  await until(false);
  mkdirSync(links, { recursive: true });
  symlinkSync("/dev/null", path);
  await until(true);
  rmSync(join(folder.path, "lab"), { recursive: true });
  await until(false);
  const other = join(folder.path, "other");
  mkdirSync(join(other, "links"), { recursive: true });
  renameSync(other, join(folder.path, "lab"));
  symlinkSync("/dev/null", path);
  await until(true);
  rmSync(path);
  await until(false);
  // Only a device is a port.
  writeFileSync(path, "");
  assert.equal(await discovery.find({ path }), undefined);
});

test("a scan prints configuration that leads to the same ports", async () => {
  using folder = testFolder();
  const tree = new SysfsTree(folder.path);
  tree.plug(ft4232("1-1.4", 0));
  tree.plug(cp2102("1-1.1", "ttyUSB4"));
  tree.plug(cp2102("1-1.2", "ttyUSB5"));
  tree.plug(cp2102("1-1.3", "ttyUSB6", "A1"));
  tree.plug({
    ...esp32s3("1-1.5", "ttyACM0"),
    texts: { product: 'evil"\n  x: # \u202e', serial: "0x10: {}" },
  });
  using discovery = new Discovery(tree);
  const found = await discovery.list();
  const text = scanYaml(
    found.map((port) => ({ ...port, inUse: port.path.endsWith("4") ? ["picocom (pid 7)"] : [] })),
  );
  assert.match(text, /in use by picocom \(pid 7\)/);
  const file = join(folder.path, "labgear.yaml");
  writeFileSync(file, `name: box\n${text}`);
  const { devices } = await loadConfig({ file });
  assert.equal(devices.size, 8);
  const paths: string[] = [];
  for (const { port } of devices.values()) {
    assert.ok(port.address.kind === "tty");
    const there = await discovery.find(port.address.match);
    paths.push(there?.path ?? "none");
  }
  assert.deepEqual(
    paths,
    found.map(({ path }) => path),
  );
  assert.match(scanYaml([]), /plug in a board/);
});
