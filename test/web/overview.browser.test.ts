/** The overview and a board's page: what is out of order first, with what ends it; on a phone; on the wall. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { gunzipSync } from "node:zlib";
import type { Browser } from "playwright-core";
import { becomes } from "../support/boards.ts";
import { lacks } from "../support/parts.ts";
import { freePort, startRawServer } from "../support/servers.ts";
import { startBrowser, Viewer } from "./browser.ts";
import { WebLab } from "./web-lab.ts";

const skip = lacks("gearmand", "chromium");

const resources = new AsyncDisposableStack();
let lab: WebLab;
let browser: Browser;

before(async () => {
  if (skip) return;
  const board = resources.use(await startRawServer((socket) => socket.write("hello from the board\r\n")));
  const yaml = `
jobs:
  fails: { run: "echo no; exit 3" }
  works: { nodes: [boards], steps: [{ send: hello }] }
devices:
  a-good: { classes: [boards], port: "tcp://127.0.0.1:${board.port}", console: raw }
  b-gone: { classes: [boards], port: "tcp://127.0.0.1:${await freePort()}", console: raw }
`;
  lab = resources.use(await WebLab.start(yaml));
  browser = await startBrowser();
  resources.defer(() => browser.close());
  await becomes(lab.agent, "a-good", "ready");
  await becomes(lab.agent, "b-gone", "absent");
  await lab.run("fails", "fails-1");
  await lab.run("works:a-good", "works-1");
});

after(() => resources.disposeAsync());

test("what is out of order comes first, and says what ends it", { skip }, async () => {
  await using viewer = await Viewer.open(browser, lab.url);
  const { page } = viewer;
  await viewer.go("/");
  const rows = page.getByRole("region", { name: "Nodes" }).locator("tbody tr");
  assert.match(await rows.nth(0).innerText(), /^b-gone\s+absent.*connect it: the agent finds it/s);
  assert.deepEqual(await rows.locator("th").allInnerTexts(), ["b-gone", "box", "a-good"]);
  await page.getByRole("link", { name: "b-gone" }).click();
  await viewer.sees("What ends it: connect it");
  await viewer.accessible();
  await viewer.go("/devices/a-good");
  await viewer.reads("hello from the board");
  const [builds, console] = await Promise.all(
    ["Builds", "Console"].map((name) => page.getByRole("heading", { name, exact: true }).boundingBox()),
  );
  assert.ok(builds && console && builds.y < console.y, "builds come before the console");
  await viewer.screenshot("board");
});

test("on a phone the reason stands under the build, and details are folded", { skip }, async () => {
  await using viewer = await Viewer.open(browser, lab.url, { viewport: { width: 320, height: 640 } });
  const { page } = viewer;
  await viewer.go("/");
  await page.getByRole("rowheader", { name: "fails#1 the job ended with exit code 3" }).waitFor();
  await viewer.screenshot("phone");
  for (const path of ["/builds/fails/1", "/devices/a-good", "/devices/b-gone"]) {
    await viewer.go(path);
    await page.locator(".scroller").waitFor();
    await page.locator("details.more:not([open])").waitFor();
    await viewer.fits();
    await page.getByText("Details", { exact: true }).click();
    await page.locator(".facts").waitFor();
    await viewer.fits();
  }
});

test("the wall is red once its box gives no sign of life", { skip }, async () => {
  await using viewer = await Viewer.open(browser, lab.url);
  const { page } = viewer;
  await page.clock.install();
  await viewer.go("/?wall");
  await page.locator("#live").getByText("live", { exact: true }).waitFor();
  await viewer.accessible();
  await viewer.screenshot("wall");
  const ground = () => page.evaluate("getComputedStyle(document.body).backgroundColor");
  assert.equal(await ground(), "rgb(255, 255, 255)");
  lab.agent.child.kill("SIGSTOP");
  try {
    await page.clock.fastForward(21_000);
    await page.locator("#live").getByText("no sign of life for 20 s").waitFor();
    assert.equal(await ground(), "rgb(160, 18, 28)");
    await viewer.screenshot("wall-red");
  } finally {
    lab.agent.child.kill("SIGCONT");
  }
  await page.locator("#live").getByText("live", { exact: true }).waitFor();
  assert.equal(await ground(), "rgb(255, 255, 255)");
});

test("pages go compressed, and the overview with all it loads is small", { skip }, async () => {
  const { headers, body } = await lab.get("/", { "accept-encoding": "gzip, br" });
  assert.equal(headers["content-encoding"], "gzip");
  const page = gunzipSync(body).toString();
  assert.match(page, /<h1>box/);
  const assets = new Set(
    [...page.matchAll(/(?:href|src)="(\/assets\/[^"]+)"/g)].map(([, path]) => path ?? ""),
  );
  let size = body.length;
  for (const path of assets) {
    size += (await lab.get(path, { "accept-encoding": "gzip" })).body.length;
    const text = `${(await lab.get(path)).body}`;
    for (const [, name = ""] of text.matchAll(/from "\.(\/\w+\.ts)"/g))
      assets.add(path.replace(/\/[^/]+$/, name));
  }
  assert.ok(size < 60_000, `${size} bytes`);
  assert.equal((await lab.get("/")).headers["content-encoding"], undefined);
});
