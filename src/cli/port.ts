/** `labgear port`: a paused or leased board's serial line for programs on this box. */
import { EventEmitter, once } from "node:events";
import { PassThrough } from "node:stream";
import type { Command } from "commander";
import { lineOf, linesOf } from "#/control/lines.ts";
import { type LineStatus, parseLeaseEvent } from "#/exchange/lease.ts";
import { type JsonObject, parseObject } from "#/exchange/message.ts";
import type { Deed } from "#/exchange/typing.ts";
import type { Address } from "#/lib/address.ts";
import { printable } from "#/lib/text.ts";
import { CommandError, exitCodes } from "./exit.ts";
import { keptLeases } from "./lease/kept.ts";
import { type ServedBoard, serveBytes, serveRfc2217 } from "./lease/serve.ts";
import type { BoardEvents } from "./lease/session.ts";
import { findAgent, listenOption, newCommand, tcpPort, withControl } from "./options.ts";
import { onSignals } from "./signals.ts";

interface Options {
  readonly tcp?: number;
  readonly listen: Address;
  readonly control?: string;
}

/** A purge drops what is written and not sent yet: in pieces of this size. */
const maxWriteBytes = 4096;
const maxLineBytes = 1024 * 1024;

export function command(): Command {
  return withControl(
    newCommand(
      "port DEVICE [OPTIONS]",
      "Serves a board's serial line to programs on this box, as RFC 2217, while the board is paused or leased by you.",
    ),
  )
    .argument("<device>", "the device's name")
    .option("--tcp <port>", "serve the board's bytes on this port instead", tcpPort)
    .addOption(listenOption("where the board is served"))
    .addHelpText(
      "after",
      "\nThe address that it prints is one that pySerial and what is made with it take for a port: speed, format, DTR, RTS, break." +
        "\nOne program at a time uses it. Ctrl-C ends it, and so does `labgear resume`: speed, format and control lines are put back." +
        "\n\nExit code: 0 after Ctrl-C, 1 when the board can't be had, or is resumed, released or unplugged.",
    )
    .action(serve);
}

async function serve(device: string, { tcp, listen, control }: Options): Promise<void> {
  const session = keptLeases().find((lease) => lease.device === device)?.session;
  const query = new URLSearchParams({ device, ...(session !== undefined && { session }) });
  const typed = new PassThrough();
  let isEnding = false;
  using _ = onSignals(["SIGINT", "SIGTERM", "SIGHUP"], () => {
    if (isEnding) process.exit(exitCodes.interrupted);
    isEnding = true;
    typed.end();
  });
  const answer = linesOf(findAgent({ control }).bytes(`/devices/port?${query}`, typed), maxLineBytes);
  try {
    const board = new PausedBoard(typed, (await next(answer)).baud as number);
    await using served =
      tcp === undefined
        ? await serveRfc2217(board, listen)
        : await serveBytes(board, { host: listen.host, port: tcp });
    const address = tcp === undefined ? `rfc2217://${served.address}` : served.address;
    say(`${device} is served on ${address}; Ctrl-C ends it`);
    for await (const line of answer) board.take(parseObject(line, maxLineBytes));
  } finally {
    typed.end();
    await answer.return(undefined);
  }
}

async function next(answer: AsyncGenerator<Buffer>): Promise<JsonObject> {
  const { value } = await answer.next();
  return parseObject(value ?? Buffer.alloc(0));
}

class PausedBoard extends EventEmitter<BoardEvents> implements ServedBoard {
  readonly baud: number;
  readonly holder: ServedBoard["holder"];
  lines: LineStatus = {};
  readonly #typed: PassThrough;
  /** What the program that has the port has set. */
  readonly #changed = new Set<Deed["op"]>();

  constructor(typed: PassThrough, baud: number) {
    super();
    this.baud = baud;
    this.#typed = typed;
    this.holder = {
      write: (bytes) => this.#write(bytes),
      do: (deed) => this.#do(deed),
      purge: () => this.#do({ op: "purge" }),
      drained: async () => {
        if (typed.writableNeedDrain) await once(typed, "drain");
      },
    };
  }

  /** @throws CommandError failure: it is the end */
  take(news: JsonObject): void {
    if (typeof news.ended === "string")
      throw new CommandError("failure", `the port has ended: ${news.ended}`);
    const event = parseLeaseEvent(news);
    if (event?.kind === "serial") this.emit("serial", event.bytes);
    if (event?.kind === "done" && event.error !== undefined) say(`it can't be done: ${event.error}`);
    if (event?.kind !== "lines") return;
    this.lines = event.lines;
    this.emit("lines", event.lines);
  }

  /** The next program finds what its server believes: see Rfc2217Server. */
  left(): void {
    if (this.#changed.has("baud")) this.#do({ op: "baud", baud: this.baud });
    if (this.#changed.has("format")) this.#do({ op: "format", bits: 8, parity: "none", stop: 1 });
    this.#changed.clear();
  }

  #write(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += maxWriteBytes) {
      const data = Buffer.from(bytes.subarray(at, at + maxWriteBytes)).toString("base64");
      this.#do({ op: "write", data });
    }
  }

  /** Done as it comes: nothing between here and the agent would change its time. */
  #do(deed: Deed): void {
    this.#changed.add(deed.op);
    if (!this.#typed.writableEnded) this.#typed.write(lineOf({ sent: 0, operations: [{ at: 0, ...deed }] }));
  }
}

function say(text: string): void {
  process.stderr.write(`[labgear] ${printable(text)}\n`);
}
