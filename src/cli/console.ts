/** `labgear console`: shows a board's console, types on it and transfers files over it. */
import { createReadStream, createWriteStream } from "node:fs";
import { stat } from "node:fs/promises";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { setTimeout as delay } from "node:timers/promises";
import type { Command } from "commander";
import { ManagerCalls } from "#/client/calls.ts";
import { ControlError } from "#/control/errors.ts";
import { consoleFunction, formatConsoleRequest, parseConsolePiece } from "#/exchange/console.ts";
import { CommandError } from "./exit.ts";
import { type FileNames, fileNames, findAgent, newCommand, rawOption, withControl } from "./options.ts";
import { findFunction } from "./registered.ts";
import { findServers, type ServerOptions, withServers } from "./servers.ts";
import { print } from "./terminal.ts";

interface Options extends ServerOptions {
  readonly manager?: string;
  readonly write?: true;
  readonly raw?: true;
  readonly put?: FileNames;
  readonly get?: FileNames;
  readonly control?: string;
}

/** Ctrl-], as in telnet and virsh. */
const escapeKey = 0x1d;
const pollIntervalMs = 200;

export function command(): Command {
  return withServers(
    withControl(
      newCommand(
        "console DEVICE [OPTIONS]",
        "Shows a board's console live, starting with its latest output. Any number may watch; one may write.",
      ),
    ),
  )
    .argument("<device>", "the device's name")
    .option("--write", "type to the board while the device is paused (labgear pause DEVICE); Ctrl-] exits")
    .option("--put <file:path>", "send a file to the board and verify it", fileNames)
    .option("--get <path:file>", "fetch a file from the board and verify it", fileNames)
    .option(
      "--manager <name>",
      "of another box, through the job server, where its lab allows that; watching only",
    )
    .addOption(rawOption())
    .action(async (device: string, options: Options) => {
      if (options.manager !== undefined) return watchFromAfar(device, options.manager, options);
      if (options.put) return put(device, options.put, options);
      if (options.get) return get(device, options.get, options);
      return watch(device, options);
    });
}

async function watch(device: string, options: Options): Promise<void> {
  const path = `/devices/console?${new URLSearchParams({ device })}`;
  const agent = findAgent(options);
  if (!options.write) return print(agent.bytes(path), options);
  const { stdin } = process;
  process.stderr.write(`Press Ctrl-] to exit.\n`);
  if (stdin.isTTY) stdin.setRawMode(true);
  try {
    await print(agent.bytes(path, stdin.pipe(untilEscape())), options);
  } finally {
    if (stdin.isTTY) stdin.setRawMode(false);
    stdin.destroy();
  }
}

async function watchFromAfar(device: string, manager: string, options: Options): Promise<void> {
  if (options.write || options.put || options.get)
    throw new CommandError(
      "usage",
      "from afar a console can only be watched: `labgear lease` gives you the board",
    );
  const name = consoleFunction(manager);
  const lack = `no agent ${manager} shows consoles`;
  const server = await findFunction(await findServers(options), name, lack);
  await using calls = new ManagerCalls(server);
  await print(follow(), options);

  async function* follow(): AsyncGenerator<Uint8Array> {
    for (let offset: number | undefined; ; ) {
      const piece = parseConsolePiece(await calls.call(name, formatConsoleRequest(device, offset)));
      offset = piece.offset + piece.bytes.length;
      if (piece.bytes.length > 0) yield piece.bytes;
      if (offset === piece.end) await delay(pollIntervalMs);
    }
  }
}

/** Passes on what is typed, and exits at Ctrl-]. */
function untilEscape(): Transform {
  return new Transform({
    transform(chunk: Buffer, _, done) {
      const at = chunk.indexOf(escapeKey);
      if (at < 0 || !process.stdin.isTTY) return done(null, chunk);
      process.stdin.setRawMode(false);
      process.stderr.write("\n");
      process.exit(0);
    },
  });
}

async function put(device: string, { from, to }: FileNames, options: Options): Promise<void> {
  await stat(from).catch((cause: NodeJS.ErrnoException) => {
    throw new ControlError("REFUSED", `${from} cannot be read (${cause.code})`, { cause });
  });
  const path = `/devices/put?${new URLSearchParams({ device, to })}`;
  const { bytes } = await findAgent(options).json<{ bytes: number }>("POST", path, {
    bytes: createReadStream(from),
  });
  process.stdout.write(`${from} is on ${device} as ${to}: ${bytes} bytes, verified\n`);
}

async function get(device: string, { from, to }: FileNames, options: Options): Promise<void> {
  const bytes = findAgent(options).bytes(`/devices/get?${new URLSearchParams({ device, from })}`);
  await pipeline(bytes, createWriteStream(to));
  process.stdout.write(`${from} of ${device} is here as ${to}, verified\n`);
}
