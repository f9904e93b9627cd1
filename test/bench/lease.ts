/**
 * What a lease adds between a program and its board, on loopback through gearmand: `node test/bench/lease.ts [SECONDS] [KEYS]`. A key
 * is echoed by the board; then both sides send at a serial line's speed. Ends with 1 when a byte is missing or wrong.
 */
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { Running } from "../cli/running.ts";
import { TestAgent } from "../support/agent.ts";
import { becomes } from "../support/boards.ts";
import { startGearmand } from "../support/servers.ts";
import { median, quantile, Report } from "./report.ts";

const [seconds = 60, keys = 200] = process.argv.slice(2).map(Number);
const tickMs = 10;

/** Byte by byte the same on both sides. */
const byteAt = (offset: number) => offset % 251;

/** Sends at so many baud, 8N1. */
async function send(socket: Socket, baud: number, count: number): Promise<void> {
  const started = performance.now();
  for (let at = 0; at < count; ) {
    const due = Math.min(count, Math.floor(((performance.now() - started) / 1000) * (baud / 10)));
    if (due > at) socket.write(Uint8Array.from({ length: due - at }, (_, index) => byteAt(at + index)));
    at = due;
    await delay(tickMs);
  }
}

/** Resolves with how many were wrong, once all have come or none comes any more. */
function receive(socket: Socket, count: number): Promise<number> {
  let at = 0;
  let wrong = 0;
  return new Promise((resolve) => {
    const end = () => {
      socket.off("data", take);
      clearTimeout(timer);
      resolve(wrong + count - at);
    };
    const timer = setTimeout(end, 10_000);
    const take = (bytes: Buffer) => {
      timer.refresh();
      for (const byte of bytes) if (byte !== byteAt(at++)) wrong += 1;
      if (at >= count) end();
    };
    socket.on("data", take);
  });
}

await using server = await startGearmand();
const listener = createServer({ noDelay: true }).listen(0, "127.0.0.1");
await once(listener, "listening");
const { port } = listener.address() as { port: number };
const connected = once(listener, "connection") as Promise<[Socket]>;
await using agent = await TestAgent.start({
  yaml: `
name: box7
devices:
  board-1:
    classes: [raw]
    port: "tcp://127.0.0.1:${port}"
    console: raw
    lease: { max: 1h }
`,
  ports: [server.port],
});
const [board] = await connected;
await becomes(agent, "board-1", "ready");
await using holder = Running.start(["lease", "raw", "--server", `127.0.0.1:${server.port}`, "--tcp", "0"]);
await holder.until("stderr", /is served on \S+:\d+/);
const program = connect({
  host: "127.0.0.1",
  port: Number(/is served on \S+:(\d+)/.exec(holder.stderr)?.[1]),
  noDelay: true,
});
await once(program, "connect");
const report = new Report("lease");

const echo = (bytes: Buffer) => void board.write(bytes);
board.on("data", echo);
const trips: number[] = [];
for (let key = 0; key < keys; key++) {
  const started = performance.now();
  program.write("k");
  await once(program, "data");
  trips.push(performance.now() - started);
  // As a person types; the packets of a lease are 20 ms apart at least.
  await delay(100);
}
board.off("data", echo);
report.add({ what: "a key and its echo, median", unit: "ms", ours: median(trips) });
report.add({ what: "a key and its echo, 95 %", unit: "ms", ours: quantile(trips, 0.95) });

const both = Math.round(seconds * 11_520);
const [, , toBoard, toProgram] = await Promise.all([
  send(program, 115_200, both),
  send(board, 115_200, both),
  receive(board, both),
  receive(program, both),
]);
report.add({
  what: `115,200 baud both ways for ${seconds} s, bytes lost`,
  unit: "",
  ours: toBoard + toProgram,
});
const oneWay = Math.round(seconds * 92_160);
const [, lost] = await Promise.all([send(board, 921_600, oneWay), receive(program, oneWay)]);
report.add({ what: `921,600 baud from the board for ${seconds} s, bytes lost`, unit: "", ours: lost });
report.write();
program.destroy();
holder.child.kill("SIGINT");
await holder.ended;
listener.close();
process.exitCode = toBoard + toProgram + lost === 0 ? 0 : 1;
