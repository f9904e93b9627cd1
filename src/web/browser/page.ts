/** Keeps any page up to date: reloads it when something has changed, and applies the differences. */
import { showConnection } from "./announce.ts";
import { localTimes } from "./dates.ts";
import { listen } from "./events.ts";
import { Shortcuts } from "./keys.ts";
import { morph } from "./morph.ts";

const refreshIntervalMs = 1000;

export const shortcuts = new Shortcuts();
shortcuts.add({ key: "o", text: "go to the overview", run: () => location.assign("/") });
for (const [key, rel, text] of [
  ["[", "prev", "go to the previous build"],
  ["]", "next", "go to the next build"],
] as const) {
  const link = document.querySelector<HTMLAnchorElement>(`a[rel=${rel}]`);
  if (link) shortcuts.add({ key, text, run: () => link.click() });
}

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
    try {
      await update(updateAll);
      showConnection(true);
    } catch {
      // The next change tries again.
    }
    await new Promise((resolve) => setTimeout(resolve, refreshIntervalMs));
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
    const { running, description, state, reason, who } = detail;
    showProgress(live, running?.progress);
    const key = JSON.stringify([running?.phase, description, state, reason, who]);
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
  const onConnection = (isConnected: boolean): void => {
    showConnection(isConnected);
    // Something may have changed in the meantime.
    if (!isConnected) before = "";
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
  if (!response.ok) return;
  // DOMParser never runs scripts.
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  localTimes(fresh);
  const selector = whole ? "#main" : "[data-live]";
  const [from, to] = [document.querySelector(selector), fresh.querySelector(selector)];
  if (from && to) morph(from, to);
  if (document.title !== fresh.title) document.title = fresh.title;
}
