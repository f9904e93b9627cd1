/** `labgear lab`: all boxes of the job servers seen as one. Everything shown comes from outside. */
import type { Command } from "commander";
import { LabWatch } from "#/lab/watch.ts";
import type { LabBoard, LabBox, LabClass, LabQueued, LabView } from "#/lib/lab.ts";
import { formatElapsed } from "#/lib/units.ts";
import { exitCodes } from "./exit.ts";
import { withoutGate } from "./gate-options.ts";
import { newCommand } from "./options.ts";
import { findServers, type ServerOptions, withServers } from "./servers.ts";
import { onSignals } from "./signals.ts";
import { type Cell, type Column, stateCell, table } from "./table.ts";

interface LabOptions extends ServerOptions {
  readonly json?: true;
  readonly watch?: true;
  readonly wall?: true;
}

const clearScreen = "\x1b[H\x1b[2J";
const refreshIntervalMs = 1000;
/** About as long as a look at the lab takes. */
const momentMs = 5000;

export function command(): Command {
  return withoutGate(
    withServers(
      newCommand(
        "lab [OPTIONS]",
        "Shows all boxes of the job servers as one lab: classes, what waits and why, boards that are out of order, what runs where.",
      ),
    ),
    "a gate shows nobody the whole lab: `labgear functions --gate URL` shows what waits for what you may use",
  )
    .option("--json", "print one JSON object; with --watch one a line, at each change")
    .option("--watch", "go on until Ctrl-C, as things change")
    .option("--wall", "for a screen on the wall: go on, and show only classes and what is wrong")
    .addHelpText(
      "after",
      "\nA box answers for itself, or is away. What waits is counted from when this command first saw it.\n" +
        "Exit code: 0; 7 if no job server answers.",
    )
    .action(async (options: LabOptions) => {
      const goesOn = options.watch === true || options.wall === true;
      await using watch = new LabWatch(await findServers(options), { once: !goesOn });
      if (goesOn) return await follow(watch, options);
      const view = await watch.look();
      process.stdout.write(options.json ? `${JSON.stringify(view)}\n` : labText(view));
      if (view.servers.every(({ error }) => error !== undefined)) process.exitCode = exitCodes.noServer;
    });
}

/** Until a signal, or until the reader has gone. */
async function follow(watch: LabWatch, { json, wall }: LabOptions): Promise<void> {
  const { promise: ended, resolve: end } = Promise.withResolvers<void>();
  using _ = onSignals(["SIGINT", "SIGTERM"], end);
  process.stdout.once("error", end).once("close", end);
  let last = "";
  const show = async () => {
    const view = await watch.look();
    const { time: _, ...rest } = view;
    const text = json ? JSON.stringify(rest) : wall ? wallText(view) : labText(view);
    if (text === last) return;
    last = text;
    const start = process.stdout.isTTY && !json ? clearScreen : "";
    process.stdout.write(json ? `${JSON.stringify(view)}\n` : `${start}${text}${start ? "" : "\n"}`);
  };
  await show();
  const timer = setInterval(() => void show(), refreshIntervalMs);
  await ended;
  clearInterval(timer);
}

function labText(view: LabView): string {
  const { boards, running } = view;
  const now = Date.parse(view.time);
  const upBoxes = view.boxes.filter(({ state }) => state === "up").length;
  const wrong = problems(view, now);
  const well = boards.filter(({ state }) => state !== "sick");
  return [
    `${upBoxes} of ${view.boxes.length} ${view.boxes.length === 1 ? "box" : "boxes"}\n`,
    ...(wrong.length > 0 ? [`\nout of order\n${table(problemColumns, wrong, { indent: 2 })}`] : []),
    section("suspect", suspectColumns, suspects(view)),
    section(
      "classes",
      classColumns,
      view.classes.map((entry) => classRow(entry, now)),
    ),
    section(
      "waiting",
      queuedColumns,
      view.queued.map((entry) => queuedRow(entry, now)),
    ),
    section(
      "running",
      ["BUILD", "NODE", "BOX", { title: "PAGE", fit: "drop" }],
      running.map(({ box, node, name, number, url }) => [`${name}#${number}`, node, box, url ?? ""]),
    ),
    section(
      "boards",
      ["BOARD", "BOX", "STATE", "FOR", { title: "CLASSES", fit: "cut" }, { title: "PAGE", fit: "drop" }],
      well.map((board) => boardRow(board, now)),
    ),
    section(
      "boxes",
      ["BOX", "STATE", "VERSION", { title: "PAGES", fit: "drop" }],
      view.boxes.map((box) => boxRow(box, now)),
    ),
  ].join("");
}

function wallText(view: LabView): string {
  const now = Date.parse(view.time);
  const wrong = problems(view, now);
  const orphans = view.queued.filter(({ orphan }) => orphan).map((entry) => queuedRow(entry, now));
  return [
    wrong.length > 0
      ? `OUT OF ORDER\n${table(problemColumns, wrong, { indent: 2 })}`
      : "All boxes and boards are in order.\n",
    section("SUSPECT", suspectColumns, suspects(view)),
    section("NO NODE TAKES", queuedColumns, orphans),
    section(
      "CLASSES",
      classColumns,
      view.classes.map((entry) => classRow(entry, now)),
    ),
  ].join("");
}

const problemColumns: readonly Column[] = ["", "", "", { fit: "wrap" }, { fit: "drop" }];
const suspectColumns: readonly Column[] = ["BOARD", "BOX", { title: "WHY", fit: "wrap" }];
const classColumns: readonly Column[] = ["CLASS", "FREE", "BUSY", "SICK", "HELD", "WAITING"];
const queuedColumns: readonly Column[] = ["FUNCTION", "BUILDS", "SEEN", { title: "WHY", fit: "wrap" }];

function suspects({ boards }: LabView): string[][] {
  return boards.flatMap(({ name, box, suspect }) => (suspect === undefined ? [] : [[name, box, suspect]]));
}

function section(title: string, columns: readonly Column[], rows: readonly (readonly Cell[])[]): string {
  return rows.length === 0 ? "" : `\n${title}\n${table(columns, rows, { indent: 2 })}`;
}

/** Servers and boxes that don't answer, then boards that are out of order. */
function problems({ servers, boxes, boards }: LabView, now: number): Cell[][] {
  const bad = (text: string): Cell => ({ text, tone: "bad" });
  return [
    ...servers.flatMap(({ server, error }) =>
      error === undefined ? [] : [[server, bad("job server"), "", error]],
    ),
    ...boxes
      .filter(({ state }) => state === "away")
      .map(({ name, seen }) => [name, bad("box is away"), since(seen, now), ""]),
    ...boards
      .filter(({ state }) => state === "sick")
      .map(({ box, name, cause = "", reason = "", since: begun, tries, url }) => [
        ...[`${name} (${box})`, bad(cause), since(begun, now)],
        [...(tries === undefined ? [] : [`${tries} ${tries === 1 ? "try" : "tries"}`]), reason]
          .filter(Boolean)
          .join("; "),
        url ?? "",
      ]),
  ];
}

function since(iso: string | undefined, now: number): string {
  if (iso === undefined) return "";
  const ms = now - Date.parse(iso);
  return ms < momentMs ? "just now" : `for ${formatElapsed(ms)}`;
}

function classRow({ name, free, busy, sick, held, waiting, waitingSince }: LabClass, now: number): string[] {
  const queue = waiting === 0 ? "" : `${waiting} ${since(waitingSince, now)}`;
  return [name, ...[free, busy, sick, held].map(String), queue];
}

function queuedRow({ function: name, count, since: begun, why = "" }: LabQueued, now: number): string[] {
  return [name, `${count}`, since(begun, now), why];
}

function boardRow(
  { box, name, state, classes, since: begun, cause, who, url }: LabBoard,
  now: number,
): Cell[] {
  const word = state === "held" ? `${cause ?? state}${who === undefined ? "" : ` by ${who}`}` : state;
  return [name, box, stateCell(word), since(begun, now), classes.join(" "), url ?? ""];
}

function boxRow({ name, state, seen, life, programVersion = "", url = "" }: LabBox, now: number): Cell[] {
  const word = state === "away" ? `away ${since(seen, now)}` : life === "running" ? "up" : (life ?? state);
  return [name, stateCell(word.trim()), programVersion, url];
}
