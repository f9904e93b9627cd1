/** Asks what `labgear setup` needs to know and no option says. */
import { hostname } from "node:os";
import { createInterface } from "node:readline/promises";
import { kinds, refuse } from "#/config/kinds.ts";
import type { FoundPort } from "#/devices/discovery/discovery.ts";
import { printable } from "#/lib/text.ts";
import { CommandError } from "../exit.ts";
import type { Answers } from "./file.ts";

/** What the options say; absent: not known yet. */
export interface Given {
  readonly name?: string;
  readonly server?: readonly string[];
  readonly classes?: readonly string[];
  readonly executors?: number;
  /** Paths of ports, or all or none of them. */
  readonly boards?: readonly string[];
}

export function withDefaults(given: Given, found: readonly FoundPort[]): Answers {
  const { name, server = [], classes = [], executors, boards = ["none"] } = given;
  return {
    ...(name !== undefined && { name }),
    servers: server,
    classes,
    ...(executors !== undefined && { executors }),
    boards: boards.includes("all")
      ? found
      : found.filter(({ path, byId }) => boards.includes(path) || boards.includes(byId ?? "")),
  };
}

/**
 * Asks a person for the rest.
 * @throws CommandError failure when the input ends in the middle
 */
export async function ask(
  given: Given,
  found: readonly FoundPort[],
  input: NodeJS.ReadableStream,
  output: NodeJS.WritableStream,
): Promise<Answers> {
  using lines = disposable(createInterface({ input, output }));
  const over = new AbortController();
  const tooEarly = new CommandError("failure", "the input ended too early; nothing was written");
  lines.once("close", () => over.abort(tooEarly));
  const question = (text: string) =>
    lines.question(text, { signal: over.signal }).catch((error) => {
      throw over.signal.aborted ? over.signal.reason : error;
    });
  const words = async (text: string, kind: "server" | "name") => {
    for (;;) {
      const answer = (await question(text)).split(/[\s,]+/).filter(Boolean);
      const wrong = answer.map((word) => refuse(kinds[kind], word)).find((reason) => reason !== undefined);
      if (!wrong) return answer;
      output.write(`  ${wrong}\n`);
    }
  };
  const name = given.name ?? (await words(`Name of this box [${hostname()}]: `, "name"))[0];
  const server =
    given.server ?? (await words("Job servers, HOST or HOST:PORT [an embedded one on this box]: ", "server"));
  const classes =
    given.classes ??
    (await words("Classes that clients may ask for [auto: detected from the hardware]: ", "name"));
  const boards = [...(given.boards ?? [])];
  if (!given.boards) {
    for (const { path, manufacturer = "", product = "" } of found) {
      const about = printable([path, manufacturer, product].filter(Boolean).join(", "));
      if (/^y/i.test(await question(`Is there a board on ${about}? [y/N]: `))) boards.push(path);
    }
  }
  return withDefaults({ ...given, ...(name !== undefined && { name }), server, classes, boards }, found);
}

function disposable<Lines extends { close(): void }>(lines: Lines): Lines & Disposable {
  return Object.assign(lines, { [Symbol.dispose]: () => lines.close() });
}
