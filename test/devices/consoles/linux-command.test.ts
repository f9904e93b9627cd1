/** A line that a board's shell doesn't take: when it is given up, and why. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { LinuxBoard } from "#/devices/consoles/linux/board.ts";
import { command } from "#/devices/consoles/linux/shell.ts";
import { newTypingProfile } from "#/devices/consoles/linux/typing.ts";
import { tokens } from "./play.ts";
import { type React, VirtualBoard } from "./virtual-board.ts";

/** Types a line at a shell that had our prompt. @returns the board afterwards */
function fails(react: React, expected?: string): VirtualBoard {
  const board = new VirtualBoard(react);
  const token = tokens();
  const shell = { board: new LinuxBoard(), profile: newTypingProfile(), id: "abcdefgh", token };
  assert.throws(() => board.hold(command(shell, "echo hello", 120_000, expected)), {
    reason: "noise",
    message: /the board's shell doesn't take a typed line: .*; to "echo hello" it answered "/,
  });
  return board;
}

test("a shell that echoes and never runs the line", () => {
  fails((typed, board) => board.say(typed.replaceAll("\n", "\r\n")));
});

test("a shell that answers each line with its prompt alone: the line is typed four times", () => {
  const board = fails((typed, it) => {
    it.say(typed.replaceAll("\n", "\r\n"));
    if (typed.endsWith("\n")) it.say("lg-abcdefgh# ", 2);
  }, "hello\n");
  assert.equal(board.typed.split("echo hello").length, 5);
});

for (const prompt of ["board login: ", "Passwort: ", "board Anmeldung: ", "ログイン: ", "Mot de passe : "]) {
  test(`a shell that has gone, with ${prompt}in its place, is typed to once more and given up`, () => {
    const board = fails((typed, it) => {
      it.say(typed.replaceAll("\n", "\r\n"));
      if (typed.includes("\n")) it.say(Buffer.from(prompt).toString("latin1"), 2);
    });
    assert.ok(board.typed.split("echo hello").length <= 3, JSON.stringify(board.typed));
  });
}
