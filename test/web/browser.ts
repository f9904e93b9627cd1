/** Chromium, looking at the pages as their readers do; whatever it complains of fails the test. */
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
const tellViolations = `addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) =>
  console.error("against the policy: " + violatedDirective + " " + blockedURI));`;
const screenshots = new URL("../.out/screenshots", import.meta.url).pathname;
const runAxe = `axe.run().then(({ violations }) => violations.map(({ id, nodes }) => ({
  id, nodes: nodes.slice(0, 5).map(({ html, failureSummary }) => html + ": " + failureSummary) })))`;
/** How long anything may take to be seen, in milliseconds: a bound against hanging. */
const patience = 20_000;

/** A browser with a profile of its own, gone with it. */
export function startBrowser(): Promise<Browser> {
  const env = Object.fromEntries(Object.entries(partsEnv).filter(([, value]) => value !== undefined));
  return chromium.launch({
    executablePath: part("chromium"),
    env: env as Record<string, string>,
    args,
    timeout: patience,
  });
}

/** A page whose errors are kept. Disposing of it closes it, and fails when there were any. */
export class Viewer implements AsyncDisposable {
  readonly page: Page;
  readonly #url: string;
  readonly #complaints: string[] = [];

  private constructor(page: Page, url: string) {
    this.page = page;
    this.#url = url;
    page.setDefaultTimeout(patience);
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) this.#complaints.push(message.text());
    });
    page.on("pageerror", (error) => this.#complaints.push(`${error}`));
  }

  /** @param url of the pages, without a path */
  static async open(browser: Browser, url: string, options: BrowserContextOptions = {}): Promise<Viewer> {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
    const viewer = new Viewer(await context.newPage(), url);
    await viewer.page.addInitScript(tellViolations);
    return viewer;
  }

  async go(path: string): Promise<void> {
    const answer = await this.page.goto(this.#url + path);
    // Another place on the same page is no answer.
    if (answer) assert.equal(answer.status(), 200, path);
  }

  /** Resolves when the text is somewhere in sight. */
  async sees(text: string): Promise<void> {
    await this.page.getByText(text).first().waitFor();
  }

  /** The console's lines that are made, as text without numbers and times. */
  lines(): Promise<string[]> {
    return this.page.locator(".row .text").allTextContents();
  }

  /** Resolves when the console has a line with this text among those that are made. */
  async reads(text: string): Promise<void> {
    await this.page.locator(".row .text", { hasText: text }).first().waitFor({ state: "attached" });
  }

  async screenshot(name: string): Promise<void> {
    mkdirSync(screenshots, { recursive: true });
    await this.page.screenshot({ path: join(screenshots, `${name}.png`), fullPage: true });
  }

  /** Fails when axe finds something that keeps people out. */
  async accessible(): Promise<void> {
    // As the debugger does: no page's policy lets it in otherwise.
    await this.page.evaluate(axe.source);
    const violations = await this.page.evaluate(runAxe);
    assert.deepEqual(violations, []);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.page.context().close();
    assert.deepEqual(this.#complaints, []);
  }
}
