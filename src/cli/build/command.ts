/** `labgear build`: runs a build on any node that takes it and follows it to its end. */
import { type Command, InvalidArgumentError, Option } from "commander";
import type { GateClient } from "#/client/gate.ts";
import { isClientTimeout } from "#/exchange/inputs.ts";
import { isInputName } from "#/exchange/message.ts";
import { Admin } from "#/gearman/client/admin.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { formatAddress } from "#/lib/address.ts";
import { parseDuration } from "#/lib/units.ts";
import { buildFunction } from "#/zuul/functions.ts";
import { CommandError, exitCodes } from "../exit.ts";
import { findGate, type GateOptions, withGate } from "../gate-options.ts";
import { newCommand, rawOption } from "../options.ts";
import { findFunction } from "../registered.ts";
import { findServers, type ServerOptions, withServers } from "../servers.ts";
import { collectInto, collectJunit, describeCollected, whyNot } from "../transfer/collect.ts";
import { announce, type InputFile } from "../transfer/inputs.ts";
import { readOrMakeKey } from "../transfer/key-file.ts";
import type { Renderer } from "./events.ts";
import { exitCodeOf, showEnding } from "./follow.ts";
import { gatePlace, submitAtGate } from "./gate.ts";
import { type Launch, type Launched, submitBuild } from "./launch.ts";
import { chooseRenderer } from "./render.ts";
import { type BuildPlace, launchWithRetries, serverPlace } from "./retry.ts";
import { appendSummary, type Summarized } from "./summary.ts";

interface BuildOptions extends ServerOptions, GateOptions {
  readonly node?: string;
  readonly parameter?: Readonly<Record<string, string>>;
  readonly file?: readonly InputFile[];
  readonly fetch?: string;
  readonly junit?: string;
  readonly key?: string;
  readonly summary?: string;
  readonly priority?: "high" | "normal" | "low";
  readonly queueTimeout?: number;
  readonly clientTimeout: number;
  readonly retryInfra?: number;
  readonly detach?: true;
  readonly json?: true;
  readonly quiet?: true;
  readonly raw?: true;
}

/** Options that need somebody who waits for the build. */
const following = ["file", "fetch", "junit", "summary", "queueTimeout", "retryInfra", "quiet"];

export function command(): Command {
  return withGate(
    withServers(
      newCommand("build JOB [OPTIONS]", "Runs a build and follows its output; Ctrl-C stops the build."),
    ),
  )
    .argument("<job>", "a job that `labgear functions` lists")
    .option("--node <class>", "a class of nodes, or a node's name (default: any node that runs the job)")
    .option("-p, --parameter <key=value>", "a parameter of the build; can be repeated", parameter)
    .option("--file <name=path>", "a file for the job's input of that name; can be repeated", inputFile)
    .option(
      "--fetch <folder>",
      "at its end, fetch console, record, test reports and artifacts into the folder",
    )
    .option("--junit <file>", "at its end, fetch its test reports as one file")
    .option(
      "--key <file>",
      "sign with the key in the file, made if it is missing: `labgear fetch --key` gets the results where they aren't public; with --gate, the build's key is written there",
    )
    .option("--summary <file>", "append its summary in Markdown (default: GITHUB_STEP_SUMMARY)")
    .addOption(new Option("--priority <level>", "its place in the queue").choices(["high", "normal", "low"]))
    .option(
      "--queue-timeout <duration>",
      "give up when no node has taken it for so long, such as 30m",
      duration,
    )
    .addOption(
      new Option(
        "--client-timeout <duration>",
        "without a sign of life from this command for so long, the agent stops the build; 0: never",
      )
        .argParser(clientTimeout)
        .default(60_000, "60s"),
    )
    .option("--retry-infra <count>", "run it again, on another board, when it ends without a result", count)
    .addOption(new Option("--detach", "submit the build and do not wait for it").conflicts(following))
    .addOption(
      new Option(
        "--json",
        "print one JSON object per line: created, waiting, started, output, progress, stopping, notice, ended",
      ).conflicts("quiet"),
    )
    .option("-q, --quiet", "print no lines of its own but warnings, and an ending other than SUCCESS")
    .addOption(rawOption().conflicts("json"))
    .addHelpText(
      "after",
      "\nThe build's output goes to standard output, lines of this command to standard error. On GitHub and GitLab the output is a" +
        "\ngroup of the log, and what a build writes is no command to the runner." +
        "\n\nExit code: 0 SUCCESS, 1 FAILURE, 3 ABORTED, 4 TIMED_OUT, 5 no result (infrastructure), or results that can't be fetched or written," +
        "\n6 not registered, 7 no job server, 8 gave up waiting in the queue, 2 wrong command line or configuration," +
        "\n130 interrupted while the build was still stopping.",
    )
    .action(async (job: string, options: BuildOptions) => {
      process.exitCode = await run(job, options);
    });
}

async function run(job: string, options: BuildOptions): Promise<number> {
  const { node, parameter: parameters = {}, file: files = [], priority = "normal" } = options;
  const gate = await findGate(options);
  if (gate) return await runAtGate(gate, job, options);
  const key = options.key === undefined ? undefined : await readOrMakeKey(options.key);
  const announced = await announce(files);
  const lack = `no node ${node === undefined ? "" : `${node} `}runs ${job} now`;
  const server = await findFunction(await findServers(options), buildFunction(job, node), lack);
  using renderer = chooseRenderer({ output: process.stdout, own: process.stderr }, options);
  if (options.detach) {
    await submitBuild(server, { job, node, parameters, priority, key }, renderer);
    if (!options.json)
      process.stderr.write(
        "find it with `labgear log UUID -f` or `labgear builds` on the box that takes it\n",
      );
    return exitCodes.success;
  }
  const receivesData = await passesDataOn(server);
  if (files.length > 0 && !receivesData) {
    const text = `${formatAddress(server)} is the Perl job server, which passes nothing on while a build runs: --file needs gearmand or labgear's own`;
    throw new CommandError("usage", text);
  }
  const clientTimeoutMs = receivesData && options.clientTimeout > 0 ? options.clientTimeout : undefined;
  const launch = { job, node, parameters, priority, files, announced, key, clientTimeoutMs, receivesData };
  return await follow(
    serverPlace(server),
    { ...launch, queueTimeoutMs: options.queueTimeout },
    options,
    renderer,
  );
}

async function runAtGate(gate: GateClient, job: string, options: BuildOptions): Promise<number> {
  const { node, parameter: parameters = {}, file: files = [], priority, key: keyFile } = options;
  const announced = await announce(files);
  const clientTimeoutMs = options.clientTimeout > 0 && !options.detach ? options.clientTimeout : undefined;
  const { queueTimeout: queueTimeoutMs } = options;
  const launch = { job, node, parameters, priority, files, announced, clientTimeoutMs, queueTimeoutMs };
  using renderer = chooseRenderer({ output: process.stdout, own: process.stderr }, options);
  if (options.detach) {
    await submitAtGate(gate, launch, renderer, keyFile);
    return exitCodes.success;
  }
  return await follow(gatePlace(gate, keyFile), { ...launch, receivesData: true }, options, renderer);
}

async function follow(
  place: BuildPlace,
  launch: Launch,
  options: BuildOptions,
  renderer: Renderer,
): Promise<number> {
  const begun = performance.now();
  const attempts = await launchWithRetries(place, launch, renderer, options.retryInfra ?? 0);
  const last = attempts.at(-1) ?? attempts[0];
  const hasResults = await collect(last, options, renderer);
  const endings = attempts.map(({ ending }) => ending);
  const build = { job: launch.job, attempts: endings, tookMs: performance.now() - begun };
  const isComplete = (await summarize(build, options, renderer)) && hasResults;
  showEnding(renderer, last.ending);
  const code = exitCodeOf(last.ending);
  return code === exitCodes.success && !isComplete ? exitCodes.noResult : code;
}

/** @returns false when it can't be written, which says nothing about the build */
async function summarize(build: Summarized, { summary }: BuildOptions, renderer: Renderer): Promise<boolean> {
  const file = summary ?? process.env.GITHUB_STEP_SUMMARY;
  if (!file) return true;
  try {
    await appendSummary(file, build);
    return true;
  } catch (error) {
    renderer.show({ event: "notice", text: whyNot(error) });
    return false;
  }
}

/** @returns false when something that was asked for can't be had */
async function collect(
  { ending, openResults }: Launched,
  { fetch, junit, quiet }: BuildOptions,
  renderer: Renderer,
): Promise<boolean> {
  if (fetch === undefined && junit === undefined) return true;
  const say = (text: string) => renderer.show({ event: "notice", text });
  const { manager } = ending;
  if (typeof manager !== "string") {
    say("no agent has reported the build, so it has no results to fetch");
    return false;
  }
  await using opened = openResults(manager);
  const { results } = opened;
  let isComplete = true;
  const leftOut = (text: string) => {
    isComplete = false;
    say(text);
  };
  try {
    if (fetch !== undefined) {
      const collected = await collectInto(fetch, results, leftOut);
      if (!quiet) say(describeCollected(collected, fetch));
    }
    if (junit !== undefined && !(await collectJunit(junit, results)))
      say(`it has no test reports: ${junit} is not written`);
    return isComplete;
  } catch (error) {
    say(`its results can't be fetched: ${whyNot(error)}`);
    return false;
  }
}

/** False for the Perl job server, which knows no WORK_DATA. Only its version begins so; geard never answers. */
export async function passesDataOn(server: ServerAddress): Promise<boolean> {
  await using admin = await Admin.connect(server, { answerTimeoutMs: 2000 });
  return !(await admin.version().catch(() => "")).startsWith("v1.");
}

function parameter(text: string, former: Readonly<Record<string, string>> = {}): Record<string, string> {
  const [, key, value] = /^([^=]+)=(.*)$/s.exec(text) ?? [];
  if (key === undefined || value === undefined) throw new InvalidArgumentError("expected KEY=VALUE.");
  // It becomes the Gearman unique: gearmand allows 64 bytes, and `stop:` no white space.
  if (key === "ZUUL_UUID" && !/^[!-~]{1,64}$/.test(value)) {
    throw new InvalidArgumentError("expected 1 to 64 printable ASCII characters.");
  }
  return { ...former, [key]: value };
}

function inputFile(text: string, former: readonly InputFile[] = []): InputFile[] {
  const [, name, path] = /^([^=]+)=(.+)$/s.exec(text) ?? [];
  if (name === undefined || path === undefined) throw new InvalidArgumentError("expected NAME=PATH.");
  if (!isInputName(name))
    throw new InvalidArgumentError(
      "an input's name has small letters, digits and _, and begins with a letter.",
    );
  if (former.some((file) => file.name === name)) throw new InvalidArgumentError(`${name} is given twice.`);
  return [...former, { name, path }];
}

function duration(text: string): number {
  const milliseconds = parseDuration(text);
  // A timer can't be longer.
  if (milliseconds !== undefined && milliseconds > 0 && milliseconds < 2 ** 31) return milliseconds;
  throw new InvalidArgumentError("expected a duration such as 90s, 30m or 1h30m.");
}

function clientTimeout(text: string): number {
  if (text === "0") return 0;
  const milliseconds = parseDuration(text) ?? 0;
  if (isClientTimeout(milliseconds / 1000)) return milliseconds;
  throw new InvalidArgumentError("expected whole seconds from 5s to 24h, or 0.");
}

function count(text: string): number {
  if (/^[0-9]{1,3}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("expected a number from 0 to 999.");
}
