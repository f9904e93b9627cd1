/** The page of a failed build, as somebody sees it who clicked a link: the first screen names the cause and shows the line. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { Browser } from "playwright-core";
import { lacks } from "../support/parts.ts";
import { startBrowser, Viewer } from "./browser.ts";
import { WebLab } from "./web-lab.ts";

const skip = lacks("gearmand", "chromium");

/** What the tools print, with more around it than fits on a screen; what the page shows of it. */
const kinds: Record<string, { text: string; shows: string }> = {
  compile: {
    text: "src/spi.c:88:3: error: implicit declaration of function 'spi_send'\nmake: *** [Makefile:4: spi.o] Error 1",
    shows: "implicit declaration of function 'spi_send'",
  },
  link: {
    text: "main.c:(.text+0x1a): undefined reference to `spi_init'\ncollect2: error: ld returned 1 exit status",
    shows: "undefined reference to `spi_init'",
  },
  pytest: {
    text: "=== FAILURES ===\n    def test_timeout():\n>       assert read() == 0xffff\nE       assert 33928 == 65535\nFAILED test_spi.py::test_timeout - assert 33928 == 65535",
    shows: "E       assert 33928 == 65535",
  },
  ztest: {
    text: "START - test_spi_timeout\n FAIL - test_spi_timeout in 0.012 seconds\nPROJECT EXECUTION FAILED",
    shows: "FAIL - test_spi_timeout",
  },
  panic: {
    text: "[    3.100000] Kernel panic - not syncing: VFS: Unable to mount root fs\n[    3.100100] CPU: 0 PID: 1 Comm: swapper\n[    3.200000] ---[ end Kernel panic - not syncing: VFS ]---",
    shows: "[    3.100000] Kernel panic - not syncing",
  },
  flash: {
    text: "Open On-Chip Debugger\nError: unable to open ftdi device",
    shows: "unable to open ftdi device",
  },
};
const noise = Array.from({ length: 300 }, (_, n) => `  CC      drivers/file${n}.o`).join("\n");
const trail = Array.from({ length: 200 }, (_, n) => `cleaning up ${n}`).join("\n");

const report = `<testsuite name="all"><testcase classname="spi" name="test_ok"/>
<testcase classname="spi" name="test_spi_timeout"><failure message="expected 0x8488, got 0xffff">trace</failure></testcase></testsuite>`;

/** @param failed the names of the tests that fail */
function suite(failed: string): string {
  const cases = ["boots", "answers", "sleeps"].map((name) => {
    const failure = failed.includes(name) ? '<failure message="no"/>' : "";
    return `<testcase classname="spi" name="${name}">${failure}</testcase>`;
  });
  return `<testsuite name="all">${cases.join("")}</testsuite>`;
}

const yaml = `
jobs:
${Object.keys(kinds)
  .map((kind) => `  ${kind}: { run: "cat ../../../${kind}.txt; exit 1" }`)
  .join("\n")}
  junit: { run: "cp ../../../report.xml . && exit 1", junit: ["*.xml"] }
  spi: { run: "cp ../../../spi-$RUN.xml report.xml && exit $CODE", junit: [report.xml], parameters: [RUN, CODE] }
  timeout: { run: "echo waiting for the lock; sleep 100000", timeout: 1s }
  quiet: { run: "exit 3" }
  fine: { run: "echo 'error: not really'" }
`;

let lab: WebLab;
let browser: Browser;

before(async () => {
  if (skip) return;
  lab = await WebLab.start(yaml);
  browser = await startBrowser();
  const { stateDir } = lab.agent;
  await writeFile(join(stateDir, "report.xml"), report);
  for (const [run, failed] of ["", "boots", "boots answers"].entries())
    await writeFile(join(stateDir, `spi-${run}.xml`), suite(failed));
  for (const [run, code] of [0, 1, 1].entries())
    await lab.run("spi", `spi-${run}`, { RUN: `${run}`, CODE: `${code}` });
  for (const [kind, { text }] of Object.entries(kinds))
    await writeFile(join(stateDir, `${kind}.txt`), `${noise}\n${text}\n${trail}\n`);
  for (const job of [...Object.keys(kinds), "junit", "timeout", "quiet", "fine"])
    await lab.run(job, `${job}-1`);
});

after(async () => {
  await browser?.close();
  await lab?.[Symbol.asyncDispose]();
});

const shown: readonly (readonly [string, string])[] = [
  ...Object.entries(kinds).map(([kind, { shows }]) => [kind, shows] as const),
  ["junit", "expected 0x8488, got 0xffff"],
  ["timeout", "waiting for the lock"],
];

for (const viewport of [
  { width: 1440, height: 900 },
  { width: 390, height: 844 },
]) {
  test(`the first screen says why, ${viewport.width} pixels wide`, { skip }, async (t) => {
    await using viewer = await Viewer.open(browser, lab.url, { viewport });
    for (const [job, text] of shown) {
      await t.test(job, async () => {
        await viewer.go(`/builds/${job}/1`);
        const line = viewer.page.locator(".why").getByText(text).first();
        await line.waitFor();
        const box = await line.boundingBox();
        assert.ok(box && box.y >= 0 && box.y + box.height <= viewport.height, `${JSON.stringify(box)}`);
        await viewer.accessible();
        await viewer.screenshot(`why-${job}-${viewport.width}`);
      });
    }
  });
}

test("the console opens at the first error; e and E go to the next and the previous", { skip }, async () => {
  await using viewer = await Viewer.open(browser, lab.url);
  const { page } = viewer;
  await viewer.go("/builds/compile/1");
  await viewer.reads("implicit declaration");
  await page.keyboard.press("e");
  await page.waitForURL("**#L301");
  await page.keyboard.press("e");
  await page.waitForURL("**#L302");
  await page.locator(".row.marked", { hasText: "make: ***" }).waitFor();
  await page.keyboard.press("E");
  await page.waitForURL("**#L301");
  await page.getByText("1 of 2").waitFor();
});

test("the steps of a build, and in which it ended", { skip }, async () => {
  await using viewer = await Viewer.open(browser, lab.url);
  await viewer.go("/builds/compile/1");
  const steps = viewer.page.getByRole("list", { name: "Steps" }).getByRole("listitem");
  assert.match(await steps.nth(0).innerText(), /^run [\d.]+ m?s failed/);
  assert.match(await steps.nth(1).innerText(), /^collect [\d.]+ m?s$/);
});

test("a line of the excerpt leads to its place in the console", { skip }, async () => {
  await using viewer = await Viewer.open(browser, lab.url);
  await viewer.go("/builds/panic/1");
  await viewer.reads("Kernel panic");
  await viewer.page.locator(".excerpt").getByRole("link", { name: "Line 302" }).click();
  await viewer.page.locator(".row.marked", { hasText: "swapper" }).waitFor();
});

test("a build that passed, or printed nothing, needs no explanation", { skip }, async () => {
  for (const job of ["fine", "quiet"]) {
    const { body } = await lab.get(`/builds/${job}/1`);
    assert.ok(!body.includes("why-section"), job);
  }
});

test("since when the job and each of its tests fail", { skip }, async () => {
  await using viewer = await Viewer.open(browser, lab.url);
  await viewer.go("/builds/spi/3");
  const { page } = viewer;
  assert.match(
    await page.locator(".trend").innerText(),
    /^2 failures in a row, since #2; passed last in #1, .+ ago$/,
  );
  const tests = page.getByRole("region", { name: "Test cases" }).locator("tbody tr");
  assert.match(await tests.nth(0).innerText(), /boots.*since #2/s);
  assert.match(await tests.nth(1).innerText(), /answers.*new/s);
  await viewer.accessible();
  await page.locator(".trend").getByRole("link", { name: "#2" }).click();
  await page.waitForURL("**/builds/spi/2");
  assert.match(await page.locator(".trend").innerText(), /^the first failure; passed last in #1/);
});

test("the API lists the lines that report errors", { skip }, async () => {
  const { hits, next } = await lab.json("/api/builds/compile/1/errors");
  assert.equal(next, null);
  assert.deepEqual(
    (hits as { n: number; text: string }[]).map(({ n, text }) => [n, text.slice(0, 15)]),
    [
      [300, "src/spi.c:88:3:"],
      [301, "make: *** [Make"],
    ],
  );
});
