/**
 * How long output takes from a job to the page of a viewer: `node test/bench/browser.ts`. Each line of the job is the time it was
 * written at, and Chromium records when it is in the document. Exits 1 if the median is over the bound.
 */
import { startBrowser, Viewer } from "../web/browser.ts";
import { WebLab } from "../web/web-lab.ts";

const maxMedianMs = 100;
const count = 200;

const yaml = `
jobs:
  clock:
    run: |
      perl -MTime::HiRes=time,sleep -e '$| = 1; while (1) { sleep 0.037; printf "%.3f\\n", time * 1000 }'
`;

/** Collects the age of each line when it gets into the document. Lines that are already there don't count. */
const observe = `new Promise((resolve) => {
  const ages = [];
  const texts = () => [...document.querySelectorAll(".row .text")].map(({ textContent }) => textContent);
  const seen = new Set(texts());
  new MutationObserver(() => {
    const now = performance.timeOrigin + performance.now();
    for (const text of texts()) {
      if (!/^\\d+\\.\\d{3}$/.test(text) || seen.has(text)) continue;
      seen.add(text);
      ages.push(now - Number(text));
    }
    if (ages.length >= ${count}) resolve(ages);
  }).observe(document, { subtree: true, childList: true, characterData: true });
})`;

await using lab = await WebLab.start(yaml);
const browser = await startBrowser();
try {
  await lab.submit("clock", "clock-1");
  await using viewer = await Viewer.open(browser, lab.url);
  await viewer.go("/builds/clock/1");
  await viewer.page.locator(".row").first().waitFor();
  const ages = (await viewer.page.evaluate<number[]>(observe)).sort((a, b) => a - b);
  const at = (part: number): number => ages[Math.floor(ages.length * part)] ?? Number.NaN;
  console.log(
    `from a job's write to the page: median ${at(0.5).toFixed(1)} ms, 95th percentile ${at(0.95).toFixed(1)} ms, of ${ages.length} lines`,
  );
  if (!(at(0.5) < maxMedianMs)) process.exitCode = 1;
} finally {
  await browser.close();
}
