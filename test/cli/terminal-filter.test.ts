/** What `labgear log`, `build` and `console` let through to a terminal. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { chooseRenderer } from "#/cli/build/render.ts";
import { TerminalFilter } from "#/cli/terminal.ts";
import { seeded } from "../support/random.ts";

const esc = "\u001b";
const passed: Record<string, string> = {
  "plain ü 🙂\tx\r\ny\bz": "plain ü 🙂\tx\r\ny\bz",
  [`${esc}[31mred${esc}[0m ${esc}[m ${esc}[1;38:2::1:2:3mx${esc}[0m`]: `${esc}[31mred${esc}[0m ${esc}[m ${esc}[1;38:2::1:2:3mx${esc}[0m`,
  "\u009b32mgreen\u009b0m": `${esc}[32mgreen${esc}[0m`,
  [`a${esc}]0;title\u0007b${esc}]52;c;ZXZpbA==${esc}\\c\u009d2;t\u009cd`]: "abcd",
  [`a${esc}[?1049hb${esc}[?1000h${esc}[2J${esc}[3;4Hc`]: "abc",
  [`a${esc}[c${esc}[>c${esc}[6n${esc}]10;?${esc}\\${esc}]4;1;?\u0007${esc}[21tb`]: "ab",
  [`a${esc}P$qm${esc}\\${esc}Pq#0!9~-${esc}\\${esc}_G${esc}\\${esc}^p${esc}\\${esc}Xs${esc}\\b\u0090$qm\u009cc`]:
    "abc",
  [`a${esc}cb${esc}(0c${esc}#8d${esc}7e${esc}%Gf`]: "abcdef",
  [`a${esc}[>4;2mb${esc}[?4mc${esc}[1 me${esc}[${"1;".repeat(200)}mf`]: "abcef",
  "a\u0007\u0000\u000e\u000f\u0005\u007f\u0085b": "ab",
  [`a${esc}]0;never closed\nthe next line`]: "a\nthe next line",
  [`a${esc}[31\u0018b${esc}]0;x\u001ac${esc}${esc}[31md${esc}[${esc}[0me`]: `abc${esc}[31md${esc}[0me`,
  [`${esc}]0;x${esc}]52;c;${esc}[35my${esc}[0m`]: `${esc}[35my${esc}[0m`,
};

test("colours, ends of lines and tabs get through, and nothing that the terminal acts on otherwise", () => {
  for (const [input, output] of Object.entries(passed))
    assert.equal(new TerminalFilter().write(input), output, JSON.stringify(input));
});

test("a colour that stays on ends with the output", () => {
  const filter = new TerminalFilter();
  filter.write(`${esc}[31mred`);
  assert.equal(filter.end(), `${esc}[0m`);
  filter.write(`${esc}[0m`);
  assert.equal(filter.end(), "");
});

for (const seed of [1, 2, 3]) {
  test(`it doesn't matter where the output is cut (seed ${seed})`, () => {
    const random = seeded(seed);
    const pieces = [
      ...Object.keys(passed),
      esc,
      "[",
      "]",
      "m",
      ";",
      "\\",
      "P",
      "\n",
      "\u009b",
      "\u0007",
      "é",
      "3",
    ];
    for (let round = 0; round < 300; round += 1) {
      const input = Array.from({ length: 12 }, () => pieces[random(pieces.length)]).join("");
      const whole = new TerminalFilter().write(input);
      const filter = new TerminalFilter();
      const characters = [...input];
      let output = "";
      while (characters.length > 0) output += filter.write(characters.splice(0, 1 + random(4)).join(""));
      assert.equal(output, whole);
      const rest = whole.replaceAll(new RegExp(`${esc}\\[[0-9;:]*m`, "g"), "");
      assert.match(rest, /^[\P{Cc}\n\r\t\b]*$/u);
    }
  });
}

test("JSON lines have no control characters, whatever the console has", () => {
  let written = "";
  const write = (text: string | Uint8Array) => {
    written += text;
    return true;
  };
  const out = { write, isTTY: true };
  using renderer = chooseRenderer({ output: out, own: out }, { json: true });
  renderer.show({ event: "output", text: `${esc}]0;x\u0007\u009b6n\u007fé` });
  assert.match(written, /^\P{Cc}*\n$/u);
  assert.deepEqual(JSON.parse(written), { event: "output", text: `${esc}]0;x\u0007\u009b6n\u007fé` });
});
