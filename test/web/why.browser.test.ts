/** The page of a failed build, as somebody sees it who clicked a link: the first screen names the cause and shows the line. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { Browser } from "playwright-core";
import { folder, Repository } from "../builds/checkout/git-parts.ts";
import { lacks } from "../support/parts.ts";
import { type RunningRawServer, startRawServer } from "../support/servers.ts";
import { startBrowser, Viewer } from "./browser.ts";
import { WebLab } from "./web-lab.ts";

const skip = lacks("gearmand", "chromium", "git");

/** What the tools print, in output/, with more around it than fits on a screen; what the page shows of it. */
const kinds: Record<string, string> = {
  compile: "src/spi.c:4:11: error: expected ‘;’ before ‘return’",
  link: "undefined reference to `spi_init'",
  pytest: "E       assert 33928 == 65535",
  ztest: "FAIL - test_spi_timeout",
  panic: "[    2.887883] Kernel panic - not syncing",
  flash: "Failed to connect to ESP32: No serial data received.",
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

const yaml = (board: number, gone: number) => `
jobs:
${Object.keys(kinds)
  .filter((kind) => kind !== "flash")
  .map((kind) => `  ${kind}: { run: "cat ../../../${kind}.txt; exit 1" }`)
  .join("\n")}
  flash: { nodes: [mcu], firmware: { flash: "cat ../../../flash.txt; exit 2", verdict: zephyr } }
  unplugged: { nodes: [gone], steps: [{ send: go }, { expect: "never" }] }
  checkout: { checkout: true, run: make }
  junit: { run: "cp ../../../report.xml . && exit 1", junit: ["*.xml"] }
  spi: { run: "cp ../../../spi-$RUN.xml report.xml && exit $CODE", junit: [report.xml], parameters: [RUN, CODE] }
  timeout: { run: "echo waiting for the lock; sleep 100000", timeout: 5s }
  quiet: { run: "exit 3" }
  fine: { run: "echo 'error: not really'" }
devices:
  mcu-1: { classes: [mcu], port: "tcp://127.0.0.1:${board}", console: raw }
  gone-1: { classes: [gone], port: "tcp://127.0.0.1:${gone}", console: raw }
`;

const resources = new AsyncDisposableStack();
let lab: WebLab;
let browser: Browser;

before(async () => {
  if (skip) return;
  const board = resources.use(await startRawServer(() => {}));
  const gone: RunningRawServer = await startRawServer((socket) => {
    socket.on("data", () => void gone[Symbol.asyncDispose]());
  });
  lab = resources.use(await WebLab.start(yaml(board.port, gone.port)));
  browser = await startBrowser();
  resources.defer(() => browser.close());
  const { stateDir } = lab.agent;
  await writeFile(join(stateDir, "report.xml"), report);
  for (const [run, failed] of ["", "boots", "boots answers"].entries())
    await writeFile(join(stateDir, `spi-${run}.xml`), suite(failed));
  for (const [run, code] of [0, 1, 1].entries())
    await lab.run("spi", `spi-${run}`, { RUN: `${run}`, CODE: `${code}` });
  for (const kind of Object.keys(kinds)) {
    const text = await readFile(new URL(`output/${kind}.txt`, import.meta.url), "utf8");
    await writeFile(join(stateDir, `${kind}.txt`), `${noise}\n${text}\n${trail}\n`);
  }
  for (const job of [...Object.keys(kinds), "junit", "timeout", "quiet", "fine", "unplugged"])
    await lab.run(job, `${job}-1`);
  const { path } = resources.use(await folder());
  const repository = await Repository.make(path);
  await repository.commit({ version: "one\n" });
  const change = { ZUUL_PROJECT: "org/project", ZUUL_REF: "refs/heads/master", ZUUL_COMMIT: "c".repeat(40) };
  await lab.run("checkout", "checkout-1", { ZUUL_URL: `file://${path}`, ZUUL_BRANCH: "master", ...change });
});

after(() => resources.disposeAsync());

/** For each kind the line that the first screen shows, and the cause that it names. */
const shown: readonly (readonly [job: string, line: string, cause: RegExp])[] = [
  ...Object.entries(kinds).map(
    ([kind, line]) =>
      [kind, line, kind === "flash" ? /^flash-failed: / : /^the job ended with exit code 1$/] as const,
  ),
  ["junit", "expected 0x8488, got 0xffff", /^the job ended with exit code 1$/],
  ["timeout", "waiting for the lock", /^the job's timeout of 5s ran out$/],
  ["unplugged", 'step 2 of 2, expect "never"', /^unplugged: .* closed the connection$/],
  ["checkout", "not our ref cccc", /no longer has the commit cccc/],
];

for (const viewport of [
  { width: 1440, height: 900 },
  { width: 390, height: 844 },
]) {
  for (const [job, text, cause] of shown) {
    test(`${job}: the first screen says why, ${viewport.width} pixels wide`, { skip }, async () => {
      await using viewer = await Viewer.open(browser, lab.url, { viewport });
      await viewer.go(`/builds/${job}/1`);
      const named = viewer.page.locator(".cause").first();
      assert.match(await named.innerText(), cause);
      const line = viewer.page.locator(".why").getByText(text).first();
      await line.waitFor();
      for (const one of [named, line]) {
        const box = await one.boundingBox();
        assert.ok(box && box.y >= 0 && box.y + box.height <= viewport.height, `${JSON.stringify(box)}`);
      }
      await viewer.accessible();
      await viewer.screenshot(`why-${job}-${viewport.width}`);
    });
  }
}

test("the console opens at the first error; e and E go to the next and the previous", { skip }, async () => {
  await using viewer = await Viewer.open(browser, lab.url);
  const { page } = viewer;
  await viewer.go("/builds/compile/1");
  await viewer.reads("error: expected");
  await page.keyboard.press("e");
  await page.waitForURL("**#L308");
  await page.keyboard.press("e");
  await page.waitForURL("**#L317");
  await page.locator(".row.marked", { hasText: "make: ***" }).waitFor();
  await page.keyboard.press("E");
  await page.waitForURL("**#L308");
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
  await viewer.page.locator(".excerpt").getByRole("link", { name: "Line 304" }).click();
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
      [307, "\u001b[01m\u001b[Ksrc/spi"],
      [316, "make: *** [Make"],
    ],
  );
});
