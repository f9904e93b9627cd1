/** The lines by which microcontrollers report a crash or a boot. */

/**
 * Crashes of Zephyr, ESP-IDF, Mbed OS, RIOT, NuttX, newlib, glibc, Rust, and of vendors' fault handlers. Zephyr's ztest prints
 * `Assertion failed at` for a failed test, which is no crash.
 */
const crashes: readonly RegExp[] = [
  /ZEPHYR FATAL ERROR/,
  /\*{3,} [\w ]*(?:FAULT|Fault|Exception)\b.* \*{3,}/,
  /\bASSERTION FAIL \[/,
  /\bHalting system\b/,
  /\bHard ?Fault\b(?! ?[_-])/,
  /\bHARD ?FAULT\b/,
  /\bGuru Meditation Error\b/,
  /\babort\(\) was called\b/,
  /\bassert failed: /,
  /\bassertion ".*" failed: file\b/,
  /: Assertion `.*' failed\./,
  /\*\*\*ERROR\*\*\* A stack overflow\b/,
  /\bstack smashing detected\b/,
  /\bCORRUPT HEAP\b/,
  /\bMbedOS (?:Fault Handler|Error Info)\b/,
  /\*\*\* (?:RIOT )?[Kk]ernel panic\b/,
  /\bKernel panic - not syncing\b/,
  /\bup_assert: |\b_assert: Assertion failed\b/,
  /\bpanicked at\b/,
  /^Fatal exception \(\d+\)/,
];

/** First lines of a boot. A second one of the same kind is a reboot. */
const banners: readonly (readonly [string, RegExp])[] = [
  ["Zephyr", /\*\*\* Booting (?:Zephyr OS|nRF Connect SDK)/],
  ["MCUboot", /\*\*\* Booting MCUboot/],
  ["the ESP32's ROM", /^ets [A-Z][a-z]{2} +\d+ \d{4} |^ESP-ROM:/],
  ["U-Boot SPL", /^U-Boot SPL \d{4}\./],
  ["U-Boot", /^U-Boot \d{4}\./],
  ["MicroPython", /^MicroPython v\d/],
  ["RIOT", /^main\(\): This is RIOT!/],
  ["NuttX", /^NuttShell \(NSH\)/],
];

/** @returns the line, cut to a readable length, if it reports a crash */
export function crashIn(line: string): string | undefined {
  return crashes.some((pattern) => pattern.test(line)) ? line.trim().slice(0, 200) : undefined;
}

/** @returns the name of what boots, if the line is the first of a boot */
export function bootIn(line: string): string | undefined {
  return banners.find(([, pattern]) => pattern.test(line))?.[0];
}
