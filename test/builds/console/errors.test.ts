/** Which lines of real tools' output report an error. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { errorRank } from "#/builds/console/errors.ts";

const certain = [
  "src/main.c:12:5: error: 'spi' undeclared (first use in this function)",
  "\x1b[01m\x1b[Ksrc/main.c:12:5:\x1b[m\x1b[K \x1b[01;31m\x1b[Kerror: \x1b[m\x1b[Kexpected ';'",
  "src/main.c:3:10: fatal error: missing.h: No such file or directory",
  "main.c:(.text+0x1a): undefined reference to `spi_init'",
  "/usr/bin/ld: cannot find -lfoo: No such file or directory",
  "ld.lld: error: undefined symbol: spi_init",
  "arm-none-eabi/bin/ld: region `FLASH' overflowed by 1234 bytes",
  "collect2: error: ld returned 1 exit status",
  "make[2]: *** [Makefile:12: main.o] Error 1",
  "FAILED: CMakeFiles/app.dir/main.c.obj",
  "CMake Error at CMakeLists.txt:5 (find_package):",
  "error[E0308]: mismatched types",
  'error: could not compile `app` (bin "app") due to 1 previous error',
  "./main.go:7:2: undefined: spi",
  "--- FAIL: TestSpi (0.00s)",
  "panic: runtime error: index out of range [3] with length 3",
  "src/app.ts(3,7): error TS2322: Type 'string' is not assignable to type 'number'.",
  "npm error code ELIFECYCLE",
  "[ERROR] Failed to execute goal org.apache.maven.plugins:maven-compiler-plugin",
  "Traceback (most recent call last):",
  "ModuleNotFoundError: No module named 'serial'",
  "E       assert 33928 == 65535",
  "E   AssertionError: assert 0x8488 == 0xffff",
  "FAILED test_spi.py::test_timeout - AssertionError: assert 3 == 4",
  "[    1.234567] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
  "[   12.000001] BUG: kernel NULL pointer dereference, address: 0000000000000008",
  "Unable to handle kernel NULL pointer dereference at virtual address 0000000000000010",
  "[00:00:00.010,000] <err> os: >>> ZEPHYR FATAL ERROR 4: Kernel panic on CPU 0",
  "ASSERTION FAIL [0] @ WEST_TOPDIR/zephyr/kernel/sched.c:12",
  "Guru Meditation Error: Core  0 panic'ed (LoadProhibited). Exception was unhandled.",
  "not ok 3 - spi answers",
  " FAIL - test_spi_timeout in 0.012 seconds",
  "test/test_spi.c:31:test_timeout:FAIL: Expected 3 Was 4",
  "[  FAILED  ] Spi.Timeout (0 ms)",
  "fatal: not a git repository (or any of the parent directories): .git",
  "git: fatal: repository 'http://git.example/app/' not found",
];

const likely = [
  "ERROR: flash: target not halted",
  "Error: Failed to open /dev/ttyUSB0",
  "E (325) spi: bus not initialized",
  "script: line 3: west: command not found",
  "cp: cannot stat 'app.elf': No such file or directory",
  "Segmentation fault (core dumped)",
  "virtual memory exhausted: Out of memory",
  "write error: No space left on device",
  "curl: (28) Connection timed out after 10001 milliseconds",
];

const ordinary = [
  "",
  "0 errors, 3 warnings",
  "12 passed, 0 failed in 3.2s",
  "Errors: 0",
  "failures=0",
  "gcc -Wall -Werror -c main.c",
  "src/main.c:12:5: warning: unused variable 'x'",
  "Compiling error-chain v0.12.4",
  "  CC      lib/errors.o",
  "test_error_handling ... ok",
  "ok 2 - not connected",
  "memory map: 64 KiB of RAM",
  "bugs: https://example.org/issues",
  "[labgear] FAILURE: the job ended with exit code 1",
];

for (const [rank, lines] of [
  ["certain", certain],
  ["likely", likely],
  [undefined, ordinary],
] as const) {
  for (const line of lines) {
    test(`${rank ?? "ordinary"}: ${line}`, () => assert.equal(errorRank(line), rank));
  }
}

test("of a very long line only the beginning counts", () => {
  assert.equal(errorRank(`${"x ".repeat(2000)}error: late`), undefined);
  assert.equal(errorRank(`error: early${" x".repeat(2_000_000)}`), "certain");
});
