/** `labgear setup`: from an installed package to a running agent. */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline/promises";
import { type Command, InvalidArgumentError } from "commander";
import { execa } from "execa";
import { parse, stringify } from "yaml";
import { kinds, refuse } from "#/config/kinds.ts";
import { defaultConfigFile, loadConfig } from "#/config/load.ts";
import { isMapping } from "#/config/merge.ts";
import type { Config } from "#/config/model.ts";
import { Discovery, type FoundPort } from "#/devices/discovery/discovery.ts";
import { scanYaml } from "#/devices/discovery/scan.ts";
import { ownProgram, sampleConfig } from "#/host/executable.ts";
import { printable } from "#/lib/text.ts";
import { describeConfig } from "./check.ts";
import { CommandError } from "./exit.ts";
import { newCommand } from "./options.ts";

interface SetupOptions extends Given {
  readonly config: string;
  readonly force?: true;
  readonly start: boolean;
  readonly yes?: true;
}

const unit = "labgear.service";

export function command(): Command {
  return newCommand(
    "setup [OPTIONS]",
    "Asks a few questions about this box, writes the configuration and starts the agent's unit.",
  )
    .option("--name <name>", "the name of this box (default: the host's)")
    .option("--server <host[:port]>", "a job server; can be repeated (default: an embedded one)", list)
    .option("--classes <names>", "the classes that clients may ask for, separated by commas", list)
    .option("--executors <number>", "how many builds the host may run at once", count)
    .option(
      "--boards <ports>",
      "ports that boards are connected to, separated by commas; or all, or none",
      list,
    )
    .option("--config <file>", "the configuration", defaultConfigFile)
    .option("--force", "change the file that an earlier setup wrote; what isn't answered stays")
    .option("--no-start", "only write the file")
    .option("--yes", "ask nothing: use the default for what no option sets")
    .addHelpText(
      "after",
      "\nIt writes conf.d/setup.yaml beside the configuration file, which it leaves as it is.",
    )
    .action(run);
}

async function run(options: SetupOptions): Promise<void> {
  using discovery = new Discovery();
  const found = await discovery.list();
  const isAsked = !options.yes && process.stdin.isTTY;
  const former = formerAnswers(options.config);
  const answers = isAsked
    ? await ask(options, former, found, process.stdin, process.stdout)
    : withDefaults(options, former, found);
  const missing = (options.boards ?? []).find(
    (port) =>
      !["all", "none"].includes(port) &&
      !answers.boards.some(({ path, byId }) => path === port || byId === port),
  );
  if (missing !== undefined) {
    throw new CommandError("usage", `there is no serial port ${missing}: see \`labgear devices --scan\``);
  }
  const place = { config: options.config, sample: sampleConfig, force: options.force === true };
  const config = await writeSetup(answers, place);
  process.stdout.write(`${setupFile(options.config)} written\n${describeConfig(config)}\n`);
  if (config.jobs.size === 0) process.stdout.write(`next, add jobs under jobs: in ${options.config}\n`);
  if (options.start) await startUnit();
}

/** Starts the unit now and at boot; a running agent restarts when it is idle. */
async function startUnit(): Promise<void> {
  if (!existsSync("/run/systemd/system")) {
    process.stdout.write("systemd is not running here: start `labgear agent` yourself\n");
    return;
  }
  const { exitCode } = await execa("systemctl", ["is-active", "--quiet", unit], { reject: false });
  const order =
    exitCode === 0 ? [...ownProgram(), "restart", "--when-idle"] : ["systemctl", "enable", "--now", unit];
  const [program = "", ...args] = order;
  const { failed, stderr } = await execa(program, args, { reject: false });
  if (failed)
    throw new CommandError(
      "failure",
      `\`${order.join(" ")}\` failed: ${stderr.trim() || "see journalctl -u labgear"}`,
    );
  process.stdout.write(
    exitCode === 0 ? "the agent restarts with it as soon as no build is running\n" : `${unit} started\n`,
  );
}

function list(text: string, former: readonly string[] = []): string[] {
  return [...former, ...text.split(",").filter(Boolean)];
}

function count(text: string): number {
  if (/^[1-9]\d{0,2}$/.test(text)) return Number(text);
  throw new InvalidArgumentError("expected a whole number of 1 or more.");
}

/** What the options say; absent: not known yet. */
export interface Given {
  readonly name?: string;
  readonly server?: readonly string[];
  readonly classes?: readonly string[];
  readonly executors?: number;
  /** Paths of ports, or all or none of them. */
  readonly boards?: readonly string[];
}

/** @param former what an earlier setup wrote: it stays where nothing else is given */
export function withDefaults(given: Given, former: Former, found: readonly FoundPort[]): Answers {
  const name = given.name ?? former.name;
  const executors = given.executors ?? former.host?.executors;
  const { boards } = given;
  return {
    ...(name !== undefined && { name }),
    servers: given.server ?? former.servers ?? [],
    classes: given.classes ?? former.host?.classes ?? [],
    ...(executors !== undefined && { executors }),
    boards: boards?.includes("all")
      ? found
      : found.filter(({ path, byId }) => boards?.includes(path) || boards?.includes(byId ?? "")),
    ...(!boards && former.devices && { devices: former.devices }),
  };
}

/** The part of an earlier setup's file that setup itself writes. */
export interface Former {
  readonly name?: string;
  readonly servers?: readonly string[];
  readonly host?: { readonly classes?: readonly string[]; readonly executors?: number };
  readonly devices?: Readonly<Record<string, unknown>>;
}

/** A damaged file counts as none: --force replaces it, and nothing else does. */
function formerAnswers(config: string): Former {
  try {
    const value: unknown = parse(readFileSync(setupFile(config), "utf8"));
    return isMapping(value) ? value : {};
  } catch {
    return {};
  }
}

/**
 * Asks a person for the rest, and shows what will be written.
 * @throws CommandError failure when the input ends in the middle
 */
export async function ask(
  given: Given,
  former: Former,
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
  /** Asks until the answer is right. */
  const until = async <Answer>(text: string, read: (answer: string) => Answer): Promise<Answer> => {
    for (;;) {
      const answer = (await question(text)).trim();
      try {
        return read(answer);
      } catch (error) {
        output.write(`  ${(error as Error).message}\n`);
      }
    }
  };
  const { name: formerName = hostname(), servers: formerServers, host: formerHost } = former;
  const name =
    given.name ??
    (await until(`Name of this box [${formerName}]: `, (answer) => {
      const wrong = answer === "" ? undefined : refuse(kinds.name, answer);
      if (wrong !== undefined) throw new Error(wrong);
      return answer || former.name;
    }));
  const server =
    given.server ??
    (await until(
      `Job servers, HOST or HOST:PORT [${formerServers?.join(" ") ?? "an embedded one on this box"}]: `,
      (answer) => words(answer, "server") ?? formerServers ?? [],
    ));
  const classes =
    given.classes ??
    (await until(
      `Classes that clients may ask for [${formerHost?.classes?.join(" ") ?? "auto: detected from the hardware"}]: `,
      (answer) => words(answer, "name") ?? formerHost?.classes ?? [],
    ));
  const executors =
    given.executors ??
    (await until(`Builds that this box may run at once [${formerHost?.executors ?? 1}]: `, (answer) =>
      answer === "" ? formerHost?.executors : count(answer),
    ));
  const boards = [...(given.boards ?? [])];
  if (!given.boards && !former.devices) {
    for (const { path, manufacturer = "", product = "" } of found) {
      const about = printable([path, manufacturer, product].filter(Boolean).join(", "));
      if (/^y/i.test(await question(`Is there a board on ${about}? [y/N]: `))) boards.push(path);
    }
  }
  const answers = withDefaults(
    {
      ...(name !== undefined && { name }),
      ...{ server, classes },
      ...(executors !== undefined && { executors }),
      ...((given.boards || !former.devices) && { boards }),
    },
    former,
    found,
  );
  output.write(`\n${setupYaml(answers)}\n`);
  if (/^n/i.test(await question("Write this? [Y/n]: ")))
    throw new CommandError("failure", "nothing was written");
  return answers;
}

/** @returns undefined if there are none. @throws Error for one that isn't of the kind */
function words(text: string, kind: "server" | "name"): string[] | undefined {
  const found = text.split(/[\s,]+/).filter(Boolean);
  const wrong = found.map((word) => refuse(kinds[kind], word)).find((reason) => reason !== undefined);
  if (wrong !== undefined) throw new Error(wrong);
  return found.length > 0 ? found : undefined;
}

function disposable<Lines extends { close(): void }>(lines: Lines): Lines & Disposable {
  return Object.assign(lines, { [Symbol.dispose]: () => lines.close() });
}

/** Absent or empty means the default, which is not written. */
export interface Answers {
  readonly name?: string;
  readonly servers: readonly string[];
  readonly classes: readonly string[];
  readonly executors?: number;
  readonly boards: readonly FoundPort[];
  /** Those of an earlier setup, which stay. */
  readonly devices?: Readonly<Record<string, unknown>>;
}

/** The drop-in as YAML. */
export function setupYaml({ name, servers, classes, executors, boards, devices }: Answers): string {
  const host = { ...(classes.length > 0 && { classes }), ...(executors !== undefined && { executors }) };
  const settings = {
    ...(name !== undefined && { name }),
    ...(servers.length > 0 && { servers }),
    ...(Object.keys(host).length > 0 && { host }),
    ...(devices && { devices }),
  };
  const parts = [
    "# Written by labgear setup; setup --force changes it. Put jobs into labgear.yaml or into another file here.\n",
    ...(Object.keys(settings).length > 0 ? [stringify(settings)] : []),
    ...(boards.length > 0 ? [scanYaml(boards)] : []),
  ];
  return parts.join("");
}

/** The drop-in's path for a configuration file. */
const setupFile = (config: string): string => join(dirname(config), "conf.d/setup.yaml");

/**
 * Writes the drop-in, and the sample where there is no configuration. If the result is invalid, both are undone.
 * @param config the configuration file
 * @param sample the configuration to write where there is none
 * @throws CommandError usage when the drop-in exists and may not be replaced; ConfigError; the system's error
 */
export async function writeSetup(
  answers: Answers,
  { config, sample, force }: { config: string; sample: () => string; force: boolean },
): Promise<Config> {
  const file = setupFile(config);
  const former = existsSync(file) ? readFileSync(file) : undefined;
  if (former && !force) {
    throw new CommandError("usage", `${file} exists already: edit it, or answer anew with --force`);
  }
  const isNew = !existsSync(config);
  mkdirSync(dirname(file), { recursive: true });
  if (isNew) write(config, sample());
  write(file, setupYaml(answers));
  try {
    return await loadConfig({ file: config });
  } catch (error) {
    if (former) write(file, former);
    else rmSync(file);
    if (isNew) rmSync(config);
    throw error;
  }
}

/** By rename: the agent may read the file at any moment. */
function write(file: string, content: string | Buffer): void {
  writeFileSync(`${file}.new`, content, { mode: 0o644 });
  renameSync(`${file}.new`, file);
}
