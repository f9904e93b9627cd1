/** `labgear show`: one build: how it ended and why, what it tests, where it ran. What is shown may come from outside. */
import { stripVTControlCharacters } from "node:util";
import type { Command } from "commander";
import { hasFailed } from "#/builds/before.ts";
import { changeOf, changeTitle } from "#/builds/change.ts";
import { errorRank, isAgentsLine } from "#/builds/console/errors.ts";
import type { TestCase } from "#/builds/junit-reader.ts";
import { type BuildRecord, type BuildStep, durationOf } from "#/builds/record.ts";
import { ManagerCalls } from "#/client/calls.ts";
import { ExchangeError } from "#/exchange/errors.ts";
import { fetchFunction } from "#/exchange/functions.ts";
import { printable } from "#/lib/text.ts";
import { formatElapsed, formatSize } from "#/lib/units.ts";
import { CommandError } from "./exit.ts";
import {
  controlTimeoutMs,
  findAgent,
  newCommand,
  selectBuild,
  withBuildOfBox,
  withControl,
} from "./options.ts";
import { findFunction } from "./registered.ts";
import { findServers, type ServerOptions, withServers } from "./servers.ts";
import { stateCell, table, timeText } from "./table.ts";
import { whyNot } from "./transfer/collect.ts";
import { askAgent, BuildResults } from "./transfer/results.ts";

interface Options extends ServerOptions {
  readonly json?: true;
  readonly control?: string;
}

type ShownRecord = Omit<BuildRecord, "key" | "request" | "undelivered">;

/** A build, from this box or another one. */
interface Source {
  readonly record: ShownRecord;
  readonly cases: readonly TestCase[];
  readonly console: AsyncIterable<Uint8Array>;
}

const maxFailedTests = 10;
/** How much of a console is searched for what went wrong. */
const maxConsoleBytes = 16 * 1024 * 1024;
const excerptLines = 5;

export function command(): Command {
  return withBuildOfBox(
    withServers(
      withControl(
        newCommand(
          "show [BOX] JOB[#NUMBER]|UUID [OPTIONS]",
          "Shows a build: how it ended and why, its failed tests or its first error, what it tests, where it ran.",
        ),
      ),
    ),
  )
    .option("--json", "print its record as one JSON object")
    .action(async (build: string, ofBox: string | undefined, options: Options) => {
      if (ofBox === undefined) await print(await local(build, options), options);
      else await printRemote(build, ofBox, options);
    });
}

async function local(build: string, options: Options): Promise<Source> {
  const agent = findAgent(options);
  const query = new URLSearchParams({ build });
  const found = await agent.json<Pick<Source, "record" | "cases">>("GET", `/build?${query}`, {
    timeoutMs: controlTimeoutMs,
  });
  return { ...found, console: agent.bytes(`/console?${query}`) };
}

async function printRemote(box: string, build: string, options: Options): Promise<void> {
  const lack = `no box ${box} is connected that serves results`;
  const server = await findFunction(await findServers(options), fetchFunction(box), lack);
  await using calls = new ManagerCalls(server);
  const results = new BuildResults(askAgent({ calls, manager: box, build: selectBuild(build) }));
  try {
    const { key: _, request: _1, undelivered: _2, ...record } = await json<BuildRecord>(results, "record");
    const cases = record.tests ? (await json<{ cases: TestCase[] }>(results, "tests")).cases : [];
    await print({ record, cases, console: pieces(results) }, options);
  } catch (cause) {
    if (!(cause instanceof ExchangeError)) throw cause;
    throw new CommandError("failure", `${build} of ${box}: ${whyNot(cause)}`, { cause });
  }
}

async function json<T>(results: BuildResults, path: string): Promise<T> {
  return JSON.parse((await results.text(path)).toString()) as T;
}

async function* pieces(results: BuildResults): AsyncGenerator<Uint8Array> {
  for (let offset = 0; ; ) {
    const { bytes, size } = await results.piece("console", offset);
    yield bytes;
    offset += bytes.length;
    if (bytes.length === 0 || offset >= size) return;
  }
}

async function print(source: Source, { json }: Options): Promise<void> {
  if (json) return void process.stdout.write(`${JSON.stringify(source.record)}\n`);
  const { record, cases } = source;
  const rows = factsOf(record).map(([name = "", text = ""]) => [
    name,
    name === "result" ? stateCell(text) : text,
  ]);
  const failed = cases.filter(hasFailed);
  const hasFailure = record.ending !== undefined && !["passed", "stopped"].includes(record.ending.kind);
  process.stdout.write(`${printable(`${record.job}#${record.number}`)}\n`);
  process.stdout.write(table(["", { fit: "wrap" }], rows, { indent: 2 }));
  if (failed.length > 0) process.stdout.write(testsText(failed));
  else if (hasFailure) process.stdout.write(excerptText(await excerptOf(source.console)));
}

function factsOf(record: ShownRecord): string[][] {
  const { result, ending, assigned, started, commit, tests, artifacts = [], console } = record;
  const { warnings = [], steps = [] } = record;
  const state = ending ? (result ?? `(${ending.kind})`) : started === undefined ? "waiting" : "running";
  const took = durationOf(record);
  const change = changeOf(record.parameters, commit);
  const isClass = record.target !== undefined && record.target !== record.node;
  const facts: (string | undefined)[][] = [
    ["result", state],
    ["why", ending?.reason],
    ["node", isClass ? `${record.node} (asked for: ${record.target})` : record.node],
    ["assigned", timeText(assigned)],
    ["took", took === undefined ? undefined : formatElapsed(took)],
    ["steps", steps.length > 0 ? steps.map(describeStep).join(", ") : undefined],
    ["change", change && changeTitle(change)],
    ["commit", commit],
    ["tests", tests && `${tests.failures + tests.errors} of ${tests.tests} failed, ${tests.skipped} skipped`],
    ["artifacts", artifacts.length > 0 ? `${artifacts.length}` : undefined],
    ["console", console && formatSize(console.bytes)],
    ...warnings.map((text) => ["warning", text]),
    ["uuid", record.uuid],
    ["page", record.url],
  ];
  return facts.flatMap(([name = "", text]) => (text === undefined ? [] : [[name, text]]));
}

function describeStep({ name, took }: BuildStep): string {
  return took === undefined ? `${name} …` : `${name} ${formatElapsed(took)}`;
}

function testsText(failed: readonly TestCase[]): string {
  const rows = failed
    .slice(0, maxFailedTests)
    .map(({ name, message, details }) => [name, (message ?? details ?? "").trim().split("\n")[0] ?? ""]);
  const more = failed.length - rows.length;
  return `\nfailed tests\n${table([{ fit: "wrap" }, { fit: "wrap" }], rows, { indent: 2 })}${more > 0 ? `  and ${more} more\n` : ""}`;
}

interface Excerpt {
  /** Whether the first line is an error; else they are the console's last lines. */
  readonly isError: boolean;
  readonly lines: readonly (readonly [number: number, text: string])[];
}

/** The first line that is certainly an error; else the last one that looks like one; else the end. */
async function excerptOf(bytes: AsyncIterable<Uint8Array>): Promise<Excerpt> {
  let certain: [number, string][] | undefined;
  let likely: [number, string][] | undefined;
  const recent: [number, string][] = [];
  for await (const [number, line] of linesOf(bytes)) {
    const rank = certain ? undefined : errorRank(line);
    if (isAgentsLine(line)) continue;
    if (rank === "certain") certain = [];
    else if (rank === "likely") likely = [];
    for (const lines of [certain, likely])
      if (lines && lines.length < excerptLines) lines.push([number, line]);
    recent.push([number, line]);
    if (recent.length > excerptLines) recent.shift();
    if (certain?.length === excerptLines) break;
  }
  const found = certain ?? likely;
  return { isError: found !== undefined, lines: found ?? recent };
}

async function* linesOf(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<[number, string]> {
  const decoder = new TextDecoder();
  let rest = "";
  let number = 0;
  let read = 0;
  for await (const chunk of bytes) {
    read += chunk.length;
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) yield [++number, line.replace(/\r$/, "")];
    if (read >= maxConsoleBytes) return;
  }
  if (rest !== "") yield [++number, rest];
}

function excerptText({ isError, lines }: Excerpt): string {
  if (lines.length === 0) return "";
  const rows = lines.map(([number, text]) => [`${number}`, stripVTControlCharacters(text)]);
  const title = isError ? "the first error in its console" : "the end of its console";
  return `\n${title}\n${table(["", { fit: "wrap" }], rows, { indent: 2 })}`;
}
