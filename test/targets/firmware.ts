/** A microcontroller (Cortex-M3) in QEMU that runs an image of the folder `firmware`; its first line is there in 0.1 s. */
import { startEmulator } from "./emulator.ts";
import type { Target, TargetOptions } from "./target.ts";

/** What each says is in `firmware/images/NAME.c`. */
export type Image =
  | "ztest-pass"
  | "ztest-fail"
  | "ztest-hang"
  | "ztest-crash"
  | "ztest-late-crash"
  | "ztest-old"
  | "ztest-again"
  | "ztest-restart"
  | "unity-pass"
  | "unity-fail"
  | "unity-hang"
  | "tap-pass"
  | "tap-fail"
  | "tap-short"
  | "tap-bail-out"
  | "silent"
  | "menu"
  | "stream";

/** The RunID of the ztest images, but for those of an earlier build: `ztest-old` and `ztest-again`. */
export const runId = "5e11ab1e0000000000000000000000aa";

/** Another image is flashed by `powerCommand("flash NAME")`: the board stops, and starts with that one. */
export function startFirmware(image: Image, options: TargetOptions = {}): Promise<Target> {
  return startEmulator({
    name: "Firmware",
    emulator: "qemuArm",
    args: ["-M", "lm3s6965evb"],
    image,
    imageArgs: (name) => ["-kernel", new URL(`firmware/${name}.elf`, import.meta.url).pathname],
    ...options,
  });
}
