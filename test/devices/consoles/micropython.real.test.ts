/** A real MicroPython, one of the smallest: scripts with their output and exceptions, and boards that are anywhere. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { newKnownBoard } from "#/devices/consoles/linux/known.ts";
import { MicropythonConsole } from "#/devices/consoles/micropython/micropython.ts";
import { RunTimeout } from "#/devices/errors.ts";
import { startMicroPython } from "../../targets/micropython.ts";
import { lacksTarget, type Target } from "../../targets/target.ts";
import { conversation, newToken } from "./conversation.ts";
import { TtyLine } from "./tty-line.ts";

const skip = lacksTarget("qemuArm", "micropythonMicrobit");

function board(target: Target) {
  const line = new TtyLine(target.tty);
  const talk = conversation(line, 100_000);
  const python = new MicropythonConsole({ token: newToken });
  return {
    [Symbol.dispose]: () => line[Symbol.dispose](),
    line,
    talk,
    enter: (timeout = 90_000) => talk.hold(python.enter(timeout)),
    interrupt: (timeout = 90_000) => talk.hold(python.interrupt(timeout)),
    run: async (script: string, timeout = 90_000) => {
      const { code, complete } = await talk.hold(python.run(script, { timeoutMs: timeout }));
      return { code, complete, output: talk.output.toString() };
    },
  };
}

test("scripts, their output and how they end", { skip }, async () => {
  await using target = await startMicroPython();
  using b = board(target);
  await b.enter();
  assert.deepEqual(await b.run("print('hello')"), { code: 0, complete: true, output: "hello\r\n" });
  assert.deepEqual(await b.run("print('hello', end='')"), { code: 0, complete: true, output: "hello" });
  assert.deepEqual(await b.run("for i in range(3):\r\n    print(i, 'é')\r\n"), {
    code: 0,
    complete: true,
    output: "0 é\r\n1 é\r\n2 é\r\n",
  });
  const { code, output } = await b.run("print('before')\n1/0\nprint('after')");
  assert.equal(code, 1);
  assert.match(
    output,
    /^before\r\nTraceback [\s\S]*line 2, in <module>\r\nZeroDivisionError: division by zero\r\n$/,
  );
  assert.match((await b.run("print('never'")).output, /SyntaxError/);
  const ends: readonly (readonly [string, number, string])[] = [
    ["import sys\nsys.exit(3)", 3, ""],
    ["import sys\nsys.exit()", 0, ""],
    ["raise SystemExit(None)", 0, ""],
    ["raise SystemExit(True)", 1, ""],
    ["raise SystemExit(256)", 1, ""],
    ["raise SystemExit('no sensor')", 1, "no sensor\r\n"],
    ["raise KeyboardInterrupt", 1, "KeyboardInterrupt"],
  ];
  for (const [script, expected, last] of ends) {
    const result = await b.run(script);
    assert.equal(result.code, expected, script);
    assert.ok(result.output.includes(last), script);
  }
  const tricky =
    "print('\\x04\\x04>', end='')\nprint('OK\\x04\\x04>raw REPL; CTRL-B to exit\\r\\n>', end='')";
  assert.equal((await b.run(tricky)).output, "\x04\x04>OK\x04\x04>raw REPL; CTRL-B to exit\r\r\n>");
  assert.equal((await b.run("name = 1")).code, 0);
  assert.match((await b.run("print(name)")).output, /NameError/, "each script has names of its own");
  const large = await b.run(`print('${"x".repeat(6000)}')`);
  assert.equal(large.code, 1);
  assert.match(b.talk.notes.at(-1) ?? "", /6009 bytes don't fit the board's memory/);
  assert.equal((await b.run(`${"#".repeat(1200)}\nprint('large')`)).output, "large\r\n");
});

test("a board that is left stands at its friendly prompt, without names of labgear's", { skip }, async () => {
  await using target = await startMicroPython();
  using b = board(target);
  const known = newKnownBoard();
  const console = new MicropythonConsole({ token: newToken, known });
  assert.equal(console.leave(), undefined);
  await b.talk.hold(console.enter(60_000));
  await b.talk.hold(console.run("print('hello')", { timeoutMs: 30_000 }));
  const leave = console.leave();
  assert.ok(leave);
  await b.talk.hold(leave);
  await b.line.write(Buffer.from("print([n for n in dir() if n[0:2]=='_l'])\r"));
  let came = "";
  while (!/\n\[.*\]\r\n>>> $/.test(came)) {
    const bytes = await b.line.read(30_000);
    assert.ok(bytes.length > 0, came);
    came += Buffer.from(bytes).toString("latin1");
  }
  assert.match(came, /\n\[\]\r\n>>> $/);
});

test("the board is found in any state", { skip }, async () => {
  await using target = await startMicroPython();
  using b = board(target);
  for (const state of [
    "",
    "print(",
    "'''open\r\n",
    "\x05paste mode\r",
    "\x01x = [",
    "while True: pass\r\n\r\n",
  ]) {
    await b.line.write(Buffer.from(state));
    await b.enter();
    assert.equal((await b.run("print('hello')")).output, "hello\r\n", JSON.stringify(state));
  }
  await assert.rejects(b.run("print('begun')\nwhile True: pass", 10_000), RunTimeout);
  assert.equal(b.talk.output.toString(), "begun\r\n");
  assert.equal(await b.interrupt(), true);
  assert.equal((await b.run("print('hello')")).output, "hello\r\n");
  await assert.rejects(b.run("import microbit\nmicrobit.reset()"), { reason: "rebooted" });
  await b.enter();
  assert.equal((await b.run("print('hello')")).output, "hello\r\n");
  await target.powerOff();
  await assert.rejects(b.enter(300), { reason: "silent" });
  assert.equal(await b.interrupt(300), false);
});

test("a line that loses characters changes no script and no code", { skip }, async () => {
  await using target = await startMicroPython();
  using b = board(target);
  await b.enter();
  target.broker.toTarget.setFaults({ drop: 0.002, flip: 0.001, double: 0.001 }, 5);
  for (let round = 0; round < 4; round += 1) {
    const script = `import sys\nprint('${"abcdefghij".repeat(20)}')\nsys.exit(${round})`;
    const { code, output } = await b.run(script, 60_000);
    assert.deepEqual([code, output], [round, `${"abcdefghij".repeat(20)}\r\n`]);
  }
  target.broker.setFaults({ drop: 0.001, flip: 0.001 }, 6);
  for (let round = 0; round < 4; round += 1)
    assert.equal((await b.run(`raise SystemExit(${round})`, 60_000)).code, round);
});

test("a slow line", { skip }, async () => {
  await using target = await startMicroPython();
  target.broker.throttle(1920);
  using b = board(target);
  await b.enter();
  assert.deepEqual(await b.run("print('hello')"), { code: 0, complete: true, output: "hello\r\n" });
});
