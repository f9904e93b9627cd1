/** Chromium on the pages, as users see them. Anything on its console fails the test. */
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import axe from "axe-core";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import { part, partsEnv } from "../support/parts.ts";

const args = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const reportViolations = `addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) =>
  console.error("violates the policy: " + violatedDirective + " " + blockedURI));`;
const screenshots = new URL("../.out/screenshots", import.meta.url).pathname;
const runAxe = `axe.run().then(({ violations }) => violations.map(({ id, nodes }) => ({
  id, nodes: nodes.slice(0, 5).map(({ html, failureSummary }) => html + ": " + failureSummary) })))`;
/** A bound against hanging. */
const timeoutMs = 60_000;

/** A browser with a temporary profile. */
export function startBrowser(): Promise<Browser> {
  const env = Object.fromEntries(Object.entries(partsEnv).filter(([, value]) => value !== undefined));
  return chromium.launch({
    executablePath: part("chromium"),
    env: env as Record<string, string>,
    args,
    timeout: timeoutMs,
  });
}

/** A page that collects errors. Disposing of it closes the page, and fails if there were any. */
export class Viewer implements AsyncDisposable {
  readonly page: Page;
  readonly #url: string;
  readonly #complaints: string[] = [];

  private constructor(page: Page, url: string) {
    this.page = page;
    this.#url = url;
    page.setDefaultTimeout(timeoutMs);
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) this.#complaints.push(message.text());
    });
    page.on("pageerror", (error) => this.#complaints.push(`${error}`));
  }

  /** @param url without a path */
  static async open(browser: Browser, url: string, options: BrowserContextOptions = {}): Promise<Viewer> {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
    const viewer = new Viewer(await context.newPage(), url);
    await viewer.page.addInitScript(reportViolations);
    return viewer;
  }

  async go(path: string): Promise<void> {
    const response = await this.page.goto(this.#url + path);
    // A fragment of the same page has no response.
    if (response) assert.equal(response.status(), 200, path);
  }

  /** Resolves when the text is visible. */
  async sees(text: string): Promise<void> {
    await this.page.getByText(text).first().waitFor();
  }

  /** The rendered lines of the console, without numbers and times. */
  lines(): Promise<string[]> {
    return this.page.locator(".row .text").allTextContents();
  }

  /** Resolves when a rendered line of the console has this text. */
  async reads(text: string): Promise<void> {
    await this.page.locator(".row .text", { hasText: text }).first().waitFor({ state: "attached" });
  }

  async screenshot(name: string): Promise<void> {
    mkdirSync(screenshots, { recursive: true });
    await this.page.screenshot({ path: join(screenshots, `${name}.png`), fullPage: true });
  }

  /** Fails if axe finds accessibility violations. */
  async accessible(): Promise<void> {
    // Evaluated by the debugger, because the page's policy allows no other scripts.
    await this.page.evaluate(axe.source);
    const violations = await this.page.evaluate(runAxe);
    assert.deepEqual(violations, []);
  }

  /** Fails if the page has to be scrolled sideways. */
  async fits(): Promise<void> {
    const [scroll = 0, inner = 0] = await this.page.evaluate<number[]>(
      "[document.documentElement.scrollWidth, document.documentElement.clientWidth]",
    );
    assert.ok(scroll <= inner, `${this.page.url()} is ${scroll} pixels wide of ${inner}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.page.context().close();
    assert.deepEqual(this.#complaints, []);
  }
}
