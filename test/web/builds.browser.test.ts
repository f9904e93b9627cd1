/** Finding builds: the list and its filters, what a build tests and where that leads, and the addresses that people type. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Browser } from "playwright-core";
import { lacks } from "../support/parts.ts";
import { startBrowser, Viewer } from "./browser.ts";
import { WebLab } from "./web-lab.ts";

const skip = lacks("gearmand", "chromium");

const yaml = `
host: { executors: 2 }
links:
  project: "https://review.example.org/q/project:{project}"
  change: "https://review.example.org/c/{project}/+/{change}/{patchset}"
  commit: "https://git.example.org/{project}/commit/{commit}"
  source: "https://git.example.org/{project}/blob/{branch}/{path}#L{line}"
jobs:
  unit: { run: 'echo "src/spi.c:88:3: error: no, see https://example.org/why."; test "$ZUUL_PATCHSET" != 2' }
  quick: { run: "true" }
  never: { run: "true" }
`;

const change = {
  ZUUL_PROJECT: "lab/firmware",
  ZUUL_BRANCH: "main",
  ZUUL_CHANGE: "1234",
  ZUUL_PIPELINE: "check",
};

let lab: WebLab;
let browser: Browser;

before(async () => {
  if (skip) return;
  lab = await WebLab.start(yaml);
  browser = await startBrowser();
  for (const patchset of ["1", "2", "3", "4"])
    await lab.run("unit", `unit-${patchset}`, { ...change, ZUUL_PATCHSET: patchset });
  await lab.run("unit", "odd", { ...change, ZUUL_PROJECT: "../../evil", ZUUL_PATCHSET: "2" });
  await lab.run("quick", "quick-1");
});

after(async () => {
  await browser?.close();
  await lab?.[Symbol.asyncDispose]();
});

test("the list, filtered by a form and by the address", { skip }, async () => {
  await using viewer = await Viewer.open(browser, lab.url);
  const { page } = viewer;
  await viewer.go("/");
  await page.getByRole("link", { name: "Builds", exact: true }).click();
  await viewer.sees("1 to 6 of 6, newest first.");
  await viewer.accessible();
  await viewer.screenshot("builds");
  await page.getByLabel("result").fill("FAILURE");
  await page.getByLabel("project").fill("lab/firmware");
  await page.getByRole("button", { name: "Filter" }).click();
  await viewer.sees("1 to 1 of 1, newest first.");
  await page.getByRole("link", { name: "lab/firmware 1234,2 (main)" }).waitFor();
  await page.getByRole("link", { name: "unit#2" }).click();
  await page.waitForURL("**/builds/unit/2");
  await viewer.go("/builds?change=1234,9");
  await viewer.sees("No builds match.");
});

test("the list on a phone", { skip }, async () => {
  await using viewer = await Viewer.open(browser, lab.url, { viewport: { width: 320, height: 640 } });
  await viewer.go("/builds");
  await viewer.sees("1 to 6 of 6");
  await viewer.accessible();
  await viewer.screenshot("builds-320");
  const isWide = await viewer.page.evaluate(
    "document.documentElement.scrollWidth > document.documentElement.clientWidth",
  );
  assert.equal(isWide, false);
});

test("what a build tests is in its facts, with links where the configuration has them", {
  skip,
}, async () => {
  await using viewer = await Viewer.open(browser, lab.url);
  await viewer.go("/builds/unit/2");
  const facts = viewer.page.locator(".facts");
  const review = facts.getByRole("link", { name: "1234,2" });
  assert.equal(await review.getAttribute("href"), "https://review.example.org/c/lab/firmware/+/1234/2");
  await facts.getByText("check", { exact: true }).waitFor();
  assert.match(await viewer.page.title(), /^FAILURE: unit#2 · /);
});

test("a project's name can't change where a link leads", { skip }, async () => {
  const { body } = await lab.get("/builds/unit/5");
  assert.ok(body.includes("../../evil"));
  assert.ok(!body.includes("review.example.org"));
});

const redirects: [string, number, string?][] = [
  ["/builds/unit", 302, "/jobs/unit"],
  ["/builds/unit-3", 302, "/builds/unit/3"],
  ["/builds/unit/latest", 302, "/builds/unit/5"],
  ["/builds/unit/latest-passed", 302, "/builds/unit/4"],
  ["/builds/unit/2/", 301, "/builds/unit/2"],
  ["/builds/", 301, "/builds"],
  ["//evil.example/", 301, "/evil.example"],
  ["/\\evil.example/", 400],
  ["/builds/never/latest", 404],
  ["/builds/nothing", 404],
  ["/builds?since=yesterday", 400],
  ["/builds?page=0", 400],
];
for (const [path, status, location] of redirects) {
  test(`${path} ${status} ${location ?? ""}`, { skip }, async () => {
    const answer = await lab.get(path);
    assert.equal(answer.status, status);
    if (location !== undefined)
      assert.equal(new URL(`${answer.headers.location}`, lab.url).pathname, location);
  });
}

test("the API and the command line filter alike", { skip }, async () => {
  const { builds, total } = await lab.json("/api/builds?project=lab/firmware&result=SUCCESS&limit=2&skip=1");
  assert.equal(total, 3);
  assert.deepEqual(
    (builds as { number: number }[]).map(({ number }) => number),
    [3, 1],
  );
  const listed = await lab.agent.command(
    "builds",
    "unit",
    "--project",
    "lab/firmware",
    "--result",
    "success",
    "--json",
  );
  assert.deepEqual(
    JSON.parse(listed.stdout).map(({ number }: { number: number }) => number),
    [4, 3, 1],
  );
  const refused = await lab.agent.command("builds", "--since", "yesterday");
  assert.equal(refused.exitCode, 1);
  assert.match(refused.stderr, /since must be a time such as/);
});

test("places in the source and addresses in the output are links, in the excerpt too", { skip }, async () => {
  await using viewer = await Viewer.open(browser, lab.url);
  await viewer.go("/builds/unit/2");
  await viewer.reads("src/spi.c:88");
  for (const place of [".excerpt", ".row"]) {
    const link = (name: string) =>
      viewer.page.locator(place).getByRole("link", { name, exact: true }).first().getAttribute("href");
    assert.equal(await link("src/spi.c:88"), "https://git.example.org/lab/firmware/blob/main/src/spi.c#L88");
    assert.equal(await link("https://example.org/why"), "https://example.org/why");
  }
  await viewer.accessible();
  await viewer.go("/builds/unit/5");
  await viewer.reads("src/spi.c:88");
  assert.equal(await viewer.page.getByRole("link", { name: "src/spi.c:88" }).count(), 0, "../../evil");
});
