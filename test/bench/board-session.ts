/**
 * What a `shell:` build on a Linux board costs besides its own work, and how much of the line its output and files fill, at 115,200 baud: the board is emulated, logged in, and has been proved.
 * The peer is the same command typed at the board's prompt. `node test/bench/board-session.ts [BUILDS] [BYTES]`
 */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { setTimeout as wait } from "node:timers/promises";
import type { DeviceConfig, FileTransfer } from "#/config/model.ts";
import { openDevice } from "#/devices/device.ts";
import { Discovery } from "#/devices/discovery/discovery.ts";
import { loadSystemCalls } from "#/host/syscalls.ts";
import { runShell } from "#/runners/board/shell.ts";
import { sinkOf, sourceOf } from "../devices/consoles/conversation.ts";
import { linuxUsers } from "../targets/initramfs.ts";
import { startLinux } from "../targets/linux.ts";
import { median } from "./report.ts";

const [builds = 15, bytes = 300_000] = process.argv.slice(2).map(Number);
const bytesPerSecond = 11_520;

const content = randomBytes(bytes);
let sink = sinkOf();

await using target = await startLinux();
const config: DeviceConfig = {
  name: "board",
  classes: ["board"],
  port: { address: { kind: "tty", match: { path: target.tty } }, baud: 115_200, flow: "none" },
  console: "linux",
  login: { user: linuxUsers.guest.user },
  power: { timeoutMs: 30_000 },
  health: {},
  quarantineAfter: 3,
  bootTimeoutMs: 60_000,
  bootSilenceMs: 15_000,
};
using discovery = new Discovery();
await using device = openDevice(config, {
  discovery,
  calls: loadSystemCalls(),
  command: async () => ({ code: 0, output: "" }),
  health: { failures: 0 },
  saveHealth: () => {},
});
while (device.state.kind !== "ready") await once(device, "changed");
target.broker.throttle(bytesPerSecond);

/** @returns seconds, and the bytes of its output */
async function build(
  script: string,
  files: Partial<Files> = {},
): Promise<{ seconds: number; received: number }> {
  const started = performance.now();
  const signal = AbortSignal.timeout(300_000);
  using reservation = await device.reserve("bench#1", { name: "bench" }, signal);
  let received = 0;
  const verdict = await runShell(
    {
      reservation,
      variables: {},
      bootTimeoutMs: 60_000,
      signal,
      output: async (piece) => {
        received += piece.length;
      },
      note: async (text) => console.log(text),
      progress: () => {},
      step: () => {},
      host: () => Promise.reject(new Error("not in this job")),
      files: {
        source: async () => ({ ...sourceOf(content), [Symbol.asyncDispose]: async () => {} }),
        sink: async () => {
          sink = sinkOf();
          return Object.assign(sink, { [Symbol.dispose]: () => {} });
        },
      },
    },
    { kind: "shell", script, tty: false, put: [], get: [], ...files },
  );
  reservation.release({ kind: "well", passed: verdict.passed });
  if (!verdict.passed) throw new Error(verdict.reason);
  return { seconds: (performance.now() - started) / 1000, received };
}

/** The same by hand: a line at the prompt, until the prompt comes back. @returns seconds */
async function typed(line: string): Promise<number> {
  using reservation = await device.reserve("bench#1", { name: "bench" }, AbortSignal.timeout(60_000));
  const signal = AbortSignal.timeout(60_000);
  let text = "";
  await reservation.line.write(Buffer.from("\n"), signal);
  while (!text.includes("# ")) text += Buffer.from(await reservation.line.read(10_000, signal)).toString();
  const started = performance.now();
  await reservation.line.write(Buffer.from(`${line}\n`), signal);
  for (text = ""; !/\n[^\n]*# /.test(text); )
    text += Buffer.from(await reservation.line.read(10_000, signal)).toString();
  reservation.release({ kind: "well", passed: true });
  return (performance.now() - started) / 1000;
}

/** A shell job's files. */
interface Files {
  readonly put: readonly FileTransfer[];
  readonly get: readonly FileTransfer[];
}

const sessions: number[] = [];
const peers: number[] = [];
for (let count = 0; count < builds; count++) {
  sessions.push((await build("uname -a")).seconds);
  peers.push(await typed("uname -a"));
  // A build that starts a moment later is the usual one.
  await wait(50);
}
const own = median(sessions);
const peer = median(peers);
console.log(
  `uname -a: ${own.toFixed(2)} s (slowest ${Math.max(...sessions).toFixed(2)}), typed ${peer.toFixed(2)} s, ratio ${(own / peer).toFixed(1)}`,
);
for (const [what, script] of [
  [
    "text",
    `i=0; while [ $i -lt 100 ]; do i=$((i+1)); echo "line $i of the words that a test prints"; done >/tmp/t; n=0
while [ $n -lt ${bytes} ]; do cat /tmp/t; n=$((n+$(wc -c </tmp/t))); done`,
  ],
  ["binary", `head -c ${bytes} /dev/urandom`],
] as const) {
  const { seconds, received } = await build(script);
  const share = (received / bytesPerSecond / (seconds - own)) * 100;
  console.log(`${what}: ${received} bytes in ${seconds.toFixed(1)} s, ${share.toFixed(0)} % of the line`);
}
for (const [what, files] of [
  ["put", { put: [{ from: "file", to: "/tmp/file" }] }],
  ["get", { get: [{ from: "/tmp/file", to: "file" }] }],
] as const) {
  const { seconds } = await build("true", files);
  if (what === "get" && !sink.bytes.equals(content)) throw new Error("another file came back");
  const share = (bytes / bytesPerSecond / (seconds - own)) * 100;
  console.log(`${what}: ${bytes} bytes in ${seconds.toFixed(1)} s, ${share.toFixed(0)} % of the line`);
}
