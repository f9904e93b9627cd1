/** What only the start needed is given back, and nothing else. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { execPath } from "node:process";
import { test } from "node:test";
import { cleanMappings, loadSystemCalls, releaseMemory } from "#/host/syscalls.ts";

const filePages = () =>
  Number(/^RssFile:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "latin1"))?.[1]);

test("the executable's pages go, and come back as they are used", () => {
  const calls = loadSystemCalls();
  assert.ok(calls, "node:ffi works here");
  const before = filePages();
  releaseMemory(calls);
  const after = filePages();
  assert.ok(after < before - 10_000, `${before} kB, then ${after} kB`);
  assert.equal([..."abcdef"].sort().reverse().join(""), "fedcba");
  assert.equal(new Intl.NumberFormat("de").format(1234.5), "1.234,5");
});

const mapping = (head: string, anonymous: number) =>
  `${head}\nSize:  8 kB\nRss:  8 kB\nAnonymous:             ${anonymous} kB\nVmFlags: rd mr\n`;

const left: Record<string, string> = {
  "that can be written": mapping("00402000-00404000 rw-p 00002000 fe:00 23 /opt/labgear", 0),
  "that were relocated": mapping("00402000-00404000 r--p 00002000 fe:00 23 /opt/labgear", 4),
  "of other files": mapping("00402000-00404000 r-xp 00002000 fe:00 23 /opt/labgear.old", 0),
  "of no file": mapping("00402000-00404000 r--p 00000000 00:00 0 ", 0),
  "that are shared": mapping("00402000-00404000 r--s 00002000 fe:00 23 /opt/labgear", 0),
};
for (const [what, text] of Object.entries(left)) {
  test(`pages ${what} are left alone`, () => {
    const clean = mapping(
      "7f0000400000-7f0000402000 r-xp 00000000 fe:00 23                      /opt/labgear",
      0,
    );
    const found = cleanMappings(clean + text + clean, "/opt/labgear");
    assert.deepEqual(found, Array(2).fill({ start: 0x7f0000400000n, length: 0x2000n }));
  });
}

test("this program's own mappings are understood", () => {
  assert.ok(cleanMappings(readFileSync("/proc/self/smaps", "latin1"), execPath).length > 0);
});
