/** The live console of a build or device: live output and loaded lines in one scrolling view. */
import { clock } from "./dates.ts";
import { Folds, type Section } from "./folds.ts";
import { type GetLines, type Line, LineStore } from "./line-store.ts";
import { followBuild, followDevice, loadEnd } from "./live.ts";
import { shortcuts } from "./page.ts";
import { highlight, Search } from "./search.ts";
import { newAnnouncer, newToolbar } from "./toolbar.ts";
import { LineWindow } from "./window.ts";

/** The part of a device's `state` events that concerns its console. */
interface DeviceState {
  readonly feed: { readonly buildFrom?: number };
}

/** What may begin or end a section: the server says whether it does. */
const sectionMark = /::(?:end)?group::|##\[(?:end)?group\]|section_(?:start|end):|^(?:---|\+\+\+) /m;
const typingDelayMs = 200;
/** So that many marks at once are one request. */
const sectionDelayMs = 1000;

/** The marked lines, named by the fragment of the URL: #L12 or #L12-L20. */
class Marks {
  /** Called when the marked lines change; true after a navigation to them. */
  onChange: (isNavigation: boolean) => void = () => {};
  #first: number | undefined;
  #last: number | undefined;

  constructor() {
    this.#read();
    addEventListener("hashchange", () => {
      this.#read();
      this.onChange(true);
    });
    // A click with the shift key extends the marks to that line.
    document.addEventListener("click", (event) => {
      if (!event.shiftKey || !(event.target instanceof HTMLAnchorElement)) return;
      const line = /^#L(\d+)$/.exec(event.target.hash)?.[1];
      if (line === undefined || this.#first === undefined) return;
      event.preventDefault();
      this.set(this.#first, Number(line) - 1);
    });
  }

  get first(): number | undefined {
    return this.#first;
  }

  has(n: number): boolean {
    return this.#first !== undefined && n >= this.#first && n <= (this.#last ?? this.#first);
  }

  /** Marks lines without adding an entry to the history. */
  set(from: number, to = from): void {
    const [first, last] = from <= to ? [from, to] : [to, from];
    history.replaceState(null, "", `#L${first + 1}${last > first ? `-L${last + 1}` : ""}`);
    this.#read();
    this.onChange(false);
  }

  #read(): void {
    const [, first, last] = /^#L(\d+)(?:-L(\d+))?$/.exec(location.hash) ?? [];
    this.#first = first === undefined ? undefined : Number(first) - 1;
    this.#last = last === undefined ? this.#first : Number(last) - 1;
  }
}

type Times = "none" | "clock" | "start" | "delta";
const allTimes: readonly Times[] = ["none", "clock", "start", "delta"];
const timeWords: Readonly<Record<Times, string>> = {
  ...{ none: "Times", clock: "Time of day" },
  ...{ start: "Since start", delta: "Since last line" },
};

const section = document.getElementById("console-section");
if (section) await start(section);

/** @throws if the first lines can't be loaded; the page then keeps the tail it came with */
async function start(section: HTMLElement): Promise<void> {
  const { kind, events = "", api, running, start: oldest, error, source, started } = section.dataset;
  const isBuild = kind === "build";
  const isLive = running === "yes";
  const announce = newAnnouncer();
  const get = async (path: string) => {
    const response = await fetch(path === "" ? `${api}` : `${api}/${path}`);
    if (!response.ok) throw new Error(`${response.status} for ${path}`);
    return response.json();
  };
  const getLines: GetLines = (from, count) => get(`lines?from=${from}&count=${count}`);
  const store = new LineStore(isBuild ? getLines : undefined);
  const from = isBuild ? await loadEnd(store, getLines, isLive) : Number(oldest);
  const total = (): number => store.total;
  const search = new Search(
    (query, from) => get(`search?q=${encodeURIComponent(query)}&from=${from}`),
    total,
  );
  let sectionTimer = 0;
  let typingTimer = 0;
  let typedFrom = 0;
  let times: Times = "none";
  let wantsNotice = false;
  const errors = new Search((_, from) => get(`errors?from=${from}`), total);
  errors.start("errors");
  const scroller = newScroller();
  const toolbar = newToolbar({
    follow: toggleFollow,
    times: toggleTimes,
    fullScreen: toggleFullScreen,
    notify: () => void askForNotice(),
    fold: toggleFolds,
    ...(isBuild && {
      search: { setQuery, step: (by) => step(search, by), leave: () => scroller.focus() },
      error: () => step(errors, 1),
    }),
    help: () => shortcuts.help(),
  });
  section.querySelector(".tail")?.replaceWith(toolbar.element, scroller);
  section.classList.add("scripted");
  const marks = new Marks();
  const folds = new Folds();
  const view = new LineWindow({
    store,
    folds,
    scroller,
    hasLinks: isBuild,
    source: source || undefined,
    timeOf,
    isMarked: (n) => marks.has(n),
    isBefore: ({ offset }) => offset < Number(section.dataset.buildFrom || 0),
    onDrawn: () => highlight(scroller, search.query),
    onFollowing: (following) => toolbar.follow.setAttribute("aria-pressed", `${following}`),
  });
  store.onChange = () => view.redraw();
  marks.onChange = (isNavigation) => {
    view.redraw();
    if (isNavigation && marks.first !== undefined) view.reveal(marks.first);
  };
  const opensAt = marks.first ?? (error ? Number(error) : undefined);
  if (opensAt !== undefined) view.reveal(opensAt);
  if (isBuild) void loadSections();
  toolbar.notify.hidden = !isLive || !isBuild || !("Notification" in window);
  const onLines = (): void => view.draw();
  if (!isBuild) followDevice({ events, store, onLines, onState: dimEarlier, onEnd: () => {} }, from);
  else if (isLive) {
    const onEnd = (): void => {
      toolbar.notify.hidden = true;
      void sayEnd();
      void loadSections();
    };
    const onText = (text: string): void => {
      if (sectionMark.test(text)) loadSectionsSoon();
    };
    followBuild({ events, store, onText, onLines, onState: () => {}, onEnd }, getLines, from);
  }

  async function loadSections(): Promise<void> {
    try {
      const { sections }: { sections: readonly Section[] } = await get("sections");
      folds.set(sections);
    } catch {
      // Nothing folds until the next mark comes.
    }
    if (opensAt !== undefined) folds.reveal(opensAt);
    toolbar.fold.hidden = folds.isEmpty;
    view.draw();
  }

  function loadSectionsSoon(): void {
    if (sectionTimer !== 0) return;
    sectionTimer = setTimeout(() => {
      sectionTimer = 0;
      void loadSections();
    }, sectionDelayMs);
  }

  function toggleFolds(): void {
    folds.setAll(!folds.isAnyFolded);
    view.draw();
  }

  /** Once a build starts on a device, everything before it is dimmed. */
  function dimEarlier(state: unknown): void {
    const from = `${(state as DeviceState | null)?.feed.buildFrom ?? ""}`;
    if (section.dataset.buildFrom === from) return;
    section.dataset.buildFrom = from;
    view.redraw();
  }

  function toggleFollow(): void {
    view.following = !view.following;
    announce(view.following ? "Following the console." : "Stopped following the console.");
  }

  /** The time of day, since the start, since the line before, none. */
  function toggleTimes(): void {
    times = allTimes[(allTimes.indexOf(times) + 1) % allTimes.length] ?? "none";
    scroller.classList.toggle("with-times", times !== "none");
    toolbar.times.setAttribute("aria-pressed", `${times !== "none"}`);
    toolbar.times.textContent = timeWords[times];
    announce(`Times: ${timeWords[times]}`);
    view.redraw();
  }

  function timeOf({ n, at }: Line): string {
    if (at === undefined || times === "none") return "";
    if (times === "clock") return clock(at);
    const from = times === "start" ? Number(started) : store.get(n - 1)?.at;
    return from === undefined || n === 0 ? "" : `+${(Math.max(0, at - from) / 1000).toFixed(3)}`;
  }

  async function sayEnd(): Promise<void> {
    const build = await get("").catch(() => ({}));
    const text = `The build has ended: ${build.result ?? "no result"}. ${build.ending?.reason ?? ""}`;
    announce(text);
    if (wantsNotice) new Notification(document.title, { body: text });
  }

  async function askForNotice(): Promise<void> {
    wantsNotice = !wantsNotice && (await Notification.requestPermission()) === "granted";
    toolbar.notify.setAttribute("aria-pressed", `${wantsNotice}`);
  }

  function toggleFullScreen(): void {
    if (document.fullscreenElement) void document.exitFullscreen();
    else void section.requestFullscreen();
  }

  /** Finds as one types, from where one was. */
  function setQuery(query: string): void {
    if (search.query === "") typedFrom = here(1);
    search.start(query);
    toolbar.count.textContent = "";
    highlight(scroller, query);
    clearTimeout(typingTimer);
    if (query !== "") typingTimer = setTimeout(() => void show(search, 1, typedFrom, true), typingDelayMs);
  }

  /** The line that one is at: the marked one while it is in view. */
  function here(by: 1 | -1): number {
    const marked = marks.first;
    if (marked !== undefined && view.shows(marked)) return marked;
    return by === 1 ? view.top - 1 : view.bottom + 1;
  }

  function step(search: Search, by: 1 | -1): Promise<void> {
    clearTimeout(typingTimer);
    return show(search, by, here(by));
  }

  async function show(search: Search, by: 1 | -1, line: number, from = false): Promise<void> {
    toolbar.count.textContent = search.query === "" ? "" : "searching…";
    const hit = await search.step(by, line, from);
    toolbar.count.textContent = search.text;
    if (!hit) return;
    marks.set(hit.n);
    view.reveal(hit.n);
  }

  shortcuts.add(
    { key: "f", text: "follow the console, or stop following", run: toggleFollow },
    { key: "t", text: "times: of day, since the start, since the line before, none", run: toggleTimes },
    { key: "F", text: "full screen", run: toggleFullScreen },
    { key: "g", text: "go to the start of the console", run: () => view.moveTo(store.start) },
    { key: "G", text: "go to the end of the console", run: () => view.moveTo(store.total, false) },
  );
  if (!isBuild) return;
  shortcuts.add(
    { key: "z", text: "fold or unfold all sections", run: toggleFolds },
    { key: "/", text: "search the console", run: () => toolbar.input.focus() },
    { key: "n", text: "next match", run: () => void step(search, 1) },
    { key: "N", text: "previous match", run: () => void step(search, -1) },
    { key: "e", text: "next error", run: () => void step(errors, 1) },
    { key: "E", text: "previous error", run: () => void step(errors, -1) },
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
