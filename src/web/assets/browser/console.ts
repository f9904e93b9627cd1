/** The live console of a build or a device: lines that come and lines that are asked for, in one window. */
import { newAnnouncer, showLine } from "./announce.ts";
import { follow } from "./feed.ts";
import { type Line, LineStore, pageSize } from "./line-store.ts";
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
  const { kind, events = "", api, running } = section.dataset;
  const isBuild = kind === "build";
  const say = newAnnouncer();
  const get = async (path: string) => {
    const answer = await fetch(`${api}/${path}`);
    if (!answer.ok) throw new Error(`${answer.status} for ${path}`);
    return answer.json();
  };
  const store = new LineStore(
    isBuild ? (from, count) => get(`lines?from=${from}&count=${count}`) : undefined,
  );
  const search = new Search((query, from) => get(`search?q=${encodeURIComponent(query)}&from=${from}`));
  const scroller = document.createElement("div");
  scroller.className = "scroller";
  scroller.tabIndex = 0;
  scroller.setAttribute("role", "region");
  scroller.setAttribute("aria-label", "Console output");
  const toolbar = newToolbar({
    follow: () => toggleFollow(),
    times: () => toggleTimes(),
    ...(isBuild && { search: { typed, step, leave: () => scroller.focus() } }),
    help: () => shortcuts.help(),
  });
  const tail = section.querySelector(".tail");
  tail?.before(toolbar.element, scroller);
  const marks = new Marks();
  const view = new LineWindow({
    store,
    scroller,
    linked: isBuild,
    isMarked: (n) => marks.has(n),
    isBefore: (line: Line) => line.offset < Number(section.dataset.buildFrom || 0),
    onDrawn: () => highlight(scroller, search.query),
    onFollowing: (following) => toolbar.follow.setAttribute("aria-pressed", `${following}`),
  });
  toolbar.follow.setAttribute("aria-pressed", "true");
  store.onChange = () => view.redraw();
  if (isBuild) await loadEnd();
  tail?.remove();
  section.classList.add("scripted");
  if (marks.first !== undefined) view.reveal(marks.first);
  marks.onChange = (isElsewhere) => {
    view.redraw();
    if (isElsewhere && marks.first !== undefined) view.reveal(marks.first);
  };
  if (running === "yes") followLive();
  else view.draw();

  /** The last lines; what comes live goes on from the last of them. */
  async function loadEnd(): Promise<number> {
    const { total, lines } = await get(`lines?from=-${pageSize}&count=${pageSize}`);
    const last: Line | undefined = lines.at(-1);
    // The last line comes again with what is live, from its beginning.
    const whole = running === "yes" ? lines.slice(0, -1) : lines;
    store.reset((total ?? last?.n ?? 0) - (lines.length - whole.length), whole, false);
    return last?.offset ?? 0;
  }

  function followLive(): void {
    let stop = new AbortController();
    const begin = (from: number): void => follow(`${events}?from=${from}`, handlers, stop.signal);
    const handlers = {
      onPiece: ({ text, offset, at }: { text: string; offset: number; at?: number }) => {
        store.append(text, offset, at);
        view.draw();
      },
      onGap: async (from: number, to: number) => {
        if (isBuild) {
          // All of it is kept there: only the end is taken again.
          stop.abort();
          stop = new AbortController();
          begin(await loadEnd());
        } else store.append(`\n\u001b[7m ${to - from} bytes are missing here \u001b[27m\n`, to, undefined);
        view.redraw();
      },
      onState: (state: unknown) => {
        if (!isBuild) noteBuild(state as DeviceState | null);
        document.dispatchEvent(new CustomEvent("labgear-state", { detail: state ?? {} }));
      },
      onEnd: () => {
        if (isBuild) say("The build has ended.");
        showLine(true);
        document.dispatchEvent(new CustomEvent("labgear-end"));
      },
      onLine: showLine,
    };
    if (isBuild) void loadEnd().then(begin);
    else begin(Number(section.dataset.start));
  }

  /** What came before the build that has begun on a device is dimmed from now on. */
  function noteBuild(state: DeviceState | null): void {
    const from = `${state?.feed.buildFrom ?? ""}`;
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
