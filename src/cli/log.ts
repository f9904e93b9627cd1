/** `labgear log`: the console of a build, finished or running; or what went over its serial line. */
import { setTimeout as delay } from "node:timers/promises";
import { type Command, Option } from "commander";
import { ManagerCalls } from "#/client/calls.ts";
import { ExchangeError } from "#/exchange/errors.ts";
import { fetchFunction } from "#/exchange/functions.ts";
import { type CaptureRecord, readCapture } from "#/lib/capture.ts";
import { printable } from "#/lib/text.ts";
import { CommandError } from "./exit.ts";
import { findAgent, newCommand, rawOption, selectBuild, withBuildOfBox, withControl } from "./options.ts";
import { findFunction } from "./registered.ts";
import { findServers, type ServerOptions, withServers } from "./servers.ts";
import { print } from "./terminal.ts";
import { whyNot } from "./transfer/collect.ts";
import { askAgent, BuildResults } from "./transfer/results.ts";

const followIntervalMs = 1000;

interface Options extends ServerOptions {
  readonly follow?: true;
  readonly serial?: true;
  readonly raw?: true;
  readonly control?: string;
}

export function command(): Command {
  return withBuildOfBox(
    withServers(
      withControl(
        newCommand(
          "log [BOX] JOB[#NUMBER]|UUID [OPTIONS]",
          "Prints a build's console: byte for byte into a file or a pipe, without control sequences on a terminal.",
        ),
      ),
    ),
  )
    .option("-f, --follow", "go on as the console grows, until the build has ended")
    .addOption(
      new Option(
        "--serial",
        "print what went over the board's serial line instead: a time, < from or > to the board, the bytes",
      ).conflicts("follow"),
    )
    .addOption(rawOption())
    .action(async (build: string, ofBox: string | undefined, options: Options) => {
      if (ofBox !== undefined) return await printRemote(build, ofBox, options);
      const query = new URLSearchParams({ build, ...(options.follow && { follow: "1" }) });
      const agent = findAgent(options);
      const output = options.serial
        ? serialText(agent.bytes(`/serial?${query}`))
        : agent.bytes(`/console?${query}`);
      await print(output, options);
    });
}

/** Reads by `fetch:`, as far as the box's pages are open to everybody. */
async function printRemote(box: string, build: string, options: Options): Promise<void> {
  const lack = `no box ${box} is connected that serves results`;
  const server = await findFunction(await findServers(options), fetchFunction(box), lack);
  await using calls = new ManagerCalls(server);
  const results = new BuildResults(askAgent({ calls, manager: box, build: selectBuild(build) }));
  const bytes = read(results, options.serial ? "serial" : "console", options.follow === true);
  try {
    await print(options.serial ? serialText(bytes) : bytes, options);
  } catch (cause) {
    if (!(cause instanceof ExchangeError)) throw cause;
    throw new CommandError("failure", `${build} of ${box}: ${whyNot(cause)}`, { cause });
  }
}

async function* read(results: BuildResults, path: string, follows: boolean): AsyncGenerator<Uint8Array> {
  for (let offset = 0; ; ) {
    const { bytes, size, end } = await results.piece(path, offset);
    if (bytes.length > 0) yield bytes;
    offset += bytes.length;
    if (end || (!follows && (offset >= size || bytes.length === 0))) return;
    // The protocol has no other way to follow: see exchange/fetch.ts.
    if (bytes.length === 0) await delay(followIntervalMs);
  }
}

const signs: Record<CaptureRecord["kind"], string> = { received: "<", sent: ">", note: "#" };

/** One line for each line of the board, and for the rest of a record. */
async function* serialText(capture: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const { time, kind, bytes } of readCapture(capture)) {
    const text = Buffer.from(bytes).toString(kind === "note" ? "utf8" : "latin1");
    const start = `${new Date(time).toISOString()} ${signs[kind]} `;
    for (const line of text.match(/[^\n]*\n|[^\n]+/g) ?? [])
      yield Buffer.from(`${start}${kind === "note" ? printable(line) : escaped(line)}\n`);
  }
}

const names: Readonly<Record<string, string>> = { "\\": "\\\\", "\r": "\\r", "\n": "\\n", "\t": "\\t" };

/** Everything but printable ASCII as in C. */
function escaped(text: string): string {
  return text.replaceAll(
    /[^ -~]|\\/g,
    (char) => names[char] ?? `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`,
  );
}
