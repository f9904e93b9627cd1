/** The classes that real machines get, by the texts of their firmware, and the names and addresses of this one. */
import assert from "node:assert/strict";
import { chmodSync, writeFileSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { isIP } from "node:net";
import { hostname, networkInterfaces, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { hardwareClasses, hostFacts } from "#/host/identity.ts";
import { testFolder } from "../support/folders.ts";

async function classes(files: Record<string, string | Buffer>, machine: string): Promise<string[]> {
  const root = await mkdtemp(join(tmpdir(), "labgear-hardware-"));
  try {
    for (const [path, text] of Object.entries(files)) {
      await mkdir(dirname(join(root, path)), { recursive: true });
      await writeFile(join(root, path), text);
    }
    return await hardwareClasses(root, machine);
  } finally {
    await rm(root, { recursive: true });
  }
}

const board = (model: string, compatible: string) =>
  classes({ "proc/device-tree/model": `${model}\0`, "proc/device-tree/compatible": compatible }, "arm64");

const pc = (vendor: string, name: string, version = "") => {
  const dmi = "sys/class/dmi/id";
  const files = { sys_vendor: vendor, product_name: name, product_version: version };
  const entries = Object.entries(files).map(([file, text]) => [`${dmi}/${file}`, `${text}\n`]);
  return classes(Object.fromEntries(entries), "x64");
};

test("boards, by their device tree", async () => {
  const pi4 = await board("Raspberry Pi 4 Model B Rev 1.4", "raspberrypi,4-model-b\0brcm,bcm2711\0");
  assert.deepEqual(pi4, ["arm64", "raspberry-pi-4-model-b", "raspberrypi-4-model-b"]);
  const pi5 = await board("Raspberry Pi 5 Model B Rev 1.0", "raspberrypi,5-model-b\0brcm,bcm2712\0");
  assert.deepEqual(pi5, ["arm64", "raspberry-pi-5-model-b", "raspberrypi-5-model-b"]);
  const black = await board(
    "TI AM335x BeagleBone Black",
    "ti,am335x-bone-black\0ti,am335x-bone\0ti,am33xx\0",
  );
  assert.deepEqual(black, ["arm64", "ti-am335x-beaglebone-black", "ti-am335x-bone-black"]);
  const jetson = await board(
    "NVIDIA Jetson Orin Nano Developer Kit",
    "nvidia,p3768-0000+p3767-0005\0nvidia,tegra234\0",
  );
  assert.deepEqual(jetson, [
    "arm64",
    "nvidia-jetson-orin-nano-developer-kit",
    "nvidia-p3768-0000-p3767-0005",
  ]);
});

test("machines, by DMI", async () => {
  assert.deepEqual(await pc("LENOVO", "20XW00FPGE", "ThinkPad X1 Carbon Gen 9"), [
    "x86-64",
    "lenovo-thinkpad-x1-carbon-gen-9",
  ]);
  assert.deepEqual(await pc("Intel(R) Client Systems", "NUC11PAHi7", "M15513-310"), [
    "x86-64",
    "intel-nuc11pahi7",
  ]);
  assert.deepEqual(await pc("Supermicro", "SYS-5019C-MR", "0123456789"), [
    "x86-64",
    "supermicro-sys-5019c-mr",
  ]);
  assert.deepEqual(await pc("Dell Inc.", "PowerEdge R640"), ["x86-64", "dell-poweredge-r640"]);
  assert.deepEqual(await pc("Hewlett-Packard", "HP EliteDesk 800 G1 SFF"), [
    "x86-64",
    "hp-elitedesk-800-g1-sff",
  ]);
  assert.deepEqual(await pc("QEMU", "Standard PC (Q35 + ICH9, 2009)", "pc-q35-7.2"), [
    "x86-64",
    "qemu-standard-pc-q35",
  ]);
  assert.deepEqual(await pc("QEMU", "Standard PC (i440FX + PIIX, 1996)"), [
    "x86-64",
    "qemu-standard-pc-i440fx",
  ]);
  assert.deepEqual(await pc("innotek GmbH", "VirtualBox", "1.2"), ["x86-64", "virtualbox"]);
  assert.deepEqual(await pc("Amazon EC2", "t3.medium"), ["x86-64", "amazon-t3.medium"]);
});

test("what a maker left unsaid makes no class", async () => {
  const nothing = [
    "To Be Filled By O.E.M.",
    "To be filled by O.E.M.",
    "System Product Name",
    "Default string",
    "Not Specified",
    "0123456789",
    "Unknown",
    "N/A",
    "",
    " ",
    ".",
  ];
  for (const text of nothing) {
    assert.deepEqual(await pc(text, text, text), ["x86-64"], text);
    assert.deepEqual(await pc("ASUSTeK COMPUTER INC.", text, text), ["x86-64"], text);
  }
  assert.deepEqual(await classes({}, "riscv64"), ["riscv64"]);
});

test("hostile bytes make no class, or a clean one", async () => {
  const bad = [
    Buffer.from([0xff, 0xfe, 0x00, 0x41]),
    "\u001b[31mred",
    "build:x",
    "a\nb:c",
    "-",
    "x".repeat(5000),
    "a: b\tc",
    "../..",
  ];
  for (const text of bad) {
    const files = {
      "proc/device-tree/model": text,
      "proc/device-tree/compatible": text,
      "sys/class/dmi/id/product_name": text,
    };
    for (const one of await classes(files, "arm64")) assert.match(one, /^[a-z0-9][a-z0-9.-]{0,62}$/);
  }
});

/** Asks with a `hostname` program that is this script; without one when it is undefined. */
async function factsWith(script: string | undefined) {
  using folder = testFolder();
  const file = join(folder.path, "hostname");
  if (script !== undefined) {
    writeFileSync(file, `#!/bin/sh\n${script}\n`);
    chmodSync(file, 0o755);
  }
  const before = process.env.PATH;
  process.env.PATH = folder.path;
  try {
    return await hostFacts();
  } finally {
    process.env.PATH = before;
  }
}

test("the full name is what the system says", async () => {
  assert.deepEqual((await factsWith("echo rack7.lab.example")).fqdn, "rack7.lab.example");
});

const silent: Record<string, string | undefined> = {
  "says nothing": "exit 0",
  "says an error": "echo 'hostname: Name or service not known' >&2; exit 1",
  "says what is no name": "echo 'a b; c'",
  "says two lines": "echo a; echo b",
  "says control characters": "printf 'a\\033[31m'",
  "isn't there": undefined,
};
for (const [what, script] of Object.entries(silent)) {
  test(`the short name stands for the full one when the system ${what}`, async () => {
    const { fqdn, hostname: short } = await factsWith(script);
    assert.equal(fqdn, hostname());
    assert.equal(short, hostname());
  });
}

test("a resolver that hangs is given up", async () => {
  assert.equal((await factsWith("exec /bin/sleep 60")).fqdn, hostname());
});

test("the addresses are those that others can reach", async () => {
  const { ips } = await hostFacts();
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  for (const ip of ips) {
    assert.ok(isIP(ip), ip);
    assert.ok(!/^(127\.|::1$|fe80:|169\.254\.)/.test(ip), ip);
  }
  const outside = all.filter(
    ({ internal, scopeid, address }) => !internal && !scopeid && !address.startsWith("169.254."),
  );
  assert.deepEqual(
    ips,
    outside.map(({ address }) => address),
  );
});

test("addresses of one link only are left out", async (t) => {
  const os = await import("node:os");
  const address = (ip: string, internal = false) => ({ address: ip, internal });
  const interfaces = {
    lo: [address("127.0.0.1", true)],
    eth0: ["10.0.0.7", "169.254.3.4", "fe80::1", "2001:db8::7"].map((ip) => address(ip)),
  };
  t.mock.method(os.default, "networkInterfaces", () => interfaces);
  const { syncBuiltinESMExports } = await import("node:module");
  syncBuiltinESMExports();
  t.after(syncBuiltinESMExports);
  assert.deepEqual((await hostFacts()).ips, ["10.0.0.7", "2001:db8::7"]);
});
