/**
 * How long a byte takes from a job that writes it to the page of a reader who follows: `node test/bench/browser.ts`. Each line of
 * the job is the time at which it is written, and Chromium notes when it is in the document. Ends with 1 when the median is over
 * the bound.
 */
import { startBrowser, Viewer } from "../web/browser.ts";
import { WebLab } from "../web/web-lab.ts";

/** Milliseconds. */
const bound = 100;
const count = 200;

const yaml = `
jobs:
  clock:
    run: |
      perl -MTime::HiRes=time,sleep -e '$| = 1; while (1) { sleep 0.037; printf "%.3f\\n", time * 1000 }'
`;

/** Notes how old each line is when it comes into the document; what was there before isn't live. */
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
  if (!(at(0.5) < bound)) process.exitCode = 1;
} finally {
  await browser.close();
}
