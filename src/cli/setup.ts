/** `labgear setup`: from an installed package to a running agent. */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline/promises";
import { type Command, InvalidArgumentError } from "commander";
import { execa } from "execa";
import { stringify } from "yaml";
import { kinds, refuse } from "#/config/kinds.ts";
import { defaultConfigFile, loadConfig } from "#/config/load.ts";
import type { Config } from "#/config/model.ts";
import { Discovery, type FoundPort } from "#/devices/discovery/discovery.ts";
import { scanYaml } from "#/devices/discovery/scan.ts";
import { ownProgram, sampleConfig } from "#/host/executable.ts";
import { printable } from "#/lib/text.ts";
import { CommandError } from "./exit.ts";
import { newCommand } from "./options.ts";
import { describeConfig } from "./print.ts";

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
    .option("--force", "replace the file that an earlier setup wrote")
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
  const answers = isAsked
    ? await ask(options, found, process.stdin, process.stdout)
    : withDefaults(options, found);
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

/** Absent or empty means the default, which is not written. */
export interface Answers {
  readonly name?: string;
  readonly servers: readonly string[];
  readonly classes: readonly string[];
  readonly executors?: number;
  readonly boards: readonly FoundPort[];
}

/** The drop-in as YAML. */
export function setupYaml({ name, servers, classes, executors, boards }: Answers): string {
  const host = { ...(classes.length > 0 && { classes }), ...(executors !== undefined && { executors }) };
  const settings = {
    ...(name !== undefined && { name }),
    ...(servers.length > 0 && { servers }),
    ...(Object.keys(host).length > 0 && { host }),
  };
  const parts = [
    "# Written by labgear setup; setup --force overwrites it. Put jobs into labgear.yaml or into another file here.\n",
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
    throw new CommandError("usage", `${file} exists already: edit it, or overwrite it with --force`);
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
