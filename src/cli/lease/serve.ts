/** Serves a board on this machine: as RFC 2217, or as plain bytes over TCP. One program at a time. */
import { type EventEmitter, once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import { Rfc2217Server, type SerialEvent } from "#/devices/port/rfc2217-server.ts";
import type { LineStatus } from "#/exchange/lease.ts";
import { type Address, formatAddress } from "#/lib/address.ts";
import { CommandError } from "../exit.ts";
import type { BoardEvents, HeldBoard } from "./session.ts";

/** What a program needs of a board. */
export interface ServedBoard extends EventEmitter<BoardEvents>, Pick<HeldBoard, "baud" | "lines"> {
  readonly holder: Pick<HeldBoard["holder"], "write" | "do" | "purge" | "drained">;
  /** A program has ended. */
  left?(): void;
}

export interface Served extends AsyncDisposable {
  /** HOST:PORT. */
  readonly address: string;
}

/** How far a program may lag behind the board's output. */
const maxUnreadBytes = 4 * 1024 * 1024;
/** As RFC 2217's break is on until it is off. */
const maxBreakMs = 10_000;

/** @throws CommandError failure when nothing can listen there */
export async function serveRfc2217(board: ServedBoard, where: Address): Promise<Served> {
  return await serve(board, where, (socket) => talkRfc2217(board, socket));
}

/** @throws CommandError failure */
export async function serveBytes(board: ServedBoard, where: Address): Promise<Served> {
  return await serve(board, where, (socket) => talkBytes(board, socket));
}

async function serve(
  board: ServedBoard,
  where: Address,
  talk: (socket: Socket) => (bytes: Buffer) => void,
): Promise<Served> {
  const server = createServer({ noDelay: true });
  let current: Socket | undefined;
  server.on("connection", (socket) => {
    socket.on("error", () => {});
    // A port has one user; the others see it closed.
    if (current) return void socket.destroy();
    current = socket;
    const toSocket = talk(socket);
    const onSerial = (bytes: Buffer) => {
      if (socket.writableLength > maxUnreadBytes) socket.destroy();
      else toSocket(bytes);
    };
    board.on("serial", onSerial);
    socket.once("close", () => {
      board.off("serial", onSerial);
      current = undefined;
      board.left?.();
    });
  });
  await listen(server, where);
  const { address: host, port } = server.address() as { address: string; port: number };
  return {
    address: formatAddress({ host, port }),
    async [Symbol.asyncDispose]() {
      current?.destroy();
      server.close();
      if (server.listening) await once(server, "close");
    },
  };
}

async function listen(server: Server, { host, port }: Address): Promise<void> {
  try {
    server.listen(port, host);
    await once(server, "listening");
  } catch (cause) {
    const text = `${formatAddress({ host, port })} can't be listened on: ${(cause as Error).message}`;
    throw new CommandError("failure", text, { cause });
  }
}

/** Reads on when the board's side has taken what was read. */
function pace(board: ServedBoard, socket: Socket): void {
  socket.pause();
  void board.holder.drained().then(() => socket.resume());
}

function talkBytes(board: ServedBoard, socket: Socket): (bytes: Buffer) => void {
  socket.on("data", (bytes: Buffer) => {
    board.holder.write(bytes);
    pace(board, socket);
  });
  return (bytes) => void socket.write(bytes);
}

function talkRfc2217(board: ServedBoard, socket: Socket): (bytes: Buffer) => void {
  const { holder } = board;
  const protocol = new Rfc2217Server(board.baud, board.lines);
  let breakFrom: number | undefined;
  let isSuspended = false;
  let held: Buffer[] = [];

  const endBreak = () => {
    if (breakFrom === undefined) return;
    const ms = Math.round(Math.min(maxBreakMs, Math.max(1, performance.now() - breakFrom)));
    breakFrom = undefined;
    holder.do({ op: "break", ms });
  };
  const resume = () => {
    isSuspended = false;
    for (const bytes of held.splice(0)) socket.write(protocol.encode(bytes));
  };
  const act = (event: SerialEvent) => {
    switch (event.kind) {
      case "reply":
        return void (event.bytes.length > 0 && socket.write(event.bytes));
      case "data":
        return holder.write(event.bytes);
      case "baud":
        return holder.do({ op: "baud", baud: event.baud });
      case "format":
        return holder.do({ op: "format", bits: event.bits, parity: event.parity, stop: event.stop });
      case "flow":
        return holder.do({ op: "flow", flow: event.flow });
      case "dtr":
      case "rts":
        return holder.do({ op: event.kind, on: event.on });
      case "break":
        if (!event.on) return endBreak();
        breakFrom ??= performance.now();
        return;
      case "purge":
        if (event.received) held = [];
        if (event.sent) holder.purge();
        return;
      case "suspend":
        isSuspended = true;
        return;
      case "resume":
        return resume();
    }
  };
  const onLines = (lines: LineStatus) => {
    const bytes = protocol.setLines(lines);
    if (bytes.length > 0) socket.write(bytes);
  };
  board.on("lines", onLines);
  socket.once("close", () => {
    board.off("lines", onLines);
    endBreak();
  });
  socket.write(protocol.greeting());
  socket.on("data", (bytes: Buffer) => {
    for (const event of protocol.push(bytes)) act(event);
    pace(board, socket);
  });
  return (bytes) => {
    if (!isSuspended) return void socket.write(protocol.encode(bytes));
    held.push(bytes);
    if (held.reduce((sum, { length }) => sum + length, 0) > maxUnreadBytes) socket.destroy();
  };
}
