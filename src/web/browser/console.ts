/** The live console of a build or a device: lines that come and lines that are asked for, in one window. */
import { newAnnouncer } from "./announce.ts";
import { LineStore } from "./line-store.ts";
import { followBuild, followDevice, type GetLines, loadEnd } from "./live.ts";
import { Marks } from "./marks.ts";
import { shortcuts } from "./page.ts";
import { highlight, Search } from "./search.ts";
import { newToolbar } from "./toolbar.ts";
import { LineWindow } from "./window.ts";

/** What a device tells of itself, as far as it concerns its console. */
interface DeviceState {
  readonly feed: { readonly buildFrom?: number };
}

const section = document.getElementById("console-section");
if (section) await start(section);

/** @throws what the first lines' request throws; the end of the console then stays as the page had it */
async function start(section: HTMLElement): Promise<void> {
  const { kind, events = "", api, running, start: oldest } = section.dataset;
  const isBuild = kind === "build";
  const isLive = running === "yes";
  const say = newAnnouncer();
  const get = async (path: string) => {
    const answer = await fetch(`${api}/${path}`);
    if (!answer.ok) throw new Error(`${answer.status} for ${path}`);
    return answer.json();
  };
  const getLines: GetLines = (from, count) => get(`lines?from=${from}&count=${count}`);
  const store = new LineStore(isBuild ? getLines : undefined);
  const from = isBuild ? await loadEnd(store, getLines, isLive) : Number(oldest);
  const search = new Search((query, from) => get(`search?q=${encodeURIComponent(query)}&from=${from}`));
  const scroller = newScroller();
  const toolbar = newToolbar({
    follow: toggleFollow,
    times: toggleTimes,
    ...(isBuild && { search: { typed, step, leave: () => scroller.focus() } }),
    help: () => shortcuts.help(),
  });
  section.querySelector(".tail")?.replaceWith(toolbar.element, scroller);
  section.classList.add("scripted");
  const marks = new Marks();
  const view = new LineWindow({
    store,
    scroller,
    linked: isBuild,
    isMarked: (n) => marks.has(n),
    isBefore: ({ offset }) => offset < Number(section.dataset.buildFrom || 0),
    onDrawn: () => highlight(scroller, search.query),
    onFollowing: (following) => toolbar.follow.setAttribute("aria-pressed", `${following}`),
  });
  store.onChange = () => view.redraw();
  marks.onChange = (isElsewhere) => {
    view.redraw();
    if (isElsewhere && marks.first !== undefined) view.reveal(marks.first);
  };
  if (marks.first !== undefined) view.reveal(marks.first);
  const onLines = (): void => view.draw();
  if (!isBuild) followDevice({ events, store, onLines, onState: noteBuild, onEnd: () => {} }, from);
  else if (isLive) {
    const onEnd = (): void => say("The build has ended.");
    followBuild({ events, store, onLines, onState: () => {}, onEnd }, getLines, from);
  }

  /** What came before the build that has begun on a device is dimmed from now on. */
  function noteBuild(state: unknown): void {
    const from = `${(state as DeviceState | null)?.feed.buildFrom ?? ""}`;
    if (section.dataset.buildFrom === from) return;
    section.dataset.buildFrom = from;
    view.redraw();
  }

  function toggleFollow(): void {
    view.following = !view.following;
    say(view.following ? "Following the console." : "Not following.");
  }

  function toggleTimes(): void {
    const shown = scroller.classList.toggle("with-times");
    toolbar.times.setAttribute("aria-pressed", `${shown}`);
  }

  function typed(query: string): void {
    search.start(query);
    toolbar.count.textContent = "";
    highlight(scroller, query);
  }

  async function step(by: 1 | -1): Promise<void> {
    toolbar.count.textContent = search.query === "" ? "" : "searching";
    const hit = await search.step(by, Math.floor(view.top));
    toolbar.count.textContent = search.text;
    if (!hit) return;
    marks.set(hit.n);
    view.reveal(hit.n);
  }

  shortcuts.add(
    { key: "f", text: "follow the console's end, or stop", run: toggleFollow },
    { key: "t", text: "show when each line came", run: toggleTimes },
    { key: "g", text: "to the console's beginning", run: () => view.moveTo(store.start) },
    { key: "G", text: "to its end", run: () => view.moveTo(store.total, false) },
  );
  if (!isBuild) return;
  shortcuts.add(
    { key: "/", text: "search the console", run: () => toolbar.input.focus() },
    { key: "n", text: "next hit", run: () => void step(1) },
    { key: "N", text: "previous hit", run: () => void step(-1) },
  );
}

function newScroller(): HTMLElement {
  const scroller = document.createElement("div");
  scroller.className = "scroller";
  scroller.tabIndex = 0;
  scroller.setAttribute("role", "region");
  scroller.setAttribute("aria-label", "Console output");
  return scroller;
}
