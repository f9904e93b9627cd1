/** Rendering of console lines: colours, cursor movements, wide characters, garbage. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { LineStore } from "#/web/browser/line-store.ts";
import { linksIn } from "#/web/browser/links.ts";
import { paletteColor, readable, type Style, showLine } from "#/web/browser/terminal.ts";
import { seeded } from "../support/random.ts";

const text = (raw: string) =>
  showLine(raw)
    .spans.map((span) => span.text)
    .join("");
const styles = (raw: string) => showLine(raw).spans.map((span): [string, Style] => [span.text, span.style]);

for (const [raw, shown] of [
  ["", ""],
  ["plain", "plain"],
  ["dos\r", "dos"],
  ["one\rtwo", "two"],
  ["longer\rup", "upnger"],
  ["longer\r\u001b[Kup", "up"],
  ["ab\bc", "ac"],
  ["\b\b\bx", "x"],
  ["a\tb", "a       b"],
  ["12345678\tb", "12345678        b"],
  ["ab\u001b[1Dc\u001b[3Cd", "ac   d"],
  ["abc\u001b[1Gx", "xbc"],
  ["abcdef\u001b[3G\u001b[1K", "   def"],
  ["abc\u001b[2Kd", "   d"],
  ["\u001b]0;a title\u0007after", "after"],
  ["\u001b]8;;https://example.org\u001b\\link\u001b]8;;\u001b\\", "link"],
  ["\u001b(Bafter", "after"],
  ["\u001b[?25lafter\u001b[?25h", "after"],
  ["bell\u0007, null\u0000", "bell, null"],
  ["<script>alert(1)</script>", "<script>alert(1)</script>"],
  ["cut\u001b[3", "cut"],
  ["cut\u001b", "cut"],
  ["cut\u001b]0;a title without an end", "cut"],
] as const) {
  test(`${JSON.stringify(raw)} is shown as ${JSON.stringify(shown)}`, () => {
    assert.equal(text(raw), shown);
  });
}

test("links of programs: only to the web, over colours, to the end of the line", () => {
  const [osc, end] = ["\u001b]8;id=1;", "\u001b]8;;\u0007"];
  assert.deepEqual(styles(`see ${osc}https://example.org/a\u001b\\\u001b[31mred\u001b[0m on${end} end`), [
    ["see ", {}],
    ["red", { fg: 1, link: "https://example.org/a" }],
    [" on", { link: "https://example.org/a" }],
    [" end", {}],
  ]);
  for (const bad of ["javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "//example.org", "x"])
    assert.deepEqual(styles(`${osc}${bad}\u0007here${end}`), [["here", {}]]);
  assert.deepEqual(showLine(`${osc}https://example.org\u0007open`).style, {});
});

const source = "https://git.example/p/blob/c0ffee/{path}#L{line}";
for (const [line, found] of [
  ["see https://example.org/a?b=1&c=%20d.", [["https://example.org/a?b=1&c=%20d", ""]]],
  [
    "(https://example.org/a_(b)), <http://x.example>",
    [
      ["https://example.org/a_(b))", ""],
      ["http://x.example", ""],
    ],
  ],
  ["[docs](https://example.org/x)", [["https://example.org/x", ""]]],
  ["src/spi.c:88:3: error", [["src/spi.c:88", "src/spi.c#L88"]]],
  ["./a b/c.rs:7", [["b/c.rs:7", "b/c.rs#L7"]]],
  ["In file included from ./inc/x.h:5,", [["./inc/x.h:5", "inc/x.h#L5"]]],
  [
    "/var/lib/labgear/workspaces/0/unit/src/a.py:3: in",
    [["/var/lib/labgear/workspaces/0/unit/src/a.py:3", "src/a.py#L3"]],
  ],
  ["/usr/include/stdio.h:3", []],
  ["../../etc/pass.wd:1 and a/../b.c:2", []],
  ["at 12:30:45, 10.0.0.1:80, host.example:4730/x", [["10.0.0.1:80", ""]].slice(1)],
  ["javascript://alert(1)", []],
] as [string, [string, string][]][]) {
  test(`links in ${JSON.stringify(line)}`, () => {
    const links = linksIn(line, source).map(({ from, to, href }) => [line.slice(from, to), href]);
    const wanted = found.map(([text, path]) => [
      text,
      path ? `https://git.example/p/blob/c0ffee/${path}` : text,
    ]);
    assert.deepEqual(links, wanted);
  });
}

test("a line of sixteen thousand characters is searched for links at once", () => {
  for (const piece of ["a/", "a.", "a", "http://", "-+", "a:1"]) {
    const found = linksIn(piece.repeat(16_384 / piece.length), source);
    assert.ok(found.every(({ from, to }) => from < to));
  }
});

test("colours: sixteen, 256, true ones, by semicolons and colons", () => {
  assert.deepEqual(styles("\u001b[31mred\u001b[0m not"), [
    ["red", { fg: 1 }],
    [" not", {}],
  ]);
  assert.deepEqual(styles("\u001b[1;4;92;103mx\u001b[22;24;39;49my"), [
    ["x", { bold: true, underline: true, fg: 10, bg: 11 }],
    ["y", {}],
  ]);
  assert.deepEqual(styles("\u001b[38;5;208mx"), [["x", { fg: [255, 135, 0] }]]);
  assert.deepEqual(styles("\u001b[48;5;3;1mx"), [["x", { bg: 3, bold: true }]]);
  assert.deepEqual(styles("\u001b[38;2;1;2;3mx\u001b[48:2::4:5:6my"), [
    ["x", { fg: [1, 2, 3] }],
    ["y", { fg: [1, 2, 3], bg: [4, 5, 6] }],
  ]);
  const odd = "\u001b[38;2;1;2;999mx\u001b[38;5;300my\u001b[38mz\u001b[999;m!";
  assert.ok(styles(odd).every(([, style]) => Object.keys(style).length === 0));
});

test("a style continues in the next line", () => {
  const first = showLine("\u001b[1;33mbegins");
  assert.deepEqual(showLine("goes on", first.style).spans, [
    { text: "goes on", style: { bold: true, fg: 3 } },
  ]);
});

test("wide characters take two columns", () => {
  const { spans } = showLine("a日本b");
  assert.deepEqual(
    spans.map((span) => [span.text, span.wide ?? false]),
    [
      ["a", false],
      ["日", true],
      ["本", true],
      ["b", false],
    ],
  );
  assert.equal(text("日本\u001b[3Gx"), "日x ");
  // Overwriting half of one erases it.
  assert.equal(text("日本\u001b[2Gx"), " x本");
  assert.equal(text("👩‍🔬e\u0301!"), "👩‍🔬e\u0301!");
});

test("dark colours are lightened until readable", () => {
  assert.deepEqual(readable([255, 255, 255]), [255, 255, 255]);
  for (let index = 16; index < 256; index++) {
    const color = paletteColor(index);
    assert.ok(typeof color === "object");
    assert.ok(Math.max(...readable(color)) > 100, `${index}`);
  }
});

test("any input is rendered in bounded time and space", () => {
  const random = seeded(7);
  const parts = [
    "\u001b[",
    "\u001b]",
    "99999999",
    ";",
    "m",
    "C",
    "G",
    "K",
    "\r",
    "\b",
    "日",
    "x",
    "\u0007",
    ":",
    "\t",
  ];
  for (let round = 0; round < 2000; round++) {
    const raw = Array.from({ length: 30 }, () => parts[random(parts.length)]).join("");
    const { spans } = showLine(raw);
    assert.ok(spans.reduce((sum, span) => sum + span.text.length, 0) < 25_000, JSON.stringify(raw));
    assert.ok(!spans.some((span) => /\p{Cc}/u.test(span.text)), JSON.stringify(raw));
  }
});

test("lines that arrive in pieces", () => {
  const store = new LineStore();
  store.append("one\ntw", 0, 1);
  store.append("o\nthree", 6, 2);
  assert.deepEqual(
    [0, 1, 2].map((n) => store.get(n)?.text),
    ["one", "two", "three"],
  );
  assert.deepEqual(
    [0, 1, 2].map((n) => store.get(n)?.at),
    [1, 1, 2],
  );
  assert.equal(store.total, 3);
  store.append("\n\n", 13, 3);
  assert.equal(store.total, 4);
});

test("the number and length of live lines are bounded", () => {
  const store = new LineStore();
  for (let n = 0; n < 100_000; n++) store.append(`${n}\n`, 0, 0);
  assert.equal(store.total, 100_000);
  assert.ok(store.start >= 60_000, `${store.start}`);
  assert.equal(store.get(99_999)?.text, "99999");
  store.append("x".repeat(100_000), 0, 0);
  assert.equal(store.get(100_000)?.text.length, 16 * 1024);
  assert.equal(store.get(100_000)?.cut, 100_000 - 16 * 1024);
  // A progress bar that overwrites itself never fills the line.
  const progress = new LineStore();
  for (let n = 0; n < 10_000; n++) progress.append(`\r${n} of 10000`, 0, 0);
  const line = progress.get(0);
  assert.equal(line && progress.look(line)[0]?.text, "9999 of 10000");
});

test("missing lines are loaded a page at a time", async () => {
  const requested: number[] = [];
  const store = new LineStore(async (from, count) => {
    requested.push(from);
    const lines = Array.from({ length: count }, (_, n) => ({
      n: from + n,
      offset: 0,
      text: `line ${from + n}`,
    }));
    return { total: 10_000, lines };
  });
  store.reset(10_000, [{ n: 9999, offset: 0, text: "the last" }]);
  const { promise, resolve } = Promise.withResolvers<void>();
  store.onChange = resolve;
  assert.equal(store.get(1234), undefined);
  assert.equal(store.get(1235), undefined);
  await promise;
  assert.deepEqual(requested, [1000]);
  assert.equal(store.get(1234)?.text, "line 1234");
  assert.equal(store.get(9999)?.text, "the last");
});
