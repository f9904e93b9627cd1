/** `labgear lease`: a board for a while, for a person or a program. */
import { access, constants } from "node:fs/promises";
import { hostname, userInfo } from "node:os";
import { type Command, InvalidArgumentError, Option } from "commander";
import { type Calls, ManagerCalls } from "#/client/calls.ts";
import { GateLease } from "#/client/gate-lease.ts";
import { type LeaseTerms, leaseFunction } from "#/exchange/lease.ts";
import { typeFunction } from "#/exchange/typing.ts";
import { Admin } from "#/gearman/client/admin.ts";
import type { ServerAddress } from "#/gearman/wire/dial.ts";
import { type Address, formatAddress } from "#/lib/address.ts";
import { printable } from "#/lib/text.ts";
import { formatElapsed, parseDuration } from "#/lib/units.ts";
import { exitCodeOf } from "../build/follow.ts";
import { reasonOf } from "../build/lines.ts";
import { CommandError, exitCodes } from "../exit.ts";
import { findGate, type GateOptions, withGate } from "../gate-options.ts";
import { type FileNames, fileNames, listenOption, newCommand, rawOption, tcpPort } from "../options.ts";
import { findFunction } from "../registered.ts";
import { findServers, type ServerOptions, withServers } from "../servers.ts";
import { gatePlace, leasesBehind } from "./gate.ts";
import type { KeptLease } from "./kept.ts";
import { leasesAt, leaseTable } from "./list.ts";
import { giveOrder } from "./order.ts";
import { type LeasePlace, serverPlace } from "./place.ts";
import { runCommand } from "./run-command.ts";
import { serveBytes } from "./serve.ts";
import { lease, type UseBoard } from "./session.ts";
import { menuText, useTerminal } from "./terminal.ts";

interface Options extends ServerOptions, GateOptions {
  readonly for: number;
  readonly reason?: string;
  readonly priority: "high" | "normal" | "low";
  readonly queueTimeout?: number;
  readonly tcp?: number;
  readonly listen: Address;
  readonly put?: readonly FileNames[];
  readonly get?: readonly FileNames[];
  readonly raw?: boolean;
  readonly list?: true;
}

export function command(): Command {
  return withGate(
    withServers(
      newCommand(
        "lease CLASS [OPTIONS] [-- COMMAND…]",
        "Gives you a board for a while, through the same queue as builds: its console on this terminal, or a command that uses its port.",
      ),
    ),
  )
    .argument("[class]", "a class of devices, or a device's name; or extend or release")
    .argument("[command...]", "what to run on this machine; the lease ends with it")
    .addOption(
      new Option("--for <duration>", "how long you want it").argParser(duration).default(30 * 60_000, "30m"),
    )
    .option("--reason <text>", "shown to those who wait for the board")
    .addOption(
      new Option("--priority <level>", "its place in the queue")
        .choices(["high", "normal", "low"])
        .default("normal"),
    )
    .option(
      "--queue-timeout <duration>",
      "give up when no device was free for so long, such as 30m",
      duration,
    )
    .option(
      "--tcp <port>",
      "serve the board's bytes on this port of this machine instead of the terminal",
      tcpPort,
    )
    .addOption(listenOption("where the board is served for the command or --tcp"))
    .option("--put <file:path>", "send a file to the board first, and verify it; can be repeated", more)
    .option(
      "--get <path:file>",
      "fetch a file from the board at the end, and verify it; can be repeated",
      more,
    )
    .addOption(rawOption())
    .option("--list", "show which boards are leased, until when, by whom and why, and lease none")
    .addHelpText(
      "after",
      `\nOn the terminal Ctrl-] opens a menu: ${menuText.replace(", t ", ",\nt ")}.` +
        "\nA command gets LABGEAR_DEVICE, LABGEAR_BAUD and LABGEAR_PORT, an rfc2217:// address on this machine that pySerial and what is" +
        "\nmade with it take for a port: speed, format, DTR, RTS, break. Control lines keep their timing, however slow the network is." +
        "\n`labgear lease extend [DEVICE] [--for 30m]` and `labgear lease release [DEVICE]` are for a lease that another process of yours" +
        "\nholds on this machine; DEVICE says which one of several. A board can't be had for longer than its lab allows at once." +
        "\nWithout a sign of life from this command for 10 s the lease ends. The board proves itself afterwards, as after a build." +
        "\n\nExit code: the command's; without one 0 once it is released. 3 stopped, 4 its time was over, 5 the board or the box failed, or" +
        "\nthe job server gave the lease away, 6 no such device can be leased, 7 no job server, 8 gave up waiting, 2 wrong command line," +
        "\n130 interrupted twice.",
    )
    .action(async (target: string | undefined, args: string[], options: Options) => {
      if (options.list) {
        const gate = await findGate(options);
        const rows = gate ? await leasesBehind(gate) : await leasesAt(await findServers(options));
        return void process.stdout.write(leaseTable(rows));
      }
      if (target === undefined) throw new CommandError("usage", "which board? Name a class or a device");
      if (target === "extend" || target === "release") await order(target, args, options);
      else process.exitCode = await run(target, args, options);
    });
}

/** To a lease that another process holds. */
async function order(op: "extend" | "release", args: readonly string[], options: Options): Promise<void> {
  const [device, ...more] = args;
  if (more.length > 0) throw new CommandError("usage", `lease ${op} takes one device`);
  const deed =
    op === "extend" ? ({ op, seconds: options.for / 1000 } as const) : ({ op, reason: "released" } as const);
  process.stdout.write(`${await giveOrder((lease) => openCalls(lease, options), device, deed)}\n`);
}

/** Where the lease was asked for. @throws CommandError */
async function openCalls({ manager, gate: behind }: KeptLease, options: Options): Promise<Calls> {
  if (behind) {
    const gate = await findGate({ gate: behind.url, ...(options.tlsCa && { tlsCa: options.tlsCa }) });
    if (gate) return new GateLease(gate, behind.build);
  }
  const name = typeFunction(manager);
  return new ManagerCalls(
    await findFunction(await findServers(options), name, `no box ${manager} is connected`),
  );
}

async function run(target: string, args: readonly string[], options: Options): Promise<number> {
  const { priority, queueTimeout: queueTimeoutMs, put = [] } = options;
  for (const { from } of put) await refuseUnreadable(from);
  const place = await findPlace(target, options);
  const begun = performance.now();
  const request = { place, target, terms: termsOf(options), priority, queueTimeoutMs, say };
  const { ending, used } = await lease(request, useOf(args, options));
  const isReleased = used !== undefined && ending.result === "SUCCESS";
  const took = formatElapsed(performance.now() - begun);
  say(`lease ended after ${took}: ${isReleased ? used.reason : reasonOf(ending) || (ending.reason ?? "")}`);
  return isReleased ? (used.exitCode ?? exitCodes.success) : exitCodeOf(ending);
}

/** @throws CommandError; GearmanError when no server answers */
async function findPlace(target: string, options: Options): Promise<LeasePlace> {
  const gate = await findGate(options);
  if (gate) return gatePlace(gate);
  const servers = await findServers(options);
  const lack = `no device ${target} can be leased now`;
  const server = await findFunction(servers, leaseFunction(target), lack);
  await refusePerl(server);
  return serverPlace(server);
}

/** Files to the board come before its use, those from the board behind it. */
function useOf(args: readonly string[], options: Options): UseBoard {
  const { put = [], get = [] } = options;
  const use = plainUseOf(args, options);
  return async (board, ended) => {
    for (const names of put) await board.files.put(names);
    const used = await use(board, ended);
    if (!ended.aborted) for (const names of get) await board.files.get(names);
    return used;
  };
}

function plainUseOf(args: readonly string[], { tcp, listen, raw = false }: Options): UseBoard {
  if (args.length > 0) return (board, ended) => runCommand(args, board, listen, ended);
  if (tcp === undefined) return (board, ended) => useTerminal(board, ended, { say, raw });
  return async (board, ended) => {
    await using served = await serveBytes(board, { host: listen.host, port: tcp });
    say(`${board.device} is served on ${served.address}; Ctrl-C ends the lease`);
    await new Promise<void>((resolve) => {
      if (ended.aborted) resolve();
      ended.addEventListener("abort", () => resolve(), { once: true });
    });
    return { reason: "released" };
  };
}

/** Before the board is held for it. @throws CommandError usage */
async function refuseUnreadable(file: string): Promise<void> {
  try {
    await access(file, constants.R_OK);
  } catch (cause) {
    throw new CommandError("usage", `--put: ${file} can't be read: ${(cause as Error).message}`, { cause });
  }
}

/** In raw mode a terminal doesn't return the carriage. */
function say(text: string): void {
  const end = process.stdin.isTTY && process.stdin.isRaw ? "\r\n" : "\n";
  process.stderr.write(`[labgear] ${printable(text)}${end}`);
}

function termsOf({ for: forMs, reason }: Options): LeaseTerms {
  const who = `${userName()}@${hostname()}`.slice(0, 200);
  return { forMs, who, reason: reason ?? who };
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return String(process.getuid?.() ?? "unknown");
  }
}

/** @throws CommandError usage: the Perl job server knows no WORK_DATA */
async function refusePerl(server: ServerAddress): Promise<void> {
  await using admin = await Admin.connect(server, { answerTimeoutMs: 2000 });
  if (!(await admin.version().catch(() => "")).startsWith("v1.")) return;
  const text = `${formatAddress(server)} is the Perl job server, which passes nothing on while a lease runs: leases need gearmand or labgear's own`;
  throw new CommandError("usage", text);
}

function duration(text: string): number {
  const milliseconds = parseDuration(text);
  if (milliseconds !== undefined && milliseconds >= 1000 && milliseconds < 2 ** 31)
    return Math.round(milliseconds / 1000) * 1000;
  throw new InvalidArgumentError("expected a duration such as 90s, 30m or 1h30m.");
}

function more(text: string, former: readonly FileNames[] = []): FileNames[] {
  return [...former, fileNames(text)];
}
