/** Steps jobs on boards that are small programs. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeOption, encodeSub, TelnetParser } from "#/devices/port/telnet.ts";
import type { BoardRun } from "#/runners/board/board.ts";
import { runSteps } from "#/runners/board/steps.ts";
import { onBoard, startLab } from "./lab.ts";

test("after power, what the board printed before matches no more", async () => {
  await using lab = await startLab({
    config: { power: { on: "on", off: "off", timeoutMs: 30_000 } },
    board: () => {},
    command: async (script) => {
      if (script === "on") setTimeout(() => lab.say("U-Boot 2025.01\r\n"), 200);
      return { code: 0, output: "" };
    },
  });
  const verdict = await onBoard(lab.device, async (run) => {
    lab.say("board login: \r\nlast words\r\n");
    return await runSteps(run, [
      { kind: "expect", pattern: "board", timeoutMs: 30_000 },
      { kind: "power", action: "cycle" },
      { kind: "expect", pattern: "U-Boot", fail: "login: ", timeoutMs: 30_000 },
    ]);
  });
  assert.deepEqual([verdict.passed, verdict.reason], [true, "all 3 steps passed"]);
});

test("a speed set by a step lasts until the build ends", async () => {
  const speeds: number[] = [];
  await using lab = await startLab({
    config: {
      port: { address: { kind: "rfc2217", host: "127.0.0.1", port: 0 }, baud: 9600, flow: "none" },
    },
    board: (socket) => {
      const parser = new TelnetParser();
      socket.on("data", (data: Buffer) => {
        for (const event of parser.push(data)) {
          if (event.kind === "option" && event.verb === "will" && event.option === 44)
            socket.write(encodeOption("do", 44));
          if (event.kind === "data") socket.write(`got ${event.bytes.length} at ${speeds.at(-1)}\r\n`);
          if (event.kind !== "sub" || event.bytes[0] !== 1) continue;
          speeds.push(Buffer.from(event.bytes).readUInt32BE(1));
          socket.write(encodeSub(44, [101, ...event.bytes.subarray(1)]));
        }
      });
    },
  });
  const steps = (run: BoardRun) =>
    runSteps(run, [
      { kind: "baud", baud: 921_600 },
      { kind: "send", text: "x", enter: false },
      { kind: "expect", pattern: "got 1 at 921600", timeoutMs: 30_000 },
    ]);
  const verdict = await onBoard(lab.device, steps);
  assert.deepEqual([verdict.passed, verdict.reason], [true, "all 3 steps passed"]);
  await onBoard(lab.device, async () => verdict);
  assert.deepEqual(speeds, [9600, 921_600, 9600]);
});
