/** A micro:bit with MicroPython 1.9.2, in QEMU; its prompt is there in 0.1 s. */
import { part } from "../support/parts.ts";
import { startEmulator } from "./emulator.ts";
import type { Target, TargetOptions } from "./target.ts";

/** Its console greets, then shows `>>> `. */
export function startMicroPython(options: TargetOptions = {}): Promise<Target> {
  return startEmulator({
    name: "MicroPython",
    emulator: "qemuArm",
    args: ["-M", "microbit", "-device", `loader,file=${part("micropythonMicrobit")}`],
    ...options,
  });
}
