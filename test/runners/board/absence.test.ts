/** Boards whose port goes away while they are flashed or restarted, as those with native USB do. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { runFirmware } from "#/runners/board/firmware.ts";
import { runSteps } from "#/runners/board/steps.ts";
import { onBoard, startLab } from "./lab.ts";

const results = "1..1\r\nok 1\r\n";
const work = {
  kind: "firmware",
  flash: "flash",
  verdict: { kind: "tap" },
  answers: [],
  timeoutMs: 30_000,
  settleMs: 0,
} as const;

/** A board that prints its results whenever its port is opened after it was flashed. */
async function startVanishing(absentMs: number) {
  let isFlashed = false;
  const lab = await startLab({
    config: { power: { on: "on", off: "off", timeoutMs: 30_000 }, bootTimeoutMs: 30_000 },
    board: (socket) => void (isFlashed && socket.write(results)),
    command: async (script) => {
      if (script === "off") await lab.unplug();
      else setTimeout(() => lab.plug(), 500);
      return { code: 0, output: "" };
    },
  });
  const flash = async () => {
    await lab.unplug();
    await delay(absentMs);
    await lab.plug();
    isFlashed = true;
    return 0;
  };
  return { lab, flash };
}

// They wait for ports most of the time.
describe("a port that goes away", { concurrency: true }, () => {
  for (const lend of [false, true])
    test(`gone for 2 s while it is flashed, ${lend ? "lent" : "read"}, and gone when it is restarted: it passes`, async () => {
      const { lab, flash } = await startVanishing(2000);
      await using _ = lab;
      const verdict = await onBoard(lab.device, (run) => runFirmware(run, { ...work, lend }), {
        host: flash,
      });
      assert.deepEqual([verdict.passed, verdict.reason], [true, "1 tests, none failed"]);
      assert.deepEqual([lab.device.health.failures, lab.device.port.counters.losses], [0, 0]);
      await lab.becomes("ready");
    });

  test("gone while a host step flashes it, and from power off to power on", async () => {
    const { lab, flash } = await startVanishing(2000);
    await using _ = lab;
    const steps = [
      { kind: "host", script: "flash", lend: false },
      { kind: "expect", pattern: "ok 1", timeoutMs: 30_000 },
      { kind: "host", script: "flash", lend: true },
      { kind: "power", action: "off" },
      { kind: "sleep", durationMs: 500 },
      { kind: "power", action: "on" },
      { kind: "expect", pattern: "ok 1", timeoutMs: 30_000 },
    ] as const;
    const verdict = await onBoard(lab.device, (run) => runSteps(run, steps), { host: flash });
    assert.deepEqual([verdict.passed, verdict.reason], [true, "all 7 steps passed"]);
  });

  test("a port that isn't back some seconds after the script is unplugged", async () => {
    await using lab = await startLab({ board: () => {} });
    const host = async () => {
      await lab.unplug();
      const signal = AbortSignal.timeout(60_000);
      while (lab.device.port.state.kind === "open") await once(lab.device.port, "state", { signal });
      return 0;
    };
    for (const lend of [false, true]) {
      const steps = [{ kind: "host", script: "flash", lend }] as const;
      const build = onBoard(lab.device, (run) => runSteps(run, steps), { host });
      await assert.rejects(build, { reason: "unplugged", message: /didn't come back/ });
      await lab.plug();
      await lab.becomes("ready");
    }
  });
});
