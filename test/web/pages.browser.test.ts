/** The pages in Chromium, from the overview to an artifact: live, narrow and wide, light and dark, accessible. */
import assert from "node:assert/strict";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { execa } from "execa";
import type { Browser } from "playwright-core";
import { labgear } from "../support/agent.ts";
import { startWorker, submitDetached } from "../support/gearman.ts";
import { lacks } from "../support/parts.ts";
import { bounded } from "../support/servers.ts";
import { startBrowser, Viewer } from "./browser.ts";
import { WebLab } from "./web-lab.ts";

const skip = lacks("gearmand", "chromium");

const report = `<testsuite name="all"><testcase classname="net" name="sends" time="0.5"/>
<testcase classname="boot" name="boots &lt;b&gt;fast&lt;/b&gt;" time="1.2"><failure message="expected 4, was 5">at line 12</failure></testcase>
<testcase classname="net" name="has no camera"><skipped message="no camera"/></testcase></testsuite>`;

const yaml = `
host: { executors: 2 }
jobs:
  full:
    run: |
      echo 'the console says hello'
      mkdir -p reports out
      cp "$LABGEAR_WORKSPACE/../../../report.xml" reports/
      printf 'what was built' > out/image.txt
      exit 1
    artifacts: ["out/*"]
    junit: ["reports/*.xml"]
  live: { run: 'echo begun; read line < ../../../words; echo "heard $line"; sleep 300' }
  quick: { run: "true" }
  steady: { run: "sleep 1; while [ -e ../../../hold ]; do sleep 0.05; done" }
`;

const pages = [
  ["/", "Recent builds"],
  ["/builds", "full#1"],
  ["/jobs/quick", "3 builds kept"],
  ["/builds/full/1", "Artifacts"],
  ["/lab", "no node takes this"],
] as const;

let lab: WebLab;
let browser: Browser;

before(async () => {
  if (skip) return;
  lab = await WebLab.start(yaml);
  browser = await startBrowser();
  await writeFile(join(lab.agent.stateDir, "report.xml"), report);
  await lab.run("full", "full-1", { ZUUL_PROJECT: "a <b>project</b>", ZUUL_BRANCH: "main" });
  // Waits in the lab: no node takes it.
  await submitDetached({ host: "127.0.0.1", port: lab.gearmand }, "build:quick:nothing");
  for (const unique of ["quick-1", "quick-2", "quick-3"]) await lab.run("quick", unique);
});

after(async () => {
  await browser?.close();
  await lab?.[Symbol.asyncDispose]();
});

test("from the overview to a running build, its stop and its end, live", { skip }, async () => {
  const words = join(lab.agent.stateDir, "words");
  await execa("mkfifo", [words]);
  await using viewer = await Viewer.open(browser, lab.url);
  const { page } = viewer;
  await viewer.go("/");
  await page.getByText("No builds are running.").waitFor();
  const build = await lab.submit("live", "live-1");
  const running = page.getByRole("region", { name: "Running" });
  await running.getByRole("link", { name: "live#1" }).click();
  await page.waitForURL("**/builds/live/1");
  await viewer.reads("begun");
  await page.locator("h1 .badge", { hasText: "running" }).waitFor();
  await writeFile(words, "a word\n");
  await viewer.reads("heard a word");
  await viewer.screenshot("build-running");
  await viewer.accessible();
  const stopped = await labgear(["stop", "box", "live#1", "--server", `127.0.0.1:${lab.gearmand}`]);
  assert.equal(stopped.exitCode, 0, stopped.stderr);
  await bounded(build.ended);
  await page.locator("h1 .badge", { hasText: "ABORTED" }).waitFor();
  assert.ok((await viewer.lines()).includes("heard a word"), "the console stays");
});

test("an agent that hangs doesn't look alive, and is live again with its next sign of life", {
  skip,
}, async () => {
  const words = join(lab.agent.stateDir, "words");
  const build = await lab.submit("live", "live-2");
  await using viewer = await Viewer.open(browser, lab.url);
  const { page } = viewer;
  await page.clock.install();
  await viewer.go(`/builds/live/${(await build.started).number}`);
  const connection = page.locator("#live");
  await connection.getByText("live", { exact: true }).waitFor();
  lab.agent.child.kill("SIGSTOP");
  try {
    await page.clock.fastForward(21_000);
    await connection.getByText("no sign of life for 20 s").waitFor();
    assert.equal(await page.evaluate("document.documentElement.className"), "stale");
    await viewer.screenshot("no-sign-of-life");
  } finally {
    lab.agent.child.kill("SIGCONT");
  }
  await writeFile(words, "again\n");
  await viewer.reads("heard again");
  await connection.getByText("live", { exact: true }).waitFor();
  assert.equal(await page.evaluate("document.documentElement.className"), "");
  const stopped = await labgear(["stop", "box", "live-2", "--server", `127.0.0.1:${lab.gearmand}`]);
  assert.equal(stopped.exitCode, 0, stopped.stderr);
  await bounded(build.ended);
  await page.locator("h1 .badge", { hasText: "ABORTED" }).waitFor();
  assert.equal(await connection.innerText(), "", "nothing says live about a build that has ended");
});

test("a job with earlier runs shows progress and the time left", { skip }, async () => {
  await lab.run("steady", "steady-1");
  const hold = join(lab.agent.stateDir, "hold");
  await writeFile(hold, "");
  await using viewer = await Viewer.open(browser, lab.url);
  const { page } = viewer;
  await viewer.go("/");
  const build = await lab.submit("steady", "steady-2");
  const row = page.getByRole("region", { name: "Running" }).getByRole("row", { name: "steady#2" });
  await row.getByText(/\d+ s left|\d+ s over the usual \d+ s/).waitFor();
  await row.getByRole("progressbar", { name: "Progress of steady#2" }).waitFor();
  await rm(hold);
  await bounded(build.ended);
  const recent = page.getByRole("region", { name: "Recent builds" });
  await recent.getByRole("row", { name: "steady#2 SUCCESS" }).waitFor();
});

test("a finished build: result, tests with failures first, an artifact", { skip }, async () => {
  await using viewer = await Viewer.open(browser, lab.url);
  const { page } = viewer;
  await viewer.go("/");
  await page.getByRole("link", { name: "full#1" }).click();
  await page.locator("h1 .badge", { hasText: "FAILURE" }).waitFor();
  await viewer.sees("the job ended with exit code 1");
  await viewer.sees("a <b>project</b>");
  await viewer.reads("the console says hello");
  const tests = page.getByRole("region", { name: "Test cases" }).locator("tbody tr");
  assert.match(await tests.nth(0).innerText(), /failed.*boots <b>fast<\/b>.*expected 4, was 5/s);
  assert.match(await tests.nth(1).innerText(), /skipped.*no camera/s);
  assert.match(await tests.nth(2).innerText(), /passed.*sends/s);
  await tests.nth(0).getByText("Details").click();
  await viewer.sees("at line 12");
  await viewer.screenshot("build");
  await viewer.accessible();
  const [download] = await Promise.all([
    page.waitForEvent("response", (response) => response.url().endsWith("/artifacts/out/image.txt")),
    page.getByRole("link", { name: "out/image.txt" }).click(),
  ]);
  assert.equal(download.status(), 200);
});

for (const colours of ["light", "dark", "forced"] as const) {
  for (const viewport of [
    { width: 320, height: 640 },
    { width: 390, height: 844 },
    { width: 1440, height: 900 },
    { width: 3840, height: 2160 },
  ]) {
    const name = `${colours}-${viewport.width}`;
    test(`pages in ${colours} colours, ${viewport.width} pixels wide`, { skip }, async () => {
      const colorScheme = colours === "dark" ? "dark" : "light";
      const forcedColors = colours === "forced" ? "active" : "none";
      await using viewer = await Viewer.open(browser, lab.url, { colorScheme, forcedColors, viewport });
      for (const [path, text] of pages) {
        await viewer.go(path);
        await viewer.sees(text);
        if (path.startsWith("/builds/")) await viewer.reads("hello");
        await viewer.accessible();
        await viewer.screenshot(`${path.split("/")[1] || "overview"}-${name}`);
        await viewer.fits();
      }
      const ground = await viewer.page.evaluate("getComputedStyle(document.body).backgroundColor");
      if (colours !== "forced")
        assert.equal(ground, colours === "dark" ? "rgb(20, 24, 29)" : "rgb(255, 255, 255)");
    });
  }
}

test("with the reader's own font size of 28 pixels everything is larger, and fits", { skip }, async () => {
  for (const viewport of [
    { width: 390, height: 844 },
    { width: 1440, height: 900 },
  ]) {
    await using viewer = await Viewer.open(browser, lab.url, { viewport });
    const { page } = viewer;
    const session = await page.context().newCDPSession(page);
    await session.send("Page.setFontSizes", { fontSizes: { standard: 28, fixed: 28 } });
    for (const [path, text] of pages) {
      await viewer.go(path);
      await viewer.sees(text);
      const size = await page.evaluate<string>("getComputedStyle(document.body).fontSize");
      assert.ok(Number.parseFloat(size) >= 24.5, size);
      await viewer.fits();
      await viewer.screenshot(`${path.split("/")[1] || "overview"}-28px-${viewport.width}`);
    }
  }
});

test("the page of a job shows the pass rate, and its bars link to the builds", { skip }, async () => {
  await using viewer = await Viewer.open(browser, lab.url);
  await viewer.go("/jobs/quick");
  await viewer.sees("100% of the 3 shown passed");
  const bars = viewer.page.locator(".plot a");
  assert.equal(await bars.count(), 3);
  await bars.first().click();
  await viewer.page.waitForURL("**/builds/quick/1");
});

test("everything is readable without scripts", { skip }, async () => {
  await using viewer = await Viewer.open(browser, lab.url, { javaScriptEnabled: false });
  await viewer.go("/");
  await viewer.sees("full#1");
  await viewer.go("/builds/full/1");
  await viewer.sees("the console says hello");
  await viewer.sees("expected 4, was 5");
  await viewer.screenshot("build-without-script");
});

test("a missing page says so", { skip }, async () => {
  const answer = await lab.get("/builds/full/99");
  assert.equal(answer.status, 404);
  assert.match(answer.body.toString(), /<h1>404<\/h1>/);
  await using viewer = await Viewer.open(browser, lab.url);
  // The browser logs an error for a 404, so the page is loaded from its content.
  await viewer.page.setContent(answer.body.toString().replaceAll(/<(link|script)[^>]*>/g, ""));
  await viewer.accessible();
});

test("the lab: boxes, boards and what waits, live", { skip }, async () => {
  await using viewer = await Viewer.open(browser, lab.url);
  const { page } = viewer;
  await viewer.go("/lab");
  const boxes = page.getByRole("region", { name: "Boxes" });
  await boxes.getByRole("row", { name: "box up" }).waitFor();
  await page.getByRole("region", { name: "Waiting" }).getByText("build:quick:nothing").waitFor();
  await using _gone = await startWorker([{ host: "127.0.0.1", port: lab.gearmand }], ["stop:other"]);
  await boxes.getByRole("row", { name: "other away" }).waitFor();
  await viewer.screenshot("lab");
  await viewer.accessible();
});
