/** Patterns in a board's output, however it is cut into pieces. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Match, OutputMatcher } from "#/devices/consoles/matcher.ts";

/** Feeds in pieces of `size` bytes until something matches. */
function feed(matcher: OutputMatcher, text: string | Buffer, size: number): Match | undefined {
  const bytes = Buffer.from(text as string);
  for (let at = 0; at < bytes.length; at += size) {
    const match = matcher.feed(bytes.subarray(at, at + size));
    if (match) return match;
  }
  return undefined;
}

const sizes = [1, 2, 3, 5, 64, 4096];

/** What a pattern finds in the output, in pieces of each size; all of them must agree. */
function find(pattern: string, output: string | Buffer, fail?: string): Match | undefined {
  const all = sizes.map((size) => {
    const matcher = new OutputMatcher();
    matcher.expect([pattern], fail === undefined ? [] : [fail]);
    return feed(matcher, output, size);
  });
  for (const one of all) assert.deepEqual(one, all[0]);
  return all[0];
}

test("text across pieces", () => {
  assert.deepEqual(find("board (\\w+) rev (?P<rev>\\d);(x)?", "hello\r\nboard foo rev 3;\r\n"), {
    kind: "pattern",
    pattern: "board (\\w+) rev (?P<rev>\\d);(x)?",
    text: "board foo rev 3;",
  });
  assert.equal(find("käse: ✓!", "my käse: ✓!")?.text, "käse: ✓!");
  assert.equal(find("never", "nev\0er nev er"), undefined);
});

test("escape sequences and carriage returns are not there", () => {
  const output = "\x1b[1;32muser@board\x1b[0m:\x1b]0;title\x07~\x1b(B$ do\x1b[6nne\r\r\nnext";
  assert.equal(find("user@board:~\\$ done\nnext", output)?.kind, "pattern");
  assert.equal(find("^10%\r20%$", "10%\r20%\r\n")?.kind, "pattern", "a lone carriage return stays");
  assert.equal(
    find("after", "\x1b]no end of a title\nafter")?.kind,
    "pattern",
    "a broken sequence hides no line",
  );
  assert.equal(find("here", Buffer.from([0xff, 0xfe, 0x1b, 0x80, 0x68, 0x65, 0x72, 0x65]))?.kind, "pattern");
});

test("^ and $ are those of a line, and the end of what came isn't one", () => {
  assert.equal(find("^ok$", "not ok\r\nokay\r\nok\r\n")?.text, "ok");
  assert.equal(find("^ok$", "not ok\r\nokay\r\nok"), undefined);
  assert.equal(find("^start", "start")?.text, "start", "the session's first line begins");
  assert.equal(find("\\bok\\b", "okay")?.text, undefined);
  assert.equal(find("\\bok\\b", "ok.")?.text, "ok");
});

test("a prompt at the end is found when nothing follows, also behind the beginning of an escape sequence", () => {
  const matcher = new OutputMatcher();
  matcher.expect(["[#$] $"]);
  assert.equal(feed(matcher, "a # b\r\nroot # ", 1), undefined);
  assert.equal(matcher.quiet()?.text, "# ");
  matcher.expect(["\\[y/n\\]"]);
  assert.equal(feed(matcher, "sure? \x1b[y/n]", 1), undefined);
  assert.equal(matcher.quiet(), undefined, "that was an escape sequence");
  matcher.expect(["> "]);
  assert.equal(feed(matcher, "\x1b]> ", 1), undefined);
  assert.equal(matcher.quiet()?.text, "> ");
});

test("the first of pattern and fail wins; in one place fail does", () => {
  assert.equal(find("done", "an error, done\n", "error")?.kind, "fail");
  assert.equal(find("done", "done, then an error\n", "error")?.kind, "pattern");
  assert.equal(find("do\\w", "don", "do.")?.kind, "fail");
});

test("a match is consumed, what follows it is kept for the next one", () => {
  const matcher = new OutputMatcher();
  assert.equal(matcher.expect(["one"]), undefined);
  assert.equal(matcher.feed(Buffer.from("one two one thr"))?.text, "one");
  assert.equal(matcher.feed(Buffer.from("ee four")), undefined, "nothing is waited for");
  assert.equal(matcher.expect(["two"])?.text, "two");
  assert.equal(matcher.expect(["three|one"])?.text, "one");
  assert.equal(matcher.expect(["^ three"]), undefined, "it isn't a line's beginning");
  assert.equal(matcher.lastLine, "three four");
  assert.equal(matcher.expect(["three"])?.text, "three");
});

test("matches over several lines, as far as the span reaches", () => {
  const lines = (count: number) => "x".repeat(9).concat("\n").repeat(count);
  assert.ok(find("begin[^#]*end", `begin\n${lines(700)}end`)?.kind);
  const matcher = new OutputMatcher();
  matcher.expect(["begin[^#]*end"]);
  assert.equal(feed(matcher, `begin\n${lines(1000)}end`, 64), undefined);
});

test("the backlog is bounded", () => {
  const matcher = new OutputMatcher();
  feed(matcher, `early ${"x".repeat(600_000)} late`, 64);
  assert.equal(matcher.expect(["early"]), undefined);
  assert.equal(matcher.expect(["late"])?.text, "late");
});

test("random pieces of garbage and sense are the same text in any pieces", () => {
  const parts = [
    "\x1b",
    "\x1b[",
    "3",
    ";",
    "m",
    "\r",
    "\n",
    "a",
    "]",
    "\x07",
    "\\",
    "é",
    "\xff",
    "ok",
    "P",
    " ",
  ];
  let seed = 1;
  const random = () => {
    seed = (seed * 48271) % 2147483647;
    return seed;
  };
  for (let run = 0; run < 300; run += 1) {
    const text = Array.from({ length: 60 }, () => parts[random() % parts.length]).join("");
    find("(?s)a(.{7})", Buffer.from(text));
    find("(?m)^ok$", Buffer.from(text, "latin1"));
  }
});
