/** A MicroPython that the test plays: raw-paste mode, which the real one here is too old for, and answers that get lost. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { MicropythonConsole } from "#/devices/consoles/micropython/micropython.ts";
import { adler, runner } from "#/devices/consoles/micropython/program.ts";
import { type PlayedBoard, play, tokens } from "./play.ts";

const greeting = "raw REPL; CTRL-B to exit\r\n>";
const sizes = [1, 3, 7, 64, 4096];

/** The REPL around our statements, which it knows by their form; the script itself is the test's. */
class PlayedPython implements PlayedBoard {
  readonly window: number | undefined;
  /** What the script says, and its code. */
  readonly script: { readonly says: string; readonly code: number };
  /** Which of the answers are lost or damaged, counted from 0. */
  readonly damage: (answer: string, index: number) => string;
  received = "";
  answers = 0;
  runs = 0;
  #said = "";
  #line = "";
  #room: number | undefined;
  #buffer = Buffer.alloc(0);
  #state: [string, number] = ["", -1];

  constructor(
    window: number | undefined,
    script: { says: string; code: number },
    damage: (answer: string, index: number) => string = (answer) => answer,
  ) {
    this.window = window;
    this.script = script;
    this.damage = damage;
  }

  say(): string {
    const said = this.#said;
    this.#said = "";
    return said;
  }

  write(text: string): void {
    for (const char of text) this.#key(char);
  }

  #key(char: string): void {
    if (char === "\x03") {
      this.#line = "";
      this.#room = undefined;
    } else if (char === "\x01" && this.#line === "\x05A" && this.window !== undefined) {
      this.#line = "";
      this.#room = this.window;
      this.#said += `R\x01${String.fromCharCode(this.window % 256, this.window >> 8)}`;
    } else if (char === "\x01") {
      this.#line = "";
      this.#said += greeting;
    } else if (char === "\x04" && this.#line === "" && this.#room === undefined) {
      this.#said += `OK\r\nMPY: soft reboot\r\n${greeting}`;
      this.#state = ["", -1];
    } else if (char === "\x04") {
      this.#said += this.#room === undefined ? "OK" : "\x04";
      this.#room = undefined;
      const statement = this.#line;
      this.#line = "";
      this.#said += this.damage(`${this.#answer(statement)}\x04\x04>`, this.answers++);
    } else {
      this.#line += char;
      if (this.#room === undefined) return;
      this.#room -= 1;
      assert.ok(this.#room >= 0, "more was sent than fits");
      if (this.#room === 0) {
        this.#room = this.window;
        this.#said += "\x01";
      }
    }
  }

  #answer(statement: string): string {
    const [, size] = /^_lb=bytearray\((\d+)\)\n/.exec(statement) ?? [];
    if (size !== undefined) this.#buffer = Buffer.alloc(Number(size));
    const [, at, piece = ""] = /^_lw\((\d+),b'(.*)'\)$/.exec(statement) ?? [];
    if (at !== undefined) {
      const bytes = Buffer.from(
        JSON.parse(`"${piece.replace(/\\x/g, "\\u00").replace(/"/g, '\\"')}"`),
        "latin1",
      );
      bytes.copy(this.#buffer, Number(at));
      return `${adler(bytes)}\r\n`;
    }
    if (statement === "_lw(0,_lb)") return `${adler(this.#buffer)}\r\n`;
    if (statement.startsWith("exec(bytes(_lb))")) {
      assert.equal(this.#buffer.toString(), runner);
      return "['', -1]\r\n";
    }
    const [, token] = /^_lr\('(\w+)','\1'\)$/.exec(statement) ?? [];
    const [name, code] = this.#state;
    if (token !== undefined && token !== name) {
      this.runs += 1;
      this.received = this.#buffer.toString();
      this.#state = [token, this.script.code];
      return `${token}<\r\n${this.script.says}${token}:${this.script.code}:${65521 - this.script.code}\r\n`;
    }
    if (statement === "print(_ls,_ls)") return `['${name}', ${code}] ['${name}', ${code}]\r\n`;
    if (statement === "print(_ls[0])") return `${name}\r\n`;
    return /^print\('(\w+)'\)$/.exec(statement)?.[1]?.concat("\r\n") ?? "";
  }
}

const script = `print("it's", 'é\\n')\n${"# a long one\n".repeat(30)}`;

function run(board: PlayedPython, piece: number) {
  const python = new MicropythonConsole({ token: tokens() });
  play(python.enter(20_000), board, piece);
  return play(python.run(script, { timeoutMs: 60_000 }), board, piece);
}

test("scripts arrive whole with raw-paste mode and without, in pieces of any size", () => {
  for (const window of [undefined, 1, 32, 128, 512])
    for (const piece of sizes) {
      const board = new PlayedPython(window, { says: "hello\r\n\x04\x04>", code: 3 });
      const { value, output } = run(board, piece);
      assert.deepEqual(
        [value, output],
        [{ code: 3, complete: true }, "hello\r\n\x04\x04>"],
        `${window} ${piece}`,
      );
      assert.equal(board.received, script);
    }
});

test("whichever answer gets lost or damaged, the script runs once and its code is its own", () => {
  const whole = new PlayedPython(undefined, { says: "hello\r\n", code: 3 });
  run(whole, 64);
  const ways: readonly ((answer: string) => string)[] = [
    () => "",
    (answer) => answer.slice(0, -3),
    (answer) => answer.slice(1),
    (answer) => answer.replace(/\d/, "x"),
  ];
  for (let lost = 0; lost < whole.answers; lost += 1)
    for (const way of ways) {
      const damage = (answer: string, index: number) => (index === lost ? way(answer) : answer);
      const board = new PlayedPython(undefined, { says: "hello\r\n", code: 3 }, damage);
      const { value } = run(board, 64);
      assert.deepEqual([value.code, board.runs, board.received], [3, 1, script], `answer ${lost}`);
    }
});
