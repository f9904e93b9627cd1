/** Keeps any page up to date: reloads it when something has changed, and applies the differences. */
import { dateAndTime, roughly } from "./dates.ts";
import { type Connection, listen, showConnection } from "./events.ts";
import { Shortcuts } from "./keys.ts";

const refreshIntervalMs = 1000;
const retryIntervalMs = 5000;

export const shortcuts = new Shortcuts();
shortcuts.add({ key: "o", text: "go to the overview", run: () => location.assign("/") });
for (const [key, rel, text] of [
  ["[", "prev", "go to the previous build"],
  ["]", "next", "go to the next build"],
] as const) {
  const link = document.querySelector<HTMLAnchorElement>(`a[rel=${rel}]`);
  if (link) shortcuts.add({ key, text, run: () => link.click() });
}

// On a phone, the console comes before the details.
if (matchMedia("(max-width: 45rem)").matches)
  for (const details of document.querySelectorAll("details.more")) details.removeAttribute("open");

localTimes(document);
setInterval(() => localTimes(document), 1000);

const live = document.querySelector<HTMLElement>("[data-live]");
if (live) follow(live);

function follow(live: HTMLElement): void {
  let isDue = false;
  let isBusy = false;
  let isWhole = false;
  const refresh = async (whole: boolean): Promise<void> => {
    isWhole ||= whole;
    isDue = true;
    if (isBusy || document.hidden) return;
    isBusy = true;
    isDue = false;
    const updateAll = isWhole;
    isWhole = false;
    let pauseMs = refreshIntervalMs;
    try {
      await update(updateAll);
    } catch {
      isDue = true;
      isWhole ||= updateAll;
      pauseMs = retryIntervalMs;
    }
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
    isBusy = false;
    if (isDue) void refresh(false);
  };
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && isDue) void refresh(false);
  });
  document.addEventListener("labgear-end", () => void refresh(true));
  let before: string | undefined;
  document.addEventListener("labgear-state", (event) => {
    const { detail } = event as CustomEvent;
    const { running, steps, description, state, reason, who } = detail;
    showProgress(live, running?.progress);
    const key = JSON.stringify([running?.phase, steps?.length, description, state, reason, who]);
    // The first event describes what the page shows already, unless that has changed since.
    const isNew = before === undefined ? (running?.phase ?? state) !== live.dataset.phase : key !== before;
    if (isNew) void refresh(state !== undefined);
    before = key;
  });
  if (live.dataset.live) watch(live.dataset.live, live.dataset.job ?? "", () => void refresh(true));
}

/** Shows progress at once, without reloading the page. */
function showProgress(live: HTMLElement, progress: unknown): void {
  const bar = live.querySelector("progress");
  if (!bar || typeof progress !== "number") return;
  bar.value = progress;
  const text = live.querySelector(".percent");
  if (text) text.textContent = `${progress}%`;
}

/**
 * Follows the events of the overview.
 * @param job only changes that concern this job count; all if empty
 */
function watch(url: string, job: string, onChange: () => void): void {
  let before: string | undefined;
  const status = ({ data }: MessageEvent<string>): void => {
    const key = job === "" ? data : partOf(JSON.parse(data), job);
    // The page is as new as the first event.
    if (before !== undefined && key !== before) onChange();
    before = key;
  };
  const onConnection = (connection: Connection): void => {
    showConnection(connection);
    // Something may have changed in the meantime.
    if (connection !== "live") before = "";
  };
  listen({ url: () => url, handlers: { status }, onConnection }, new AbortController().signal);
}

interface Status {
  readonly running: readonly { readonly job: string }[];
  readonly recent: readonly { readonly job: string }[];
}

function partOf({ running, recent }: Status, job: string): string {
  return JSON.stringify([running, recent].map((builds) => builds.filter((build) => build.job === job)));
}

/**
 * Reloads this page and applies the differences.
 * @param whole also outside of the live part, except to the console
 */
async function update(whole: boolean): Promise<void> {
  const response = await fetch(location.pathname + location.search, { headers: { accept: "text/html" } });
  if (response.status >= 500) throw new Error(`${response.status} for this page`);
  // It is gone, such as a build that is no longer kept.
  if (!response.ok) return;
  // DOMParser never runs scripts.
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  localTimes(fresh);
  const selector = whole ? "#main" : "[data-live]";
  const [from, to] = [document.querySelector(selector), fresh.querySelector(selector)];
  if (from && to) morph(from, to);
  if (document.title !== fresh.title) document.title = fresh.title;
  const [icon, newIcon] = [document, fresh].map((page) =>
    page.querySelector<HTMLLinkElement>("link[rel=icon]"),
  );
  if (icon && newIcon && icon.getAttribute("href") !== newIcon.getAttribute("href"))
    icon.replaceWith(newIcon);
}

/** Rewrites all times below an element: in the local time zone, how long ago, how much longer. */
function localTimes(root: ParentNode): void {
  for (const element of root.querySelectorAll("time")) {
    const at = new Date(element.dateTime);
    if (Number.isNaN(at.getTime())) continue;
    const text = dateAndTime(at);
    if ("ago" in element.dataset) {
      element.title = text;
      set(element, `${roughly(Date.now() - at.getTime())} ago`);
    } else set(element, text);
  }
  for (const element of root.querySelectorAll<HTMLElement>("[data-since]")) {
    set(element, `for ${roughly(Date.now() - Date.parse(element.dataset.since ?? ""))}`);
  }
  for (const element of root.querySelectorAll<HTMLElement>("[data-until]")) {
    const left = Date.parse(element.dataset.until ?? "") - Date.now();
    set(
      element,
      left > 0 ? `about ${roughly(left)} left` : `${roughly(-left)} over the usual ${element.dataset.usual}`,
    );
  }
}

function set(element: HTMLElement, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Added by the scripts, not by the server. */
const added = ".toolbar, .scroller, .tail";

/** Changes an element into another one but keeps equal parts, so focus, selection and open details survive. */
function morph(from: Element, to: Element): void {
  copyAttributes(from, to);
  const wanted = childrenOf(to);
  const later = new Set(wanted.map(keyOf).filter((key) => key !== ""));
  const present = childrenOf(from);
  for (const child of wanted) {
    const key = keyOf(child);
    later.delete(key);
    // A named element is matched wherever it is, and only with the same name.
    const found = present.findIndex((old) => (key === "" ? !later.has(keyOf(old)) : keyOf(old) === key));
    const old = present[found];
    if (!old || (key === "" && found > 0)) {
      from.insertBefore(document.importNode(child, true), present[0] ?? null);
      continue;
    }
    present.splice(found, 1);
    if (found > 0) from.insertBefore(old, present[0] ?? null);
    if (old instanceof Element && child instanceof Element && old.localName === child.localName)
      morph(old, child);
    else if (old.nodeType !== child.nodeType || old instanceof Element)
      old.replaceWith(document.importNode(child, true));
    else if (old.nodeValue !== child.nodeValue) old.nodeValue = child.nodeValue;
  }
  for (const old of present) old.remove();
}

function copyAttributes(from: Element, to: Element): void {
  // Only the browser knows which details are open, and that a console is scripted.
  const isLocal = (name: string): boolean =>
    name === "open" || (name === "class" && from.classList.contains("scripted"));
  for (const { name } of [...from.attributes]) {
    if (!to.hasAttribute(name) && !isLocal(name)) from.removeAttribute(name);
  }
  for (const { name, value } of to.attributes) {
    if (!isLocal(name) && from.getAttribute(name) !== value) from.setAttribute(name, value);
  }
}

function childrenOf(parent: Element): ChildNode[] {
  return [...parent.childNodes].filter((node) => !(node instanceof Element && node.matches(added)));
}

/** The name of a section or a row; empty if it has none. */
function keyOf(node: Node): string {
  if (!(node instanceof Element)) return "";
  return node.id || (node.getAttribute("data-key") ?? "");
}
