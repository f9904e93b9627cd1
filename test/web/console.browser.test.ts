/** The console in Chromium: what programs print, links to lines, search, times, large consoles, boards, keyboard use. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import type { Socket } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { execa } from "execa";
import type { Browser } from "playwright-core";
import { becomes } from "../support/boards.ts";
import { lacks } from "../support/parts.ts";
import { bounded, type RunningRawServer, startRawServer } from "../support/servers.ts";
import { startBrowser, Viewer } from "./browser.ts";
import { WebLab } from "./web-lab.ts";

const skip = lacks("gearmand", "chromium");

const colourful = [
  "\u001b[31mred\u001b[0m and \u001b[1;38;2;120;200;80mtrue\u001b[0m \u001b[48;5;24m256\u001b[0m \u001b[7minverse\u001b[0m",
  "<script>document.title = 'taken over'</script><img src=x onerror=alert(1)>",
  "wide: |日本語|한국어|🎉|",
  "same: |------|------|--|",
  "0 %\r50 %\r100 %",
  "link: \u001b]8;;javascript:alert(1)\u0007here\u001b]8;;\u0007",
  "\u001b[30;41m black on red \u001b[0m \u001b[37;44m white on blue \u001b[0m \u001b[30;42m PASS \u001b[0m \u001b[90mgrey\u001b[0m",
].join("\n");

/** Lines of the large console: over 100 MB at about 70 bytes each. */
const many = 1_600_000;

const yaml = (board: number) => `
builds: { max-console: 256MiB }
jobs:
  colourful: { run: "cat ../../../colourful" }
  large: { run: "seq -f 'line %.0f of a console that is larger than what any browser would hold' 1 ${many}" }
  sections:
    run: |
      echo start
      for name in one two; do echo "::group::Part $name"; seq -f "$name %.0f" 1 500; echo "::endgroup::"; done
      echo '--- a heading'; echo below
  two-parts: { run: "seq -f 'first %.0f' 1 3000; read line < ../../../words; seq -f 'second %.0f' 1 3000" }
  ask-board:
    nodes: [talker]
    steps:
      - send: "go"
      - expect: "answer"
        timeout: 20s
      - expect: "enough"
        timeout: 60s
devices:
  board-1:
    classes: [talker]
    port: "tcp://127.0.0.1:${board}"
    console: raw
`;

let lab: WebLab;
let browser: Browser;
let board: RunningRawServer;
/** The agent's connection to the board. */
let line: Socket;

before(async () => {
  if (skip) return;
  board = await startRawServer((socket) => {
    line = socket;
    socket.write("U-Boot 2023.01\r\nsaid before the build\r\n");
    socket.on("data", (bytes) => {
      if (bytes.includes("go")) socket.write("\u001b[32manswer\u001b[0m\r\n");
    });
  });
  lab = await WebLab.start(yaml(board.port));
  browser = await startBrowser();
  await writeFile(join(lab.agent.stateDir, "colourful"), colourful);
  await lab.run("colourful", "colourful-1");
  await lab.run("sections", "sections-1");
});

after(async () => {
  await browser?.close();
  await lab?.[Symbol.asyncDispose]();
  await board?.[Symbol.asyncDispose]();
});

test("colours, wide characters, and a script that stays text", { skip }, async () => {
  await using viewer = await Viewer.open(browser, lab.url);
  const { page } = viewer;
  await viewer.go("/builds/colourful/1");
  await viewer.reads("red and true");
  assert.deepEqual((await viewer.lines()).slice(0, 6), [
    "red and true 256 inverse",
    "<script>document.title = 'taken over'</script><img src=x onerror=alert(1)>",
    "wide: |日本語|한국어|🎉|",
    "same: |------|------|--|",
    "100 %",
    "link: here",
  ]);
  assert.equal(await page.title(), "SUCCESS: colourful#1 · box");
  const color = (selector: string) =>
    page.evaluate<string>(`getComputedStyle(document.querySelector(${JSON.stringify(selector)})).color`);
  assert.equal(await color(".row .f1"), "rgb(255, 123, 114)");
  assert.equal(await color(".row .sgr-bold"), "rgb(120, 200, 80)");
  const right = (n: number) =>
    page.evaluate<number>(`document.querySelectorAll(".row .text")[${n}].getBoundingClientRect().width`);
  assert.ok(Math.abs((await right(2)) - (await right(3))) < 1.5, "a wide character is two columns wide");
  await viewer.screenshot("console-colours");
  await viewer.accessible();
});

test("a large console opens at its end, at any linked line, and at a match of a search", {
  skip,
}, async () => {
  await lab.run("large", "large-1");
  await using viewer = await Viewer.open(browser, lab.url);
  const { page } = viewer;
  await viewer.go("/builds/large/1");
  await viewer.reads(`line ${many} of`);
  await viewer.go("/builds/large/1#L800000");
  await viewer.reads("line 800000 of");
  assert.match(await page.locator(".row.marked").innerText(), /800000/);
  const search = page.getByRole("searchbox", { name: "Search the console" });
  await search.fill("LINE 1234567 of");
  await search.press("Enter");
  await viewer.reads("line 1234567 of");
  assert.match(await page.locator(".count").innerText(), /^1 of 1/);
  assert.match(page.url(), /#L1234567$/);
  await viewer.screenshot("console-large");
  await page.locator(".scroller").hover();
  await page.mouse.wheel(0, 180);
  await viewer.reads("line 1234590 of");
  assert.ok((await page.locator(".row").count()) < 200, "only lines near the visible ones are rendered");
  await page.evaluate("document.querySelector('.scroller').scrollTop = 0");
  await viewer.reads("line 1 of");
});

test("sections fold: one by one, all at once; a search unfolds what it finds", { skip }, async () => {
  await using viewer = await Viewer.open(browser, lab.url);
  const { page } = viewer;
  await viewer.go("/builds/sections/1");
  await viewer.reads("below");
  await page.getByRole("button", { name: "Fold", exact: true }).waitFor();
  await page.keyboard.press("z");
  await page.getByRole("button", { name: "Part two 501 lines" }).waitFor();
  assert.deepEqual(await viewer.lines(), [
    "start",
    "Part one 501 lines",
    "Part two 501 lines",
    "a heading 1 line",
  ]);
  await viewer.screenshot("console-folded");
  await viewer.accessible();
  const first = page.getByRole("button", { name: "Part one" });
  await first.press("Enter");
  await viewer.reads("one 1");
  assert.equal(await first.getAttribute("aria-expanded"), "true");
  assert.equal(await page.evaluate("document.activeElement.textContent"), "Part one", "focus stays");
  await page.getByRole("searchbox", { name: "Search the console" }).fill("two 250");
  await page.keyboard.press("Enter");
  await viewer.reads("two 250");
  await page.keyboard.press("Escape");
  await page.keyboard.press("G");
  await page.getByRole("button", { name: "a heading 1 line" }).waitFor();
});

test("a search finds as one types, and goes on in both directions from where one is", { skip }, async () => {
  await using viewer = await Viewer.open(browser, lab.url);
  const { page } = viewer;
  await viewer.go("/builds/sections/1");
  await viewer.reads("below");
  await page.keyboard.press("g");
  await viewer.reads("start");
  const search = page.getByRole("searchbox", { name: "Search the console" });
  await search.pressSequentially("00");
  await page.waitForURL("**#L102");
  await viewer.reads("one 100");
  await search.press("Escape");
  await page.keyboard.press("G");
  await viewer.reads("below");
  await page.keyboard.press("N");
  await page.waitForURL("**#L1004");
  await page.locator(".count", { hasText: "10 of 10" }).waitFor();
  await page.keyboard.press("n");
  await page.waitForURL("**#L102");
  await page.locator(".count", { hasText: "1 of 10" }).waitFor();
});

test("a console as text without escapes, to read and to keep", { skip }, async () => {
  const { body, headers } = await lab.get("/builds/colourful/1/console?plain");
  assert.match(`${headers["content-type"]}`, /^text\/plain/);
  const text = body.toString();
  assert.match(text, /^red and true 256 inverse\n<script>/);
  assert.match(text, /\n100 %\nlink: here\n/);
  const { headers: kept } = await lab.get("/builds/colourful/1/console?download");
  assert.match(`${kept["content-disposition"]}`, /^attachment; filename=.*colourful-1\.txt/);
});

test("a reader further up stays there while output arrives, and a key follows it again", {
  skip,
}, async () => {
  const words = join(lab.agent.stateDir, "words");
  await execa("mkfifo", [words]);
  const build = await lab.submit("two-parts", "parts-1");
  await using viewer = await Viewer.open(browser, lab.url);
  const { page } = viewer;
  await viewer.go("/builds/two-parts/1");
  await viewer.reads("first 3000");
  const follow = page.getByRole("button", { name: "Follow" });
  assert.equal(await follow.getAttribute("aria-pressed"), "true");
  await page.keyboard.press("g");
  await viewer.reads("first 1");
  assert.equal(await follow.getAttribute("aria-pressed"), "false");
  const icon = () => page.locator("link[rel=icon]").getAttribute("href");
  assert.match(`${await icon()}`, /icon-busy/);
  await page.keyboard.press("/");
  await page.keyboard.type("second 2999");
  await page.locator(".count", { hasText: "no matches" }).waitFor();
  await page.keyboard.press("Escape");
  await writeFile(words, "on\n");
  await bounded(build.ended);
  await page.getByRole("status").getByText("The build has ended: SUCCESS.").waitFor({ state: "attached" });
  await page.locator("h1 .badge", { hasText: "SUCCESS" }).waitFor();
  assert.equal((await viewer.lines())[0], "first 1");
  await page.locator("link[rel=icon][href*=icon-good]").waitFor({ state: "attached" });
  await page.keyboard.press("n");
  await page.waitForURL("**#L5999");
  await page.keyboard.press("f");
  await viewer.reads("second 3000");
  assert.equal((await page.locator(".row .n").last().innerText()).trim(), "6000");
});

test("times on demand, and everything by keyboard", { skip }, async () => {
  await using viewer = await Viewer.open(browser, lab.url);
  const { page } = viewer;
  await viewer.go("/");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate("document.activeElement.id"), "main");
  for (let n = 0; n < 20; n++) {
    await page.keyboard.press("Tab");
    if ((await page.evaluate("document.activeElement.textContent")) === "colourful#1") break;
  }
  await page.keyboard.press("Enter");
  await page.waitForURL("**/builds/colourful/1");
  await viewer.reads("red and true");
  assert.ok(await page.locator(".row .at").first().isHidden());
  await page.keyboard.press("t");
  assert.match(await page.locator(".row .at").first().innerText(), /^\d\d:\d\d:\d\d\.\d\d\d$/);
  await page.keyboard.press("t");
  await page.getByRole("button", { name: "Since start" }).waitFor();
  await page
    .locator(".row .at", { hasText: /^\+\d+\.\d{3}$/ })
    .first()
    .waitFor();
  await page.keyboard.press("/");
  await page.keyboard.type("pass");
  await page.keyboard.press("Enter");
  await page.locator(".count", { hasText: "1 of 1" }).waitFor();
  await page.keyboard.press("Escape");
  assert.equal(await page.evaluate("document.activeElement.className"), "scroller with-times");
  await page.keyboard.press("?");
  await page.getByRole("dialog", { name: "Keyboard shortcuts" }).waitFor();
  await viewer.screenshot("shortcuts");
  await viewer.accessible();
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "hidden" });
  await page.keyboard.press("o");
  await page.waitForURL(`${lab.url}/`);
});

test("a board's console is live, and dims what is older than the build", { skip }, async () => {
  await becomes(lab.agent, "board-1", "ready");
  await using viewer = await Viewer.open(browser, lab.url);
  const { page } = viewer;
  await viewer.go("/devices/board-1");
  await viewer.reads("said before the build");
  assert.equal(await page.locator(".row.before").count(), 0);
  const build = await lab.submit("ask-board", "ask-1");
  await viewer.reads("answer");
  await page.locator("h1 .badge", { hasText: "busy" }).waitFor();
  await page.locator(".row.before", { hasText: "said before the build" }).waitFor();
  assert.equal(await page.locator(".row.before", { hasText: "answer" }).count(), 0);
  await viewer.screenshot("device");
  await viewer.accessible();
  line.write("enough\r\n");
  await bounded(build.ended);
  await page.locator("h1 .badge", { hasText: "ready" }).waitFor();
  await page.getByRole("link", { name: "ask-board#1" }).waitFor();
});
