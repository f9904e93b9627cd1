/** `labgear investigate`: runs a failed build again, here and on a sibling of its board, and says what was at fault. */
import { type Command, InvalidArgumentError } from "commander";
import { ManagerCalls } from "#/client/calls.ts";
import { askServer } from "#/client/registered.ts";
import { Signer } from "#/client/signer.ts";
import { ExchangeError } from "#/exchange/errors.ts";
import { fetchFunction } from "#/exchange/functions.ts";
import type { BuildSelector } from "#/exchange/key.ts";
import { Client } from "#/gearman/client/client.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { formatAddress } from "#/lib/address.ts";
import { printable } from "#/lib/text.ts";
import { formatElapsed } from "#/lib/units.ts";
import { passesDataOn } from "../build/command.ts";
import { CommandError, exitCodes } from "../exit.ts";
import { withoutGate } from "../gate-options.ts";
import { buildName, newCommand, selectBuild } from "../options.ts";
import { findFunction } from "../registered.ts";
import { findServers, type ServerOptions, withServers } from "../servers.ts";
import { type Column, stateCell, table } from "../table.ts";
import { askInfo } from "../transfer/info.ts";
import { readKey } from "../transfer/key-file.ts";
import { askAgent, BuildResults } from "../transfer/results.ts";
import { findSibling } from "./nodes.ts";
import { findEarlierFailure, findPassed, type Original, readOriginal } from "./original.ts";
import { type Investigated, investigate, type ShownRun } from "./runs.ts";
import { describeVerdict, judge } from "./verdict.ts";

interface InvestigateOptions extends ServerOptions {
  readonly minutes: number;
  readonly key?: string;
  readonly auto?: true;
  readonly json?: true;
}

export function command(): Command {
  return withoutGate(
    withServers(
      newCommand(
        "investigate MANAGER JOB#NUMBER|UUID [OPTIONS]",
        "Runs a failed build again at low priority: on its board, on a sibling of its class, and on both with the inputs of the last build that passed. Says what was at fault: software, board, flaky or infrastructure.",
      ),
    ),
    "an investigation chooses boards by name and repeats others' builds, which a gate allows nobody: run it in the lab, with --server",
  )
    .argument("<manager>", "the agent's name, as its builds report it")
    .argument("<build>", "JOB#NUMBER, or the build's uuid", buildName)
    .option("--minutes <number>", "stop when the boards have worked for so long", minutes, 30)
    .option("--key <file>", "the key that `labgear build --key` used: needed where records aren't public")
    .option(
      "--auto",
      "for scripts, after each failed build: nothing but at a job's first failure; the verdict becomes its description",
    )
    .option("--json", "print one JSON object: the runs, the verdict and how likely each is")
    .addHelpText(
      "after",
      "\nInputs are repeated while the box still keeps them, so the sibling of a build with inputs is on the same box." +
        "\nA run waits for its node for as long as --minutes at most. Ctrl-C stops the run." +
        "\n\nExit code: 0 a verdict, 1 can't tell, or the build can't be repeated; 3 interrupted, 6 no such agent, 7 no job server.",
    )
    .action(async (manager: string, build: string, options: InvestigateOptions) => {
      try {
        process.exitCode = await run(manager, build, options);
      } catch (cause) {
        if (!(cause instanceof ExchangeError || (cause instanceof CommandError && cause.code === "failure")))
          throw cause;
        throw new CommandError("failure", `${build} of ${manager}: ${cause.message}`, { cause });
      }
    });
}

async function run(manager: string, build: string, options: InvestigateOptions): Promise<number> {
  const lack = `no manager ${manager} is connected that serves results`;
  const signer = options.key === undefined ? undefined : new Signer(await readKey(options.key));
  const server = await findFunction(await findServers(options), fetchFunction(manager), lack);
  if (!(await passesDataOn(server))) {
    const text = `${formatAddress(server)} is the Perl job server, which passes nothing on while a build runs: this needs gearmand or labgear's own`;
    throw new CommandError("usage", text);
  }
  await using calls = new ManagerCalls(server);
  const resultsOf = (of: BuildSelector) => new BuildResults(askAgent({ calls, manager, build: of, signer }));
  const original = await readOriginal(resultsOf(selectBuild(build)));
  const say = (text: string) => process.stderr.write(`[${printable(text)}]\n`);
  const earlier = options.auto && (await findEarlierFailure(original, resultsOf));
  if (earlier) {
    say(`${earlier} failed, too: only a first failure is investigated`);
    return exitCodes.success;
  }
  const functions = await askServer(server);
  const sibling = findSibling(original, manager, await askInfo(server, functions), functions);
  const found = await findPassed(original, resultsOf);
  const passed = typeof found === "string" ? undefined : found;
  if (typeof found === "string") say(`no build that passed is repeated: ${found}`);
  const investigated = await investigate({
    ...{ server, original, sibling, passed, say, maxMs: options.minutes * 60_000 },
    onRun: (one) => say(`${nameOf(one)} on ${one.node}: ${resultOf(one)}`),
  });
  const { runs, why } = investigated;
  const judgement = judge(original.outcome, runs);
  const names = { board: original.node, sibling, passed: passed?.build };
  const sentence = describeVerdict(judgement, original.outcome, runs, names, why);
  const of = { build: `${original.job}#${original.number}`, manager, ...names };
  if (options.auto) await describeBuild(server, manager, original, sentence);
  if (options.json) {
    const { verdict = null, likelihoods } = judgement;
    const minutesUsed = Math.round(investigated.usedMs / 600) / 100;
    const object = { ...of, verdict, sentence, likelihoods, minutes: minutesUsed, runs: runs.map(jsonOf) };
    process.stdout.write(`${JSON.stringify(object)}\n`);
  } else process.stdout.write(`${runsTable(investigated, passed?.build)}${printable(sentence)}\n`);
  if (investigated.interrupted) return exitCodes.aborted;
  return judgement.verdict === undefined ? exitCodes.failure : exitCodes.success;
}

/** The build's page and the API show it. */
async function describeBuild(
  server: ServerAddress,
  manager: string,
  { job, number }: Original,
  sentence: string,
): Promise<void> {
  await using client = await Client.connect(server);
  const entities: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;" };
  const html = printable(sentence).replace(/[&<>]/g, (char) => entities[char] ?? char);
  const data = JSON.stringify({ name: job, number, html_description: html });
  const submitted = await client.submit({ function: `set_description:${manager}`, data });
  for await (const event of submitted)
    if (event.type === "fail")
      process.stderr.write(`labgear: ${manager} doesn't take a description of ${job}#${number}\n`);
}

function runsTable({ runs }: Investigated, passed: string | undefined): string {
  if (runs.length === 0) return "";
  const rows = runs.map((one) => [
    ...[
      nameOf(one),
      one.node,
      one.inputs === "failed" ? "its own" : `of ${passed}`,
      stateCell(resultOf(one)),
    ],
    ...[formatElapsed(one.tookMs), `${one.facts.url ?? ""}`],
  ]);
  return `${table(columns, rows)}\n`;
}

const columns: readonly Column[] = [
  ...["BUILD", "NODE", "INPUTS", "RESULT", "TOOK"],
  { title: "PAGE", fit: "drop" },
];

function nameOf({ facts }: Pick<ShownRun, "facts">): string {
  return facts.number === undefined ? "none" : `${facts.name}#${facts.number}`;
}

function resultOf({ result = "no result", cause, outcome }: ShownRun): string {
  return outcome === "passed" || cause === undefined ? result : `${result} (${cause})`;
}

function jsonOf({ facts, node, inputs, outcome, result, reason, cause, tookMs }: ShownRun) {
  const { manager, url } = facts;
  return {
    ...{ build: nameOf({ facts }), node, manager, inputs, outcome },
    ...{ result, reason, cause, seconds: Math.round(tookMs / 10) / 100, url },
  };
}

function minutes(text: string): number {
  // A timer can't be longer than 24 days.
  if (/^[1-9][0-9]{0,3}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("expected a number from 1 to 9999.");
}
