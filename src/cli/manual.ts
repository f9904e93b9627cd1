/** `labgear manual`: the manual pages, generated from the commands' help and the configuration's schema. */
import { Argument, type Command } from "commander";
import type { Kind } from "#/config/kinds.ts";
import { defaultConfigFile } from "#/config/load.ts";
import { configSchema } from "#/config/schema.ts";
import { defaultControl } from "#/control/client.ts";
import { defaultGateFile, gateSchema } from "#/gate/config.ts";
import { version } from "#/lib/version.ts";
import { newCommand } from "./options.ts";
import type { CommandNode, CommandTree } from "./tree.ts";

const pages = {
  labgear: commandPage,
  "labgear.yaml": async () => configPage(),
  "labgear-gate.yaml": async () => gatePage(),
} as const;

export function command(tree: CommandTree): Command {
  return newCommand("manual [PAGE] [OPTIONS]", "Prints a manual page for man(1): labgear manual | man -l -")
    .addArgument(
      new Argument("[page]", "the program, or a configuration file")
        .choices(Object.keys(pages))
        .default("labgear"),
    )
    .action(async (page: keyof typeof pages) => {
      process.stdout.write(await pages[page](tree));
    });
}

/** labgear(1), in the format of man(7). */
async function commandPage(tree: CommandTree): Promise<string> {
  const commands = await tree();
  return [
    pageStart("labgear", 1, version),
    heading("Name"),
    "labgear \\- turns a build box and its boards into nodes for Gearman and Zuul\n",
    heading("Synopsis"),
    verbatim("labgear COMMAND [OPTIONS]\nlabgear COMMAND --help"),
    heading("Description"),
    paragraph(
      "labgear registers the jobs that a box offers with Gearman job servers and runs the builds that they hand out, on the " +
        "box itself or on a board on a serial port. Clients choose among the configured jobs; they never send commands.",
    ),
    heading("Commands"),
    ...commands.map(section),
    heading("Files"),
    item(defaultConfigFile, "The configuration; see labgear.yaml(5)."),
    item("/etc/labgear/conf.d/*.yaml", "Merged over it in the order of their names."),
    item("/etc/labgear/secrets, /etc/labgear/tls", "Passwords and keys that only the agent can read."),
    item("/var/lib/labgear", "Builds, workspaces and the agent's own state."),
    item(defaultGateFile, "The gate's configuration; see labgear-gate.yaml(5)."),
    item("/var/lib/labgear-gate", "The gate's builds and minutes, and its audit log."),
    item(defaultControl, "The control socket: anyone who may write to it controls the agent."),
    heading("Environment"),
    item("LABGEAR_SERVER", "The job server that client commands talk to: HOST[:PORT]."),
    item("LABGEAR_CONTROL", "The control socket."),
    item("LABGEAR_GATE", "The gate that client commands go through, in place of a job server."),
    item("LABGEAR_TOKEN", "The token for the gate. On GitHub one is asked for where it isn't set."),
    item("LABGEAR_AUDIENCE", "The audience of GitHub's token. Default: the gate's host name."),
    heading("Exit status"),
    item("0", "SUCCESS, or the command did what it was asked."),
    item("1", "FAILURE, or the command failed."),
    item("2", "The command line or the configuration is wrong."),
    item("3, 4", "ABORTED, TIMED_OUT."),
    item("5", "No result, or results that can't be fetched or written."),
    item("6, 7", "The job is not registered; no job server answers."),
    item("8", "The build waited too long in the queue."),
    item("130", "Interrupted while the build was still stopping."),
    heading("See also"),
    paragraph("labgear.yaml(5), labgear-gate.yaml(5), gearmand(8), systemctl(1)"),
  ].join("");
}

function section({ usage, description, options, arguments: names, notes }: CommandNode): string {
  return [
    subheading(`labgear ${usage}`),
    paragraph(description),
    ...names.map(({ name, description: text }) => item(name.toUpperCase(), text)),
    ...options.map(({ flags, description: text }) => item(flags, text)),
    ...(notes ? [verbatim(notes)] : []),
  ].join("");
}

/** The part of JSON Schema that the configuration's schema uses. */
interface Schema {
  readonly [keyword: string]: unknown;
  readonly type?: string | readonly string[];
  readonly kind?: Kind;
  readonly description?: string;
  readonly default?: unknown;
  readonly enum?: readonly unknown[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly additionalProperties?: boolean | Schema;
  readonly oneOf?: readonly Schema[];
  readonly anyOf?: readonly Schema[];
}

/** In the format of man(7). */
export function configPage(): string {
  const schema = configSchema as Schema;
  return [
    pageStart("labgear.yaml", 5, version),
    heading("Name"),
    "labgear.yaml \\- the configuration of labgear\n",
    heading("Synopsis"),
    verbatim("/etc/labgear/labgear.yaml\n/etc/labgear/conf.d/*.yaml"),
    heading("Description"),
    paragraph(
      "YAML. The files in conf.d are merged over labgear.yaml in the order of their names: mappings are merged, lists and " +
        "single values replaced. After a change run `labgear check`, which reports each mistake with its line, then " +
        "`systemctl reload labgear`. An invalid file changes nothing.",
    ),
    paragraph("Durations are written 30m, 10s or 1h30m; sizes 2GiB (1024) or 4GB (1000)."),
    heading("Options"),
    ...properties(schema),
    heading("See also"),
    paragraph("labgear(1)"),
  ].join("");
}

function gatePage(): string {
  return [
    pageStart("labgear-gate.yaml", 5, version),
    heading("Name"),
    "labgear\\-gate.yaml \\- the configuration of labgear's gate\n",
    heading("Synopsis"),
    verbatim(defaultGateFile),
    heading("Description"),
    paragraph(
      "YAML, one file. After a change run `labgear gate --check`, which reports each mistake with its line, then " +
        "`systemctl reload labgear-gate`. `labgear gate --explain TOKEN` says which rule decides about a token, and why others don't. " +
        "An invalid file changes nothing.",
    ),
    paragraph("Durations are written 30m, 10s or 1h30m; sizes 2GiB (1024) or 4GB (1000)."),
    heading("Options"),
    ...properties(gateSchema as Schema),
    heading("See also"),
    paragraph("labgear(1)"),
  ].join("");
}

function properties(schema: Schema): string[] {
  return Object.entries(schema.properties ?? {}).map(([name, value]) => entry(name, value));
}

function entry(name: string, schema: Schema): string {
  return item(name, sentence(schema)) + below(schema);
}

/** The keys inside a mapping, its entries, or a list's items. */
function below(schema: Schema): string {
  const { additionalProperties: named, items, oneOf = [], anyOf = [] } = schema;
  const parts = [
    ...properties(schema),
    ...(typeof named === "object" ? [entry("NAME", named)] : []),
    ...(items ? [below(items)] : []),
    ...[...oneOf, ...anyOf].map(below),
  ].join("");
  return parts === "" ? "" : indented(parts);
}

function sentence(schema: Schema): string {
  const { description = "", default: value } = schema;
  const fallback =
    value === undefined ? "" : ` Default: ${typeof value === "object" ? JSON.stringify(value) : value}.`;
  return `${description} ${form(schema)}${fallback}`.trim();
}

/** What is expected there, as `labgear check` puts it. */
function form({ kind, type, minimum, maximum, enum: values, items }: Schema): string {
  if (values) return `One of ${values.join(", ")}.`;
  if (kind) return `Expected: ${kind.expected}.`;
  const types = [type ?? []].flat();
  if (types.includes("integer"))
    return `Expected: a whole number${minimum === undefined ? "" : ` from ${minimum} to ${maximum}`}.`;
  if (types.includes("boolean")) return "Expected: true or false.";
  if (types.includes("array"))
    return `Expected: a list.${items?.kind ? ` Each: ${form(items).replace("Expected: ", "")}` : ""}`;
  return "";
}

/** Escapes everything that man would take for a macro or an escape. */
function roff(text: string): string {
  return text
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replace(/^(['.])/gm, "\\&$1")
    .replaceAll("…", "...")
    .replaceAll("→", "->");
}

/** @param section 1 for programs, 5 for files */
export function pageStart(name: string, section: number, version: string): string {
  return `.TH ${roff(name.toUpperCase())} ${section} "" "labgear ${version}" "labgear"\n.nh\n.ad l\n`;
}

export const heading = (text: string): string => `.SH ${roff(text.toUpperCase())}\n`;

export const subheading = (text: string): string => `.SS ${roff(text)}\n`;

export const paragraph = (text: string): string => `.PP\n${roff(text.trim())}\n`;

/** A term in bold with its explanation. */
export const item = (term: string, text: string): string => `.TP\n.B ${roff(term)}\n${roff(text.trim())}\n`;

/** Lines that are not filled. */
export const verbatim = (text: string): string => `.PP\n.nf\n${roff(text.trimEnd())}\n.fi\n`;

export const indented = (text: string): string => `.RS\n${text}.RE\n`;
