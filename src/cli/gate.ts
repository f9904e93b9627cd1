/** `labgear gate`: the door of a lab for CI systems outside it. */
import { readFileSync } from "node:fs";
import { type Command, Option } from "commander";
import { decodeJwt } from "jose";
import { startGate } from "#/gate/compose.ts";
import { certificateWarnings, defaultGateFile, type GateConfig, loadGateConfig } from "#/gate/config.ts";
import { ruleWarnings } from "#/gate/rule-config.ts";
import { type Allowance, type Claims, claimsOf, explain } from "#/gate/rules.ts";
import { createNotifier } from "#/host/notify.ts";
import { loadSystemCalls } from "#/host/syscalls.ts";
import { createLog, type LogLevel, logLevels } from "#/lib/log.ts";
import { inWords, printable } from "#/lib/text.ts";
import { formatDuration, formatSize } from "#/lib/units.ts";
import { CommandError, exitCodes } from "./exit.ts";
import { newCommand } from "./options.ts";
import { onSignals } from "./signals.ts";

interface GateOptions {
  readonly config?: string;
  readonly logLevel: LogLevel;
  readonly check?: true;
  readonly explain?: string;
}

export function command(): Command {
  return newCommand(
    "gate [OPTIONS]",
    "Lets CI systems outside the lab run builds, by their tokens and the lab's rules.",
  )
    .option("--config <file>", `the gate's configuration (default: ${defaultGateFile})`)
    .addOption(new Option("--check", "validate the configuration and end").conflicts("explain"))
    .option(
      "--explain <token-or-claims>",
      "say which rule decides about a token, or about claims as JSON, and why others don't; @FILE or - reads it; nothing is verified",
    )
    .addOption(
      new Option("--log-level <level>", "the least serious lines to log").choices(logLevels).default("info"),
    )
    .addHelpText(
      "after",
      "\nSIGHUP reads the configuration again. Builds go on while the gate is down, and are taken up again at its start." +
        "\n--explain: claims say where they come from by iss (the issuer's address), issuer or token (names of the configuration)." +
        "\nExit code: 0; 1 when no rule matches with --explain; 2 a wrong configuration.",
    )
    .action(async (options: GateOptions) => {
      if (options.check) return check(loadGateConfig(options.config));
      if (options.explain !== undefined) {
        process.exitCode = explainTo(loadGateConfig(options.config), options.explain);
        return;
      }
      await run(options);
    });
}

function warn(config: GateConfig): void {
  const kinds = new Map(config.issuers.map(({ name, kind }) => [name, kind]));
  for (const warning of [...ruleWarnings(config.rules, kinds), ...certificateWarnings(config, new Date())])
    process.stderr.write(`labgear: warning: ${warning}\n`);
}

function check(config: GateConfig): void {
  warn(config);
  const { rules, issuers, tokens } = config;
  const count = (number: number, word: string) => `${number} ${word}${number === 1 ? "" : "s"}`;
  process.stdout.write(
    `${count(rules.length, "rule")}, ${count(issuers.length, "issuer")}, ${count(tokens.size, "token")}, no mistakes\n`,
  );
}

function explainTo(config: GateConfig, given: string): number {
  const { decision, lines } = explain(config.rules, readClaims(config, given));
  for (const line of lines) process.stdout.write(`${printable(line)}\n`);
  if (decision) process.stdout.write(`it allows ${printable(describe(decision.allow))}\n`);
  return decision ? exitCodes.success : exitCodes.failure;
}

/** @throws CommandError usage */
function readClaims(config: GateConfig, given: string): Claims {
  const text = readGiven(given).trim();
  let payload: Record<string, unknown>;
  try {
    payload = text.startsWith("{") ? JSON.parse(text) : decodeJwt(text);
  } catch {
    throw new CommandError("usage", "--explain: this is neither a token nor claims as a JSON object");
  }
  const { issuer, token, iss } = payload;
  if (typeof token === "string") return claimsOf(payload, { token });
  const name = typeof issuer === "string" ? issuer : config.issuers.find(({ url }) => url === iss)?.name;
  if (name === undefined) {
    const known = config.issuers.map(({ url }) => url);
    throw new CommandError(
      "usage",
      `--explain: iss is no configured issuer (${inWords(known, "or") || "there is none"})`,
    );
  }
  return claimsOf(payload, { issuer: name });
}

function readGiven(given: string): string {
  if (given !== "-" && !given.startsWith("@")) return given;
  try {
    return readFileSync(given === "-" ? 0 : given.slice(1), "utf8");
  } catch (cause) {
    throw new CommandError("usage", `--explain: ${given} can't be read: ${(cause as Error).message}`, {
      cause,
    });
  }
}

function describe(allow: Allowance): string {
  const list = (texts: Iterable<string>) => [...texts].join(", ") || "none";
  const sources = (patterns: Allowance["jobs"]) => list(patterns.map(({ source }) => source));
  const parts = [
    `jobs ${sources(allow.jobs)}`,
    `classes ${allow.classes ? sources(allow.classes) : "any"}`,
    `trust ${list(allow.trust)}`,
    ...(allow.debug ? ["debug"] : []),
    ...(allow.checkout === undefined ? [] : [`checkouts from ${allow.checkout}`]),
    `inputs ${list([...allow.inputs].map(([name, size]) => `${name} (${formatSize(size)})`))}`,
    `parameters ${list([...allow.parameters].map(([name, { source }]) => `${name}=${source}`))}`,
    `priority ${allow.priority}`,
    `${formatDuration(allow.queueMs)} in the queue`,
    allow.runMs === undefined ? "the job's own timeout" : `${formatDuration(allow.runMs)} of run time`,
    ...(allow.minutesADay === undefined ? [] : [`${allow.minutesADay} minutes a day`]),
    `${allow.atOnce} at once`,
    allow.leasesMs === undefined ? "no leases" : `leases of ${formatDuration(allow.leasesMs)}`,
  ];
  return parts.join("; ");
}

async function run({ config: file, logLevel }: GateOptions): Promise<void> {
  process.title = "labgear-gate";
  const log = await createLog(process.stderr, logLevel);
  const load = () => loadGateConfig(file);
  warn(load());
  const notifier = createNotifier(process.env, loadSystemCalls());
  const gate = await startGate(load, log);
  const ended = Promise.withResolvers<void>();
  onSignals(["SIGTERM", "SIGINT"], () => ended.resolve());
  onSignals(["SIGHUP"], () => {
    notifier.reloading();
    gate
      .reload()
      .catch((error: Error) => log.error({}, `the old configuration stays in force: ${error.message}`))
      .finally(() => notifier.ready());
  });
  notifier.ready();
  const { watchdogIntervalMs } = notifier;
  const timer =
    watchdogIntervalMs === undefined
      ? undefined
      : setInterval(() => notifier.watchdog(), watchdogIntervalMs / 2);
  await ended.promise;
  clearInterval(timer);
  notifier.stopping(30_000);
  await gate[Symbol.asyncDispose]();
}
