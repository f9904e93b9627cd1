/** `labgear log`: the console of a build, finished or running; or what went over its serial line. */
import { type Command, Option } from "commander";
import { type CaptureRecord, readCapture } from "#/lib/capture.ts";
import { printable } from "#/lib/text.ts";
import { buildName, findAgent, newCommand, rawOption, withControl } from "./options.ts";
import { print } from "./terminal.ts";

interface Options {
  readonly follow?: true;
  readonly serial?: true;
  readonly raw?: true;
  readonly control?: string;
}

export function command(): Command {
  return withControl(
    newCommand(
      "log JOB[#NUMBER]|UUID [OPTIONS]",
      "Prints a build's console: byte for byte into a file or a pipe, without control sequences on a terminal.",
    ),
  )
    .argument("<build>", "JOB for its newest build, JOB#NUMBER, or the build's uuid", buildName)
    .option("-f, --follow", "go on as the console grows, until the build has ended")
    .addOption(
      new Option(
        "--serial",
        "print what went over the board's serial line instead: a time, < from or > to the board, the bytes",
      ).conflicts("follow"),
    )
    .addOption(rawOption())
    .action(async (build: string, options: Options) => {
      const query = new URLSearchParams({ build, ...(options.follow && { follow: "1" }) });
      const agent = findAgent(options);
      const output = options.serial
        ? serialText(agent.bytes(`/serial?${query}`))
        : agent.bytes(`/console?${query}`);
      await print(output, options);
    });
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
