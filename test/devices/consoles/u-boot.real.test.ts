/** A real U-Boot: from its autoboot to the prompt, commands with their codes and exact output, resets. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { UbootConsole } from "#/devices/consoles/u-boot/u-boot.ts";
import { type BoardFailure, RunTimeout } from "#/devices/errors.ts";
import { lacksTarget, type Target } from "../../targets/target.ts";
import { startUboot } from "../../targets/uboot.ts";
import { conversation, newToken } from "./conversation.ts";
import { TtyLine } from "./tty-line.ts";

const skip = lacksTarget("qemuArm64", "ubootArm64");

/** One conversation on a line of its own. */
function board(target: Target) {
  const line = new TtyLine(target.tty);
  const talk = conversation(line, 100_000);
  const uboot = new UbootConsole({ token: newToken });
  return {
    [Symbol.dispose]: () => line[Symbol.dispose](),
    line,
    get notes() {
      return talk.notes;
    },
    enter: (timeout = 90_000) => talk.hold(uboot.enter(timeout)),
    interrupt: (timeout = 90_000) => talk.hold(uboot.interrupt(timeout)),
    run: async (script: string, timeout = 120_000) => {
      const { code, complete } = await talk.hold(uboot.run(script, { timeoutMs: timeout }));
      return { code, complete, output: talk.output.toString("latin1") };
    },
  };
}

test("commands of a U-Boot, from its autoboot on", { skip }, async () => {
  await using target = await startUboot();
  using b = board(target);
  await b.enter();
  assert.deepEqual(await b.run("echo hello"), { code: 0, complete: true, output: "hello\r\n" });
  assert.deepEqual(await b.run("echo -n hello"), { code: 0, complete: true, output: "hello" });
  assert.deepEqual(await b.run("false"), { code: 1, complete: true, output: "" });
  assert.match((await b.run("version")).output, /^U-Boot 20\d\d\.\d\d.*\r\n/);
  assert.match(
    (await b.run("crc32 40000000 100")).output,
    /^crc32 for 40000000 \.\.\. 400000ff ==> [\da-f]{8}\r\n$/,
  );
  const prompts = await b.run('echo "=> "; sleep 1; echo; echo -n "=> "; sleep 1; echo end; false');
  assert.deepEqual(prompts, { code: 1, complete: true, output: "=> \r\n\r\n=> end\r\n" });
  const lines = "# a comment\necho one\n\n  true # two\nnosuchcommand\necho three";
  const failed = {
    code: 1,
    complete: true,
    output: "one\r\nUnknown command 'nosuchcommand' - try 'help'\r\n",
  };
  assert.deepEqual(await b.run(lines), failed);
  assert.equal((await b.run("if true; then\necho yes\nfi")).output, "yes\r\n");
  const open = await b.run("echo 'open");
  assert.deepEqual(
    [open.code, b.notes.at(-1)],
    [2, "not run: the script ends inside a command: a quote, if or for is open"],
  );
  const long = await b.run(`echo ${"a".repeat(5000)}`);
  assert.deepEqual([long.code, long.output], [2, ""]);
  assert.match(b.notes.at(-1) ?? "", /line 1 has 5005 characters/);
  assert.deepEqual(await b.run(`echo ${"abc".repeat(100)}`), {
    code: 0,
    complete: true,
    output: `${"abc".repeat(100)}\r\n`,
  });
  assert.deepEqual((await b.run("bootm 1000")).code, 1);
  // Nothing of all that is left on the command line.
  assert.deepEqual(await b.run("echo hello"), { code: 0, complete: true, output: "hello\r\n" });
  // Nor among its variables, which it can't remove.
  const variables = (await b.run("showvar")).output.split("\r\n");
  assert.deepEqual(
    variables.filter((line) => line !== "" && !line.startsWith("HUSH_VERSION")),
    [],
  );
  const reset = await b.run("setenv gone 1\nreset");
  assert.equal(reset.code, 0);
  assert.deepEqual(await b.run("printenv gone"), {
    code: 1,
    complete: true,
    output: '## Error: "gone" not defined\r\n',
  });
});

test("U-Boot is left in any state, and found again", { skip }, async () => {
  await using target = await startUboot();
  using b = board(target);
  await b.enter();
  await b.enter();
  await assert.rejects(b.run("sleep 100", 300), RunTimeout);
  assert.equal(await b.interrupt(), true);
  assert.equal((await b.run("echo hello")).output, "hello\r\n");
  for (const state of ["half a comm", "echo 'open\r", "sleep 100\r", "reset\r"]) {
    await b.line.write(Buffer.from(state));
    await b.enter();
    assert.equal((await b.run("echo hello")).output, "hello\r\n", state);
  }
  const during = assert.rejects(b.run("sleep 100; echo no"), { reason: "rebooted" });
  await b.line.until("sleep 100; echo no\r\n");
  await target.reset();
  await during;
});

test("characters that get lost are typed again, and no code is guessed", { skip }, async () => {
  await using target = await startUboot();
  using b = board(target);
  await b.enter();
  target.broker.toTarget.setFaults({ drop: 0.002 }, 7);
  for (let round = 0; round < 5; round += 1) {
    const text = "the-quick-brown-fox-jumps-over-the-lazy-dog-".repeat(4);
    assert.deepEqual(await b.run(`echo ${text}; false`), {
      code: 1,
      complete: true,
      output: `${text}\r\n`,
    });
    assert.equal((await b.run("true")).code, 0);
  }
  target.broker.setFaults({ drop: 0.003, flip: 0.001 }, 11);
  for (let round = 0; round < 10; round += 1) {
    const answer = await b.run(round % 2 ? "false" : "true").catch((error: BoardFailure) => error.reason);
    // A flip can also hit the end of a line that is complete.
    if (answer !== "noise") assert.equal(typeof answer === "string" ? answer : answer.code, round % 2);
  }
});

test("a slow line", { skip }, async () => {
  await using target = await startUboot();
  target.broker.throttle(1920);
  using b = board(target);
  await b.enter();
  assert.deepEqual(await b.run("echo hello; false"), { code: 1, complete: true, output: "hello\r\n" });
});

test("a board that is off, or says something else", { skip }, async () => {
  await using target = await startUboot({ off: true });
  using b = board(target);
  await assert.rejects(b.enter(500), { reason: "silent" });
  const says = async (bytes: Buffer, expected: object) => {
    const talking = setInterval(() => target.broker.inject(bytes), 20);
    await assert.rejects(b.enter(5000), expected).finally(() => clearInterval(talking));
  };
  await says(Buffer.from("hello\r\nlogin: "), {
    reason: "noise",
    message: /last: ".*hello login:"/,
  });
  const garbage = Buffer.from(Array.from({ length: 300 }, (_, index) => 128 + ((index * 37) % 128)));
  await says(garbage, { reason: "wrong-speed" });
  assert.equal(await b.interrupt(300), false);
});
