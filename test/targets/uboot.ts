/** A U-Boot for arm64, in QEMU; its autoboot counts down after 0.3 s. */
import { part } from "../support/parts.ts";
import { startEmulator } from "./emulator.ts";
import type { Target, TargetOptions } from "./target.ts";

/** Its console says `Hit any key to stop autoboot`, then shows `=> `; `saveenv` fails, the rest works. */
export function startUboot(options: TargetOptions = {}): Promise<Target> {
  return startEmulator({
    name: "U-Boot",
    emulator: "qemuArm64",
    args: ["-M", "virt", "-cpu", "cortex-a53", "-m", "128", "-bios", part("ubootArm64")],
    ...options,
  });
}
