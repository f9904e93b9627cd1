/** Conversations with a U-Boot that the test plays, in pieces of odd sizes and with what no real one does on demand. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { UbootConsole } from "#/devices/consoles/u-boot/u-boot.ts";
import { type PlayedBoard, play, tokens } from "./play.ts";

const boot =
  "\r\n\r\nU-Boot 2023.01 (Jan 01 2023)\r\n\r\nDRAM:  128 MiB\r\nHit any key to stop autoboot:  2 ";
const sizes = [1, 2, 3, 7, 64, 4096];

/** Just enough of a U-Boot: line editing, `$?`, variables, and commands that the test gives it. */
class PlayedUboot implements PlayedBoard {
  /** Each command with what it says and its code; a wait is in milliseconds. */
  readonly commands: Record<string, { readonly says: readonly (string | number)[]; readonly code: number }> =
    {};
  #said: { at: number; text: string }[] = [];
  #line = "";
  #now = 0;
  #code = 0;
  #isUp: boolean;
  #busyUntil = 0;
  readonly #variables = new Map<string, string>();
  readonly ran: string[] = [];

  constructor(isUp: boolean) {
    this.#isUp = isUp;
    if (!isUp) this.#print(boot);
  }

  say(now: number): string {
    this.#now = Math.max(this.#now, now);
    const due = this.#said.filter(({ at }) => at <= now);
    this.#said = this.#said.filter(({ at }) => at > now);
    return due.map(({ text }) => text).join("");
  }

  write(text: string): void {
    for (const char of text) this.#key(char);
  }

  #print(text: string, at = Math.max(this.#now, this.#busyUntil)): void {
    this.#said.push({ at, text });
  }

  #key(char: string): void {
    if (this.#now < this.#busyUntil && char !== "\x03") return;
    if (!this.#isUp || char === "\x03") {
      if (this.#isUp) this.#print("<INTERRUPT>", this.#now);
      this.#isUp = true;
      this.#busyUntil = 0;
      this.#said = this.#said.filter(({ at }) => at <= this.#now);
      this.#line = "";
      this.#print("\r\n=> ", this.#now);
    } else if (char === "\r") {
      this.#print("\r\n");
      for (const command of this.#line.split(";")) this.#run(command.trim());
      this.#line = "";
      this.#print("=> ");
    } else {
      this.#line += char;
      this.#print(char);
    }
  }

  #run(command: string): void {
    const expanded = command.replace(/\$(\?|\w+)/g, (_, name) =>
      name === "?" ? String(this.#code) : (this.#variables.get(name) ?? ""),
    );
    this.ran.push(expanded);
    const [, name, value] = /^(\w+)=(.*)$/.exec(expanded) ?? [];
    const known = this.commands[command];
    this.#code = known?.code ?? 0;
    if (name !== undefined) this.#variables.set(name, value ?? "");
    else if (known) {
      this.#busyUntil = Math.max(this.#now, this.#busyUntil);
      for (const says of known.says) {
        if (typeof says === "number") this.#busyUntil += says;
        else this.#print(says);
      }
    } else if (expanded.startsWith("echo ")) this.#print(`${expanded.slice(5)}\r\n`);
  }
}

function run(script: string, commands: PlayedUboot["commands"], piece: number) {
  const board = new PlayedUboot(true);
  Object.assign(board.commands, commands);
  const uboot = new UbootConsole({ token: tokens() });
  play(uboot.enter(10_000), board, piece);
  return play(uboot.run(script, { timeoutMs: 60_000 }), board, piece);
}

test("the autoboot is stopped, whatever the pieces", () => {
  for (const piece of sizes) {
    const uboot = new UbootConsole({ token: tokens() });
    const { took } = play(uboot.enter(10_000), new PlayedUboot(false), piece);
    assert.ok(took < 2000, `${took} ms with ${piece}`);
  }
});

test("output that has the prompt in it, at once and with pauses, is exact", () => {
  const says = [
    "=> ",
    30,
    "=> ",
    300,
    "\r\n=> ",
    1500,
    "> ",
    700,
    "=> x\r\n=> ",
    3000,
    "=>",
    50,
    " \r\n",
    "end",
  ];
  const output = says.filter((one) => typeof one === "string").join("");
  for (const piece of sizes) {
    const result = run("strange", { strange: { says, code: 7 } }, piece);
    assert.deepEqual(
      [result.value, result.output],
      [{ code: 7, complete: true }, output],
      `pieces of ${piece}`,
    );
  }
});

test("the first command that fails ends the script", () => {
  const commands = { bad: { says: ["no\r\n"], code: 3 } };
  const { value, output } = run("echo one\nbad\necho two", commands, 5);
  assert.deepEqual([value.code, output], [3, "one\r\nno\r\n"]);
});

test("a boot in the middle, a crash, and a kernel have names; what only looks like a boot has none", () => {
  const cases: readonly (readonly [string, string])[] = [
    [boot, "rebooted"],
    ['"Synchronous Abort" handler, esr 0x96000010\r\nResetting CPU ...\r\n', "panic"],
    ["### ERROR ### Please RESET the board ###\r\n", "panic"],
    ["Starting kernel ...\r\n\r\n[    0.000000] Booting Linux on physical CPU 0x0\r\n", "rebooted"],
  ];
  for (const [says, reason] of cases)
    for (const piece of sizes)
      assert.throws(() => run("go", { go: { says: [says, 100_000], code: 0 } }, piece), { reason }, says);
  const version = { version: { says: ["U-Boot 2023.01 (Jan 01 2023)\r\n\r\ngcc 12\r\n"], code: 0 } };
  assert.equal(run("version", version, 3).value.code, 0);
});

test("a reset as the script's own line is done at the next prompt", () => {
  for (const piece of sizes) {
    const result = run("reset", { reset: { says: ["resetting ...\r\n", 500, boot, 500], code: 1 } }, piece);
    assert.equal(result.value.code, 0);
  }
});

test("what can't be typed isn't", () => {
  for (const line of ["echo é", "echo \x03", "echo \x1b[0m"]) {
    const { value, notes } = run(line, {}, 64);
    assert.deepEqual([value.code, notes.length], [2, 1], line);
  }
});

test("silence, noise and garbage have names, and none of them is waited for longer than it may be", () => {
  const says = (text: string): PlayedBoard => {
    let next = 0;
    const say = (now: number) => {
      if (now < next) return "";
      next = now + 50;
      return text;
    };
    return { write: () => {}, say };
  };
  const boards: readonly (readonly [string, string])[] = [
    ["", "silent"],
    ["[    1.000000] usb 1-1: new device\r\n", "noise"],
    ["\xf8\x80\x06\x9e\xe0\xfe\x00\x18", "wrong-speed"],
  ];
  for (const [text, reason] of boards) {
    const uboot = new UbootConsole({ token: tokens() });
    assert.throws(() => play(uboot.enter(5000), says(text), 16), { reason });
    assert.ok(play(uboot.interrupt(5000), says(text), 16).took < 7000);
  }
});

test("a prompt given as a pattern may have colours", () => {
  const board = new PlayedUboot(false);
  const say = board.say.bind(board);
  board.say = (now) => say(now).replaceAll("=> ", "\x1b[1mdev #7=> \x1b[0m");
  Object.assign(board.commands, { strange: { says: ["one\r\n"], code: 7 } });
  const uboot = new UbootConsole({ token: tokens(), prompt: "/dev #\\d+=>/" });
  play(uboot.enter(10_000), board, 4096);
  const { value, output } = play(uboot.run("strange", { timeoutMs: 60_000 }), board, 4096);
  assert.deepEqual([value.code, output], [7, "one\r\n"]);
});
