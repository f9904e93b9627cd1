/** A Linux for arm64 with getty and login on its serial console, in QEMU; its login is there in 3 to 8 s. */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { part } from "../support/parts.ts";
import { startEmulator } from "./emulator.ts";
import { initramfs } from "./initramfs.ts";
import type { Target, TargetOptions } from "./target.ts";

export interface LinuxOptions extends TargetOptions {
  /** U-Boot comes first; `loadLinux` at its prompt goes on to Linux. */
  readonly uboot?: boolean;
}

/** U-Boot's commands that load and start the kernel. */
export const loadLinux =
  "qfw load $kernel_addr_r $ramdisk_addr_r; booti $kernel_addr_r $ramdisk_addr_r:$filesize $fdtcontroladdr";

const machine = ["-M", "virt", "-cpu", "cortex-a53"];
// A panic ends in a reboot, as on boards in labs; what is written to /dev/kmsg is all printed.
const kernelArgs = "panic=1 printk.devkmsg=on";
// U-Boot knows only the machine's PL011. The one that QEMU emulates raises its receive interrupt when the queue is as long as the
// trigger level, not when it is longer (hw/char/pl011.c): bytes that come while Linux boots can silence it for good, as no real
// board does.
const pl011 = { serial: ["-serial", "chardev:c0"], console: "ttyAMA0" };
const uart8250 = { serial: ["-serial", "none", "-device", "pci-serial,chardev=c0"], console: "ttyS0" };

/**
 * Its console says `rack-board login: `; the shell is busybox's. Its kernel complains of a panic when told to
 * (`echo c >/proc/sysrq-trigger`), and `/dev/kmsg` makes it talk in between.
 */
export async function startLinux(options: LinuxOptions = {}): Promise<Target> {
  const { uboot, ...rest } = options;
  const { serial, console } = uboot ? pl011 : uart8250;
  const boot = [
    ...["-kernel", part("linuxArm64"), "-initrd", await initrd()],
    ...["-append", `console=${console} ${kernelArgs}`],
  ];
  const memory = uboot ? "160" : "96";
  return startEmulator({
    name: "Linux",
    emulator: "qemuArm64",
    args: [...machine, "-m", memory, ...(uboot ? ["-bios", part("ubootArm64")] : []), ...boot],
    serial,
    ...rest,
  });
}

/** The path of the file system, made once. */
async function initrd(): Promise<string> {
  const folder = new URL("../.out/targets", import.meta.url).pathname;
  const bytes = initramfs(await readFile(part("busyboxArm64")));
  const digest = createHash("sha256").update(bytes).digest("hex");
  const file = join(folder, `linux-arm64-${digest.slice(0, 16)}.cpio`);
  if (existsSync(file)) return file;
  await mkdir(folder, { recursive: true });
  // Test files run at the same time: each writes its own, and the last to rename wins with the same bytes.
  const mine = `${file}.${process.pid}`;
  await writeFile(mine, bytes);
  await rename(mine, file);
  return file;
}
