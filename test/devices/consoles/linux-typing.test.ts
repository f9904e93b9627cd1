/** What is typed arrives, on lines that lose, double and flip characters both ways; what a device needs is remembered. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Dialogue } from "#/devices/consoles/dialogue.ts";
import { LinuxBoard } from "#/devices/consoles/linux/board.ts";
import {
  type EchoKind,
  maxChunkLength,
  newTypingProfile,
  typeText,
} from "#/devices/consoles/linux/typing.ts";
import { seeded } from "../../support/random.ts";
import { type React, VirtualBoard } from "./virtual-board.ts";

const line = `printf '%s' "some words, and $HOME of 'others'" | cksum >/tmp/a.file; echo $?`;

/** A terminal that echoes and edits; `line` is what is on it. */
function terminal(echo: (character: string) => string = (character) => character) {
  const state = { line: "" };
  const react: React = (typed, board) => {
    for (const character of typed) {
      if (character === "\x15") {
        board.say("\b \b".repeat(state.line.length));
        state.line = "";
      } else {
        state.line += character;
        board.say(echo(character));
      }
    }
  };
  return { state, react };
}

function* typed(
  board: LinuxBoard,
  profile = newTypingProfile(),
  text = line,
  kind: EchoKind = "exact",
): Dialogue<boolean> {
  yield* board.next(0);
  return yield* typeText(text, board, profile, 60_000, kind);
}

test("typing: a good line is typed at once", () => {
  const { state, react } = terminal();
  const board = new VirtualBoard(react);
  assert.equal(board.hold(typed(new LinuxBoard())), true);
  assert.equal(state.line, line);
  assert.equal(board.typed, line);
});

test("typing: kernel lines in the echo, and an editor that wraps", () => {
  let count = 0;
  const { react } = terminal((character) => {
    count++;
    if (count % 9 === 0) return `[   12.345678] noise ${count}\r\n${character}`;
    return count % 20 === 0 ? `${character}\r\n` : character;
  });
  const board = new VirtualBoard(react, 3);
  assert.equal(board.hold(typed(new LinuxBoard())), true);
  const wrapping = terminal((character) => (++count % 20 === 0 ? `${character} \r` : character));
  assert.equal(
    new VirtualBoard(wrapping.react).hold(typed(new LinuxBoard(), newTypingProfile(), line, "edited")),
    true,
  );
});

test("typing: lost, doubled and flipped characters both ways; what it took is remembered", () => {
  let chunks = 0;
  for (let seed = 1; seed <= 40; seed++) {
    const random = seeded(seed);
    const damage = (text: string) =>
      [...text]
        .map((character) => {
          const fate = random(300);
          if (fate === 0) return "";
          if (fate === 1) return character + character;
          return fate === 2 ? String.fromCharCode(character.charCodeAt(0) ^ 2) : character;
        })
        .join("");
    // One way at a time: two faults that hide each other can't be seen, and it takes a checksum to find them.
    const echo = (character: string) => (seed % 2 ? damage(character) : character);
    const { state, react } = terminal(echo);
    const board = new VirtualBoard((text, self) => react(seed % 2 ? text : damage(text), self));
    const profile = newTypingProfile();
    if (board.hold(typed(new LinuxBoard(), profile))) {
      // Only a lost Ctrl-U leaves more than was typed, and then it shows in front.
      assert.ok(state.line.endsWith(line), `seed ${seed}: ${state.line}`);
    }
    chunks += profile.chunkLength;
  }
  assert.ok(chunks / 40 < maxChunkLength * 0.75, `${chunks / 40}`);
});

test("typing: a board that takes no more than four characters at a time", () => {
  let burst = 0;
  let last = 0;
  const { state, react } = terminal();
  const board = new VirtualBoard((text, self) => {
    if (self.now - last >= 2) burst = 0;
    last = self.now;
    const taken = text.slice(0, Math.max(0, 4 - burst));
    burst += text.length;
    react(taken, self);
  });
  const profile = newTypingProfile();
  assert.equal(board.hold(typed(new LinuxBoard(), profile)), true);
  assert.equal(state.line, line);
  assert.ok(profile.chunkLength <= 6, `${profile.chunkLength}`);
  const before = board.typed.length;
  assert.equal(board.hold(typed(new LinuxBoard(), profile)), true);
  assert.ok(board.typed.length - before <= 2 * line.length, "it starts with what it learned");
});

test("typing: without any echo it says so, and types blind from then on", () => {
  const board = new VirtualBoard(() => {});
  const profile = newTypingProfile();
  assert.equal(board.hold(typed(new LinuxBoard(), profile)), false);
  assert.equal(profile.echoes, false);
  const before = board.typed.length;
  assert.equal(board.hold(typed(new LinuxBoard(), profile)), true);
  assert.equal(board.typed.slice(before), line);
});

test("typing: a terminal that echoed before and is silent now is given up soon, and not taken for one without echo", () => {
  const board = new VirtualBoard(() => {});
  const profile = { ...newTypingProfile(), echoes: true };
  assert.equal(board.hold(typed(new LinuxBoard(), profile)), false);
  assert.equal(profile.echoes, true);
  assert.ok(board.now < 6000, `${board.now}`);
});
