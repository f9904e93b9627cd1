/** Which patterns a configuration may have, and what is said of the others. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { patternProblem } from "#/config/kinds.ts";

test("patterns that can be matched", () => {
  for (const pattern of [
    "login: $",
    "^ok\\r?$",
    "a\\\\r\\\\n",
    "(?i)PASS|fail",
    "\\d{1,3}%",
    "[^#]+#",
    "\\\\Alpha",
  ])
    assert.equal(patternProblem(pattern), undefined, pattern);
});

test("patterns that can't, with what to do", () => {
  const bad: readonly (readonly [string, RegExp])[] = [
    ["", /empty/],
    ["a*", /matches without any output/],
    ["^", /matches without any output/],
    ["x(", /missing closing \)/],
    ["a(?=b)", /lookahead and lookbehind are not supported/],
    ["(a)\\1", /backreferences are not supported/],
    ["\\x1b\\[0m", /escape sequences are removed/],
    ["ok\\r\\n", /leave \\r out/],
    ["ok\\z", /use \^ and \$/],
    ["((a{100}){100}){100}", /repeat|too large/],
    [`${"a".repeat(2001)}`, /the limit is 2000/],
    ["(a|b|c{900}|d{900}|e{900}|f{900}|g{900}|h{900})", /too large/],
  ];
  for (const [pattern, message] of bad) assert.match(patternProblem(pattern) ?? "", message, pattern);
});
