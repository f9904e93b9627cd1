/** What makes any page live: it is asked for again when something has changed, and what differs is taken over. */
import { showLine } from "./announce.ts";
import { localTimes } from "./dates.ts";
import { listen } from "./events.ts";
import { Shortcuts } from "./keys.ts";
import { morph } from "./morph.ts";

/** Between two requests for the page, in milliseconds. */
const pace = 1000;

export const shortcuts = new Shortcuts();
shortcuts.add({ key: "o", text: "to the overview", run: () => location.assign("/") });
for (const [key, rel, text] of [
  ["[", "prev", "to the build before"],
  ["]", "next", "to the next build"],
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
    const asked = isWhole;
    isWhole = false;
    try {
      await takeOver(asked);
      showLine(true);
    } catch {
      // The next change asks again.
    }
    await new Promise((resolve) => setTimeout(resolve, pace));
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
    // The first tells what the page has, unless that has changed since.
    const isNew = before === undefined ? (running?.phase ?? state) !== live.dataset.phase : key !== before;
    if (isNew) void refresh(state !== undefined);
    before = key;
  });
  if (live.dataset.live) watch(live.dataset.live, live.dataset.job ?? "", () => void refresh(true));
}

/** Progress is shown at once, without asking for the page. */
function showProgress(live: HTMLElement, progress: unknown): void {
  const bar = live.querySelector("progress");
  if (!bar || typeof progress !== "number") return;
  bar.value = progress;
  const text = live.querySelector(".percent");
  if (text) text.textContent = `${progress} %`;
}

/**
 * Follows the overview's events.
 * @param job only what concerns it counts; "": all
 */
function watch(url: string, job: string, onChange: () => void): void {
  let before: string | undefined;
  const status = ({ data }: MessageEvent<string>): void => {
    const key = job === "" ? data : concerning(job, JSON.parse(data));
    // The page itself is as new as the first.
    if (before !== undefined && key !== before) onChange();
    before = key;
  };
  const onLine = (stands: boolean): void => {
    showLine(stands);
    // Whatever has changed meanwhile.
    if (!stands) before = "";
  };
  listen({ url: () => url, takes: { status }, onLine }, new AbortController().signal);
}

interface Status {
  readonly running: readonly { readonly job: string }[];
  readonly recent: readonly { readonly job: string }[];
}

function concerning(job: string, { running, recent }: Status): string {
  return JSON.stringify([running, recent].map((builds) => builds.filter((build) => build.job === job)));
}

/**
 * Asks for this page again and takes over what differs.
 * @param whole also what is outside of the part that is live, except the console
 */
async function takeOver(whole: boolean): Promise<void> {
  const answer = await fetch(location.pathname + location.search, { headers: { accept: "text/html" } });
  if (!answer.ok) return;
  // Scripts of a document made so never run.
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  localTimes(fresh);
  const selector = whole ? "#main" : "[data-live]";
  const [from, to] = [document.querySelector(selector), fresh.querySelector(selector)];
  if (from && to) morph(from, to);
  if (document.title !== fresh.title) document.title = fresh.title;
}
