/** Firmware jobs on boards that are small programs: menus, last lines without an end, and what comes after a pass. */
import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { test } from "node:test";
import type { FirmwareWork } from "#/config/sections/firmware.ts";
import { runFirmware } from "#/runners/board/firmware.ts";
import { onBoard, startLab } from "./lab.ts";

const usual: FirmwareWork = {
  kind: "firmware",
  flash: "flash",
  verdict: { kind: "unity" },
  answers: [],
  timeoutMs: 30_000,
  settleMs: 200,
  lend: false,
};

/** A board that prints this once it is flashed, and then answers what is typed. */
async function runOn(
  work: Partial<FirmwareWork>,
  said: string,
  answer?: (typed: string, socket: Socket) => void,
) {
  const sockets: Socket[] = [];
  await using lab = await startLab({
    board: (socket) => {
      sockets.push(socket.setEncoding("latin1"));
      socket.on("data", (typed: string) => answer?.(typed, socket));
    },
  });
  const host = async () => {
    // Behind the restart from which the verdict counts.
    setImmediate(() => lab.say(said));
    return 0;
  };
  return await onBoard(lab.device, (run) => runFirmware(run, { ...usual, ...work }), { host });
}

const results = "a.c:1:test_a:PASS\r\n\r\n---\r\n1 Tests 0 Failures 0 Ignored \r\nOK";

test("Unity's menu: what to type comes after its prompt, and the last line has no end", async () => {
  let typed = "";
  const verdict = await runOn(
    {
      answers: [
        { pattern: "Press ENTER to see the list", text: "", enter: true },
        { pattern: "Enter test for running", text: "*", enter: true },
      ],
    },
    "\r\nPress ENTER to see the list of tests.\r\n",
    (text, socket) => {
      typed += text;
      if (typed === "\r") socket.write("(1) a\r\n\r\nEnter test for running.\r\n");
      if (typed === "\r*\r") socket.write(results);
    },
  );
  assert.deepEqual([verdict.passed, verdict.reason], [true, "1 tests, no failure"]);
  assert.equal(typed, "\r*\r");
  assert.match(verdict.junit ?? "", /test_a/);
});

test("settle: what fails within that time takes a pass back, and no time is spent otherwise", async () => {
  const late = (text: string, socket: Socket) => {
    if (text === "go\r") setTimeout(() => socket.write("\r\nassert failed: late\r\n"), 300);
  };
  const answers = [{ pattern: "OK", text: "go", enter: true }];
  const work = { answers, settleMs: 20_000 };
  assert.equal((await runOn(work, `${results}\r\n`, late)).cause, "panic");
  assert.equal((await runOn({ ...work, settleMs: 0 }, `${results}\r\n`, late)).passed, true);
});

test("a pass that a longer last line takes back is waited for again", async () => {
  const verdict = await runOn(
    {
      verdict: { kind: "tap" },
      answers: [{ pattern: "1\\.\\.1$", text: "x", enter: false }],
      settleMs: 20_000,
    },
    "ok 1\r\n1..1",
    (_, socket) => socket.write("0\r\nok 2\r\nBail out!\r\n"),
  );
  assert.deepEqual([verdict.passed, verdict.reason], [false, "Bail out!"]);
});
