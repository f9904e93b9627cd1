/**
 * Jobs per second through the embedded server and through gearmand, turn by turn, and their ratio. Run it by hand:
 * `node test/bench/job-server.ts [JOBS]`. Each server is a process of its own; workers and clients are raw sockets here.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { JobServer } from "#/gearman/server/server.ts";
import { encode, type Packet, type PacketType } from "#/gearman/wire/packet.ts";
import { PacketParser } from "#/gearman/wire/parser.ts";
import { bounded, startGearmand } from "../support/servers.ts";
import { median } from "./report.ts";

const jobs = Number(process.argv[2] ?? 20_000);
const rounds = 5;
const pairs = 4;
/** How many jobs each client has under way. */
const window = 16;
/** The longest a round may take, in milliseconds. */
const longestRound = 60_000;
const data = Buffer.alloc(200, "x");

type Send = (type: PacketType, ...args: (string | Uint8Array)[]) => void;

/** A connection whose packets go to `take`. */
async function open(port: number, take: (packet: Packet, send: Send) => void) {
  const socket: Socket = connect({ port, host: "127.0.0.1", noDelay: true });
  await once(socket, "connect");
  const parser = new PacketParser({ magic: "RES" });
  const send: Send = (type, ...args) => void socket.write(encode("REQ", type, ...args));
  socket.on("data", (chunk: Buffer) => {
    socket.cork();
    for (const item of parser.push(chunk)) if ("type" in item) take(item, send);
    socket.uncork();
  });
  return { send, [Symbol.dispose]: () => void socket.destroy() };
}

function work({ type, args: [handle = data] }: Packet, send: Send): void {
  if (type === "NOOP") send("GRAB_JOB_UNIQ");
  if (type === "NO_JOB") send("PRE_SLEEP");
  if (type !== "JOB_ASSIGN_UNIQ") return;
  send("WORK_COMPLETE", handle, data);
  send("GRAB_JOB_UNIQ");
}

/** Sends all the jobs through a server; gives jobs per second. */
async function measure(port: number): Promise<number> {
  using stack = new DisposableStack();
  const { promise, resolve } = Promise.withResolvers<void>();
  let sent = 0;
  let ended = 0;
  const submit = (send: Send) => {
    sent += 1;
    if (sent <= jobs) send("SUBMIT_JOB", "bench", "", data);
  };
  for (let i = 0; i < pairs; i++) {
    const worker = stack.use(await open(port, work));
    worker.send("CAN_DO", "bench");
    worker.send("PRE_SLEEP");
  }
  const started = performance.now();
  for (let i = 0; i < pairs; i++) {
    const client = stack.use(
      await open(port, ({ type }, send) => {
        if (type !== "WORK_COMPLETE") return;
        ended += 1;
        if (ended === jobs) resolve();
        submit(send);
      }),
    );
    for (let n = 0; n < window; n++) submit(client.send);
  }
  await bounded(promise, longestRound);
  return jobs / ((performance.now() - started) / 1000);
}

/** Our server in a process of its own. */
async function startOurs() {
  const child = spawn(process.execPath, [import.meta.filename, "serve"], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const [line] = await bounded(once(child.stdout, "data"));
  return {
    port: Number(line),
    async [Symbol.asyncDispose]() {
      const exited = once(child, "exit");
      child.stdin.end();
      await exited;
    },
  };
}

async function compare(): Promise<void> {
  await using ours = await startOurs();
  await using theirs = await startGearmand();
  const results: { ours: number[]; theirs: number[] } = { ours: [], theirs: [] };
  for (let round = 0; round < rounds; round++) {
    results.ours.push(await measure(ours.port));
    results.theirs.push(await measure(theirs.port));
  }
  const [mine, other] = [median(results.ours), median(results.theirs)];
  console.log(
    `embedded ${Math.round(mine)} jobs/s, gearmand ${Math.round(other)} jobs/s (medians of ${rounds})`,
  );
  console.log(`ratio ${(mine / other).toFixed(2)}`);
}

if (process.argv[2] === "serve") {
  await using server = new JobServer();
  console.log((await server.listen({ port: 0 })).port);
  await once(process.stdin.resume(), "end");
} else await compare();
