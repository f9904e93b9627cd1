/** Options that several commands share. */
import { userInfo } from "node:os";
import { Command, InvalidArgumentError, Option } from "commander";
import { ControlClient, defaultControl } from "#/control/client.ts";
import type { BuildSelector } from "#/exchange/key.ts";
import { parseAddress } from "#/lib/address.ts";
import { printable } from "#/lib/text.ts";

/** A command whose errors are one line that points to its help. */
export function newCommand(usage: string, description: string): Command {
  const [name = ""] = usage.split(" ", 1);
  return new Command(name)
    .usage(usage.slice(name.length + 1))
    .description(description)
    .helpOption("-h, --help", "show this help")
    .configureOutput({ outputError: (text, write) => write(usageError(name, text)) })
    .configureHelp({ commandUsage: () => `labgear ${usage}` })
    .showSuggestionAfterError()
    .exitOverride();
}

/** Commander's message as one line. */
function usageError(name: string, text: string): string {
  const line = text.replace(/^error: /, "").replace(/( is invalid[^.]*)\. /, "$1: ");
  const clean = printable(line.trim().replaceAll("\n", " ")).replace(/\.$/, "");
  return `labgear ${name}: ${clean}; see \`labgear ${name} --help\`\n`;
}

/** Adds the option that names the agent's control socket. */
export function withControl(command: Command): Command {
  return command.option(
    "--control <socket>",
    `the agent's control socket (default: LABGEAR_CONTROL, or ${defaultControl})`,
  );
}

/** Adds `<build> [of-box]`: a build of this box, or with another box's name before it, one of that. */
export function withBuildOfBox(command: Command): Command {
  return command
    .argument(
      "<build>",
      "JOB for its newest build, JOB#NUMBER, or the build's uuid; or another box's name",
      buildName,
    )
    .argument(
      "[of-box]",
      "with a box's name: its build, JOB#NUMBER or uuid, read through a job server",
      buildName,
    );
}

/** For commands that print what a build or a board wrote. */
export function rawOption(): Option {
  return new Option("--raw", "on a terminal, pass all control sequences on, not only colours");
}

export function findAgent(options: { control?: string | undefined }): ControlClient {
  return new ControlClient(options.control ?? (process.env.LABGEAR_CONTROL || defaultControl));
}

/** For requests that the agent answers at once. */
export const controlTimeoutMs = 30_000;

/** Who gives an order, for histories and records. The control socket's file decides who may pause at all. */
export function caller(): string {
  if (process.env.SUDO_USER) return process.env.SUDO_USER;
  try {
    return userInfo().username;
  } catch {
    // The user has no entry in /etc/passwd.
    return `uid ${process.getuid?.()}`;
  }
}

/** Parses `JOB#NUMBER`, `JOB` or a uuid. */
export function buildName(text: string): string {
  if (/^[^#\s]+(?:#[1-9][0-9]{0,14})?$/.test(text)) return text;
  throw new InvalidArgumentError("expected JOB#NUMBER or a uuid.");
}

/** @param build JOB#NUMBER, or a uuid */
export function selectBuild(build: string): BuildSelector {
  const [, name, number] = /^(.+)#(\d+)$/.exec(build) ?? [];
  return name === undefined ? { uuid: build } : { name, number: Number(number) };
}

/** A file and its name on the other side. */
export interface FileNames {
  readonly from: string;
  readonly to: string;
}

export function fileNames(text: string): FileNames {
  const [, from, to] = /^([^:]+):([^:]+)$/.exec(text) ?? [];
  if (from === undefined || to === undefined) throw new InvalidArgumentError("expected FROM:TO.");
  return { from, to };
}

/** @param description what is served there */
export function listenOption(description: string): Option {
  return new Option("--listen <host[:port]>", description)
    .argParser((text) => {
      const found = parseAddress(text, 0);
      if (found) return found;
      throw new InvalidArgumentError("expected HOST or HOST:PORT.");
    })
    .default({ host: "127.0.0.1", port: 0 }, "127.0.0.1");
}

export function tcpPort(text: string): number {
  if (/^[0-9]{1,5}$/.test(text) && Number(text) < 65_536) return Number(text);
  throw new InvalidArgumentError("expected a port from 0 to 65535.");
}
