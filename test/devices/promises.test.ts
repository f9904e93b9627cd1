/**
 * The four promises, on bad boards drawn from seeds: never a false pass; exactly one result; port and lock free again in
 * bounded time; output bytes exact, or marked incomplete. Linux, large and small, checks what comes over the line; the shells of
 * barebox, Zephyr and NuttX can't, so on a line that damages bytes only a pass of theirs is held against the truth.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { DeviceConfig } from "#/config/model.ts";
import { withoutEscapes } from "#/devices/consoles/plain-text.ts";
import { type Device, openDevice } from "#/devices/device.ts";
import { Discovery } from "#/devices/discovery/discovery.ts";
import { BoardFailure, DeviceError } from "#/devices/errors.ts";
import { Port } from "#/devices/port/port.ts";
import { loadSystemCalls } from "#/host/syscalls.ts";
import type { BoardVerdict } from "#/runners/board/board.ts";
import { runShell } from "#/runners/board/shell.ts";
import { scale } from "../support/scale.ts";
import { temporaryFolder } from "../support/servers.ts";
import {
  type BadBoard,
  type BadBoardOptions,
  lacksMachine,
  machineLogin,
  startBadBoard,
} from "../targets/bad-board.ts";
import { Machine } from "../targets/machine.ts";
import { encoders } from "../targets/machine-root.ts";
import { boards, type Command, PlayedMachine, PlayedShell } from "../targets/played-shell.ts";
import { lacksTarget } from "../targets/target.ts";

const skip = lacksTarget("busybox") || lacksMachine();
const runs = scale(100, 1000);
/** At the same time, because a run mostly waits for its line. */
const atOnce = 10;
/** For a run, and for its port to be free afterwards. */
const runTimeoutMs = 20_000;
const freeTimeoutMs = 60_000;

/** What runs on the board, in a turn that moves on: seeds in step with it would draw alike. */
const systems = [
  "linux",
  "small",
  "barebox",
  "linux",
  "zephyr",
  "linux",
  "small",
  "nuttx",
  "linux",
  "barebox",
] as const;

type System = (typeof systems)[number];

const isLinux = (system: System): system is "linux" | "small" => system === "linux" || system === "small";

type Result = { readonly verdict: BoardVerdict; readonly output: Buffer; readonly notes: string } | Error;

test(`${runs} bad boards keep the four promises`, { skip, timeout: 1_700_000 }, async (t) => {
  await using folder = await temporaryFolder();
  const passwordFile = join(folder.path, "password");
  await writeFile(passwordFile, machineLogin.password);
  const told = new Map<string, number>();
  const count = (what: string) => told.set(what, (told.get(what) ?? 0) + 1);
  let seed = 0;
  const worker = async () => {
    while (seed < runs) {
      const mine = ++seed;
      const system = systems[(mine + Math.floor(mine / systems.length)) % systems.length] ?? "linux";
      count(`${system} ${await oneRun(mine, system, passwordFile)}`);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  const summary = [...told].sort().map(([what, times]) => `${what} ${times}`);
  t.diagnostic(summary.join(", "));
  // Boards with few faults must be served; some others vanish or are too slow.
  const served = (system: System) =>
    (told.get(`${system} passed`) ?? 0) + (told.get(`${system} failed`) ?? 0);
  const each = [...new Set(systems)].map(served);
  const total = each.reduce((sum, count) => sum + count);
  assert.ok(Math.min(...each) > 0, `a system never had a verdict: ${summary.join(", ")}`);
  assert.ok(total >= runs / 4, `only ${total} of ${runs} had a verdict: ${summary.join(", ")}`);
});

/** @returns how it ended, in one word */
async function oneRun(seed: number, system: System, passwordFile: string): Promise<string> {
  // Every system meets every code.
  const code = Math.floor(seed / 7) % 3;
  await using board = await startBadBoard({ seed, ...starting(system, seed, code) });
  const result = await bounded(
    carryOut(board, system, code, passwordFile),
    runTimeoutMs + freeTimeoutMs + 20_000,
    () => board.describe(),
  );
  const truth = await board.truth.file("code");
  const about = (what: string) =>
    `${what}: ${system}, ${board.describe()}; ${result instanceof Error ? result.stack : JSON.stringify({ ...result.verdict, notes: result.notes })}; really ${truth}`;
  if (result instanceof Error) {
    assert.ok(result instanceof BoardFailure, about("an error without a cause"));
    return result.reason;
  }
  const { verdict, output, notes } = result;
  if (!isLinux(system) && damagesBytes(board) && !verdict.passed) return "failed";
  assert.equal(truth, `${code}\n`, about("a verdict on what never ended"));
  assert.equal(verdict.passed, code === 0, about("a false verdict"));
  const really = await board.truth.file("output");
  if (notes.includes("incomplete")) return "incomplete";
  if (!isLinux(system) && damagesBytes(board)) return "passed";
  assert.equal(
    output.toString("latin1"),
    Buffer.from(really ?? "").toString("latin1"),
    about("other output"),
  );
  return verdict.passed ? "passed" : "failed";
}

/** A job's script: what it prints, and its code, are also told behind the line's back. */
const script = (code: number) => `
{
  seq 1 150
  printf 'no prompt: # $ => login: \\001\\033[31m \\r carriage\\n'
  i=0; while [ $i -lt 20 ]; do echo "line $i of words and words and words"; i=$((i+1)); done
} | tee /truth/output
echo ${code} >/truth/code
exit ${code}
`;

/** What the script for the small shells prints. */
const uptime = "Uptime: 12345 ms\r\n";
const words = Array.from({ length: 150 }, (_, index) => `line ${index} of words and words\r\n`);
const strange = "no prompt: # $ => login: \r carriage\r\n";
const farewell = "the end\r\n";

const playedScript = "uptime\nwords\nend";

function starting(system: System, seed: number, code: number): Pick<BadBoardOptions, "start"> {
  if (system === "linux") return {};
  if (system === "small") {
    const onlyEncoder = encoders[Math.floor(seed / systems.length) % encoders.length] ?? "od";
    return { start: (options) => Machine.start({ ...options, onlyEncoder }) };
  }
  return {
    start: async ({ truth }) => {
      const shell = new PlayedShell(system, false);
      const prompt = withoutEscapes(boards[system].prompt);
      const said = [...words.slice(0, 75), strange, `${prompt}\r\n`, ...words.slice(75)];
      const tell = (name: string, what: string) => () => {
        writeFileSync(join(truth, name), what);
        return "";
      };
      const end = [
        200,
        farewell,
        tell("output", [uptime, ...said, farewell].join("")),
        tell("code", `${code}\n`),
      ];
      const commands: Record<string, Command> = {
        uptime: { says: [uptime], code: 0 },
        words: { says: said.flatMap((line, index) => (index % 25 === 0 ? [30, line] : [line])), code: 0 },
        // As the shells have them: an exit code, or a negative errno.
        end: { says: end, code: system === "zephyr" ? 0 - code : code },
      };
      Object.assign(shell.commands, commands);
      return new PlayedMachine(shell);
    },
  };
}

function damagesBytes({ faults }: BadBoard): boolean {
  return faults.drop + faults.double + faults.flip + faults.kernelLines + faults.flood > 0;
}

async function carryOut(
  board: BadBoard,
  system: System,
  code: number,
  passwordFile: string,
): Promise<Result> {
  const config: DeviceConfig = {
    name: "bad",
    classes: ["bad"],
    port: { address: { kind: "tty", match: { path: board.tty } }, baud: 115_200, flow: "none" },
    console: isLinux(system) ? "linux" : system,
    ...(isLinux(system) && { login: { user: machineLogin.user, passwordFile } }),
    power: { timeoutMs: 30_000 },
    health: {},
    quarantineAfter: 3,
    bootTimeoutMs: 10_000,
    bootSilenceMs: 3000,
  };
  using discovery = new Discovery();
  const device = openDevice(config, {
    discovery,
    calls: loadSystemCalls(),
    command: async () => ({ code: 0, output: "" }),
    health: { failures: 0 },
    saveHealth: () => {},
  });
  try {
    return await run(device, isLinux(system) ? script(code) : playedScript);
  } finally {
    await bounded(
      device[Symbol.asyncDispose](),
      freeTimeoutMs,
      () => `the device doesn't end: ${board.describe()}`,
    );
    await isFree(config, board);
  }
}

async function run(device: Device, lines: string): Promise<Result> {
  const signal = AbortSignal.timeout(runTimeoutMs);
  const output: Uint8Array[] = [];
  let notes = "";
  const note = async (text: string) => {
    notes += `${text}\n`;
  };
  try {
    while (device.state.kind === "absent" || device.state.kind === "opening")
      await once(device, "changed", { signal });
    using reservation = await device.reserve("the test", { name: "job" }, signal);
    const verdict = await runShell(
      {
        reservation,
        variables: {},
        bootTimeoutMs: 10_000,
        signal,
        output: async (bytes) => void output.push(Uint8Array.from(bytes)),
        note,
        progress: () => {},
        step: () => {},
        host: () => Promise.reject(new Error("not in this job")),
        files: { source: async () => "none", sink: async () => "none" },
      },
      { kind: "shell", script: lines, tty: false, put: [], get: [] },
    );
    reservation.release({ kind: "well", passed: verdict.passed });
    return { verdict, output: Buffer.concat(output), notes };
  } catch (error) {
    if (error instanceof DeviceError) return new BoardFailure("unplugged", error.message);
    if (error === signal.reason) return new BoardFailure("silent", "the run's time is up");
    return error as Error;
  }
}

/** Another owner gets the port at once, as soon as it is there. */
async function isFree(config: DeviceConfig, board: BadBoard): Promise<void> {
  using discovery = new Discovery();
  await using next = new Port({ name: "next", config: config.port, discovery, calls: loadSystemCalls() });
  assert.ok(
    await next.whenOpen(freeTimeoutMs),
    `the port isn't free (${next.state.kind}): ${board.describe()}`,
  );
}

async function bounded<T>(work: Promise<T>, milliseconds: number, about: () => string): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => late.reject(new Error(`not in ${milliseconds} ms: ${about()}`)),
    milliseconds,
  );
  try {
    return await Promise.race([work, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
