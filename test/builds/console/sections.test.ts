/** Sections: the marks of CI systems, and what only looks like them. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { type Section, SectionIndex, SectionReader } from "#/builds/console/sections.ts";
import { testFolder } from "../../support/folders.ts";
import { seeded } from "../../support/random.ts";

function sections(text: string): Section[] {
  const reader = new SectionReader();
  const lines = text.split("\n");
  for (const [n, line] of lines.entries()) reader.line(n, line);
  return reader.sections(lines.length, true);
}

const shown = (text: string) => sections(text).map(({ from, to, title }) => `${from}-${to} ${title}`);

for (const [name, text, wanted] of [
  ["GitHub", "a\n::group::Build it\nb\n::endgroup::\nc", ["1-3 Build it"]],
  ["GitHub's groups don't nest", "::group::A\na\n::group::B\nb\n::endgroup::\nc", ["0-1 A", "2-4 B"]],
  ["Azure", "##[group]A\na\n##[endgroup]", ["0-2 A"]],
  [
    "GitLab's nest",
    "\u001b[0Ksection_start:1:out\r\u001b[0K\u001b[36mOuter\u001b[0m\na\nsection_start:2:in\r\u001b[0KInner\nb\nsection_end:3:in\r\u001b[0K\nc\nsection_end:4:out\r\u001b[0K",
    ["0-6 Outer", "2-4 Inner"],
  ],
  [
    "GitLab's runner ends one and starts the next in the same line",
    "section_start:1:a\r\u001b[0KA\nx\nsection_end:2:a\r\u001b[0Ksection_start:2:b\r\u001b[0KB\ny\nsection_end:3:b\r\u001b[0K",
    ["0-1 A", "2-4 B"],
  ],
  ["Buildkite", "--- one\na\n+++ \u001b[1mtwo\u001b[0m\nb\nc", ["0-1 one", "2-4 two"]],
  ["a group within a heading", "--- one\n::group::g\na\n--- two\nb", ["0-2 one", "1-2 g", "3-4 two"]],
  ["a diff", "--- a/x.c\n+++ b/x.c\n@@ -1 +1 @@\n-a\n+b", []],
  ["go test", "--- FAIL: TestX (0.00s)\n    x_test.go:3: no\nFAIL", []],
  ["rules, documents, kernels", "---\na: 1\n---------- x\n---[ end Kernel panic ]---\nb", []],
  ["an end without a start, a start without an end", "::endgroup::\n::group::A\na", ["1-2 A"]],
  ["a heading without anything below", "--- one", []],
  ["no title", "::group::\na\n::endgroup::", ["0-2 …"]],
] as [string, string, string[]][]) {
  test(name, () => assert.deepEqual(shown(text), wanted));
}

test("a section may ask to be folded", () => {
  const [section] = sections("section_start:1:a[collapsed=true]\r\u001b[0KA\nx\nsection_end:2:a\r\u001b[0K");
  assert.deepEqual(section, { from: 0, to: 2, title: "A", folded: true });
});

test("what isn't over has no end", () => {
  const reader = new SectionReader();
  reader.line(0, "::group::A");
  reader.line(1, "a");
  assert.deepEqual(reader.sections(2, false), [{ from: 0, to: null, title: "A" }]);
});

for (const seed of [1, 2, 3]) {
  test(`a console that grows has the same sections as a whole one (seed ${seed})`, async () => {
    using folder = testFolder();
    const random = seeded(seed);
    const parts = ["::group::g", "::endgroup::", "--- h", "+++ i", "x", "", "y".repeat(300_000)];
    const lines = Array.from({ length: 300 }, () => parts[random(random(20) === 0 ? 7 : 6)] ?? "");
    const bytes = Buffer.from(`${lines.join("\n")}\n`);
    const path = join(folder.path, "console.log");
    writeFileSync(path, bytes);
    await using file = await open(path);
    const index = new SectionIndex();
    for (let size = 0; size < bytes.length; size += 1 + random(200_000)) await index.read(file, size, false);
    const wanted = new SectionReader();
    for (const [n, line] of lines.entries()) wanted.line(n, line);
    assert.deepEqual(await index.read(file, bytes.length, true), wanted.sections(lines.length, true));
  });
}
