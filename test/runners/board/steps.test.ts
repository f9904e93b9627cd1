/** Steps jobs on boards that are small programs. */
import assert from "node:assert/strict";
import { test } from "node:test";
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
