/** How microcontrollers say that they crashed, or that they start anew. */

/**
 * A crash, by the words of: Zephyr, ESP-IDF, Mbed OS, RIOT, NuttX, newlib and glibc, Rust, and the handlers that vendors ship.
 * Zephyr's ztest writes `Assertion failed at` for a test that failed: that is no crash.
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

/** First lines of a boot; the second one of a kind means that the board started anew. */
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

/** The piece of a line that says that the firmware crashed. */
export function crashIn(line: string): string | undefined {
  return crashes.some((pattern) => pattern.test(line)) ? line.trim().slice(0, 200) : undefined;
}

/** What begins to run by this line: a name that is the same each time. */
export function bootIn(line: string): string | undefined {
  return banners.find(([, pattern]) => pattern.test(line))?.[0];
}
