/** Conversations with barebox, Zephyr's shell and NuttX's NSH, played: in pieces of odd sizes, and with damage. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Dialogue } from "#/devices/consoles/dialogue.ts";
import { withoutEscapes } from "#/devices/consoles/plain-text.ts";
import type { DialectName } from "#/devices/consoles/prompt-shell/dialects.ts";
import { PromptShellConsole } from "#/devices/consoles/prompt-shell/prompt-shell.ts";
import { UbootConsole } from "#/devices/consoles/u-boot/u-boot.ts";
import { boards, type Command, PlayedShell } from "../../targets/played-shell.ts";
import { play, tokens } from "./play.ts";

const sizes = [1, 2, 3, 7, 64, 4096];

function run(board: PlayedShell, kind: DialectName, script: string, piece = 4096) {
  const shell = new PromptShellConsole(kind);
  play(shell.enter(10_000), board, piece);
  board.ran.length = 0;
  return play(shell.run(script, { timeoutMs: 60_000 }), board, piece);
}

const commands: Record<string, Command> = {
  "kernel uptime": { says: ["Uptime: 3 ms\r\n"], code: 0 },
  "check one": { says: ["one\r\n", 500, "two\r\n"], code: 0 },
  "check two": { says: [3000, "\x1b[1;31mbad\x1b[m\r\n"], code: 22 },
  quiet: { says: [], code: 0 },
  dangling: { says: ["no end"], code: 0 },
};

for (const kind of ["barebox", "zephyr", "nuttx"] as const) {
  test(`${kind}: from its boot to the prompt, and commands with their codes and output`, () => {
    for (const piece of sizes) {
      const board = new PlayedShell(kind, false);
      Object.assign(board.commands, commands);
      const done = run(
        board,
        kind,
        "# a comment\nkernel uptime\n\nquiet\ncheck one\ndangling\ncheck two\nquiet",
        piece,
      );
      assert.deepEqual(done.value, { code: 22, complete: true });
      assert.equal(done.output, "Uptime: 3 ms\r\none\r\ntwo\r\nno endbad\r\n", `${piece}`);
      const own = board.ran.filter((line) => line in commands);
      assert.deepEqual(own, ["kernel uptime", "quiet", "check one", "dangling", "check two"]);
    }
  });

  test(`${kind}: a command that it doesn't know fails the script`, () => {
    const { value, output } = run(new PlayedShell(kind), kind, "frobnicate now\nquiet");
    assert.notEqual(value.code, 0);
    assert.match(output, /frobnicate/);
  });

  test(`${kind}: the prompt's text in the output, with pauses, stays output`, () => {
    const plain = withoutEscapes(boards[kind].prompt);
    for (const piece of sizes) {
      const board = new PlayedShell(kind);
      const says = [`${plain}x\r\n${plain}`, 30, `\r\n${plain}`, 1500, "more\r\n", plain, 400, "end\r\n"];
      Object.assign(board.commands, { strange: { says, code: 0 } });
      const { value, output } = run(board, kind, "strange", piece);
      assert.equal(value.code, 0);
      assert.ok(output.startsWith(`${plain}x\r\n${plain}\r\n${plain}`), JSON.stringify(output));
      assert.ok(output.endsWith("end\r\n"), JSON.stringify(output));
    }
  });

  test(`${kind}: lost keystrokes change no command and no code`, () => {
    for (let every = 5; every < 60; every += 1) {
      const board = new PlayedShell(kind);
      Object.assign(board.commands, commands);
      board.arrives = (count) => count % every !== 0;
      try {
        const { value } = run(board, kind, "kernel uptime\ncheck one\ncheck two");
        assert.equal(value.code, 22, `every ${every}`);
      } catch (error) {
        assert.equal((error as { reason?: string }).reason, "noise", `every ${every}: ${error}`);
      }
      const own = board.ran.filter((line) => line in commands);
      assert.deepEqual([...new Set(own)], own, `every ${every}`);
    }
  });

  test(`${kind}: a prompt that the line damages is found all the same, and the output isn't called complete`, () => {
    const [whole, damaged] = { barebox: ["reb", "rebb"], zephyr: ["~$", "~$$"], nuttx: ["sh>", "shh>"] }[
      kind
    ] as [string, string];
    for (const piece of sizes) {
      const board = new PlayedShell(kind);
      Object.assign(board.commands, commands);
      const say = board.say.bind(board);
      let isDamaged = false;
      board.say = (now) => {
        const said = say(now);
        if (isDamaged || !said.includes("Uptime")) return said;
        isDamaged = true;
        return said.replace(whole, () => damaged);
      };
      const { value, output, notes, took } = run(board, kind, "kernel uptime\ncheck two", piece);
      assert.deepEqual(
        [value, output],
        [{ code: 22, complete: false }, "Uptime: 3 ms\r\nbad\r\n"],
        `${piece}`,
      );
      assert.deepEqual(notes, ["the prompt was damaged on the line: the output may be incomplete"]);
      assert.ok(took < 20_000, `${took} ms`);
    }
  });

  test(`${kind}: a prompt and the answer behind it, both damaged, don't hold it up`, () => {
    const [whole, damaged] = { barebox: ["reb", "rebb"], zephyr: ["~$", "~$$"], nuttx: ["sh>", "shh>"] }[
      kind
    ] as [string, string];
    // Only the prompt, the answer as well, and every prompt from then on.
    for (const [prompts, answers] of [
      [2, 0],
      [2, 1],
      [3, 0],
      [1000, 0],
    ] as const) {
      const board = new PlayedShell(kind);
      Object.assign(board.commands, commands);
      const say = board.say.bind(board);
      let isDamaging = false;
      let [left, wrong] = [prompts as number, answers as number];
      board.say = (now) => {
        let said = say(now);
        isDamaging ||= said.includes("Uptime");
        if (isDamaging && /^(?:lg )?0/m.test(said) && wrong-- > 0) said = said.replace("0", "x");
        if (isDamaging && said.includes(whole) && left-- > 0) said = said.replaceAll(whole, () => damaged);
        return said;
      };
      const shell = new PromptShellConsole(kind);
      play(shell.enter(10_000), board, 4096);
      const script = shell.run("kernel uptime\ncheck two", { timeoutMs: 3_000_000 });
      if (answers > 0 || prompts > 3) {
        let now = 0;
        const watched = (function* (): Dialogue<unknown> {
          for (let state = script.next(); ; ) {
            if (state.done) return state.value;
            const heard = yield state.value;
            now = heard.now;
            state = script.next(heard);
          }
        })();
        assert.throws(() => play(watched, board, 4096), { reason: "noise" }, `${prompts} ${answers}`);
        assert.ok(now < 60_000, `${now} ms`);
      } else {
        const { value, took } = play(script, board, 4096);
        assert.deepEqual(value, { code: 22, complete: false }, `${prompts}`);
        assert.ok(took < 60_000, `${took} ms`);
      }
    }
  });

  test(`${kind}: a reboot, a crash, and silence have their names`, () => {
    const rebooting = new PlayedShell(kind);
    Object.assign(rebooting.commands, { boom: { says: [300, `\r\n${boards[kind].boot}`], code: 0 } });
    assert.throws(() => run(rebooting, kind, "boom"), { reason: "rebooted" });
    const cut = new PlayedShell(kind);
    Object.assign(cut.commands, { boom: { says: [300, `half a li${boards[kind].boot}`], code: 0 } });
    assert.throws(() => run(cut, kind, "boom"), { reason: "rebooted" });
    const crashing = new PlayedShell(kind);
    const says = [300, "E: r0/a1: 0x0\r\nE: >>> ZEPHYR FATAL ERROR 0: CPU exception\r\n"];
    Object.assign(crashing.commands, { boom: { says, code: 0 } });
    assert.throws(() => run(crashing, kind, "boom"), { reason: "panic", message: /FATAL ERROR 0/ });
    const silent = { write: () => {}, say: () => "" };
    assert.throws(() => play(new PromptShellConsole(kind).enter(3000), silent, 64), { reason: "silent" });
  });

  test(`${kind}: a command that exceeds its time`, () => {
    const board = new PlayedShell(kind);
    Object.assign(board.commands, { slow: { says: [120_000], code: 0 } });
    assert.throws(() => run(board, kind, "slow"), { code: "RUN_TIMEOUT" });
  });
}

test("zephyr: messages of a log redraw the line, whatever is typed just then", () => {
  for (const piece of sizes) {
    const board = new PlayedShell("zephyr");
    Object.assign(board.commands, commands);
    let keys = 0;
    const write = board.write.bind(board);
    board.write = (text) => {
      write(text);
      keys += text.length;
      if (keys % 5 === 0) board.log(`[00:00:0${keys % 10}.000,000] <inf> app: tick ${keys}`);
    };
    const { value } = run(board, "zephyr", "kernel uptime\ncheck one\ncheck two", piece);
    assert.equal(value.code, 22);
    assert.deepEqual(
      board.ran.filter((line) => line in commands),
      ["kernel uptime", "check one", "check two"],
    );
  }
});

test("zephyr: without retval, the firmware lacks an option", () => {
  const board = new PlayedShell("zephyr");
  Object.assign(board.commands, { retval: { says: [boards.zephyr.unknown("retval")], code: -8 } });
  const shell = new PromptShellConsole("zephyr");
  const what = { reason: "mismatch", message: /CONFIG_SHELL_CMDS_RETURN_VALUE/ };
  assert.throws(() => play(shell.enter(5000), board, 64), what);
});

test("barebox: a command over several lines; one that isn't complete is refused", () => {
  const board = new PlayedShell("barebox");
  Object.assign(board.commands, { "if true\nthen quiet\nfi": { says: ["yes\r\n"], code: 3 } });
  const { value, output } = run(board, "barebox", "if true\nthen quiet\nfi");
  assert.deepEqual([value.code, output], [3, "yes\r\n"]);
  const { value: refused, notes } = run(board, "barebox", "if true\nthen quiet");
  assert.deepEqual([refused.code, notes], [2, ["not run: the script ends inside a command"]]);
  const { value: odd, notes: why } = run(board, "barebox", "echo \u00e9");
  assert.deepEqual([odd.code, why], [2, ['not run: line 1 contains "\u00e9"']]);
});

test("barebox: a prompt that shows the folder changes with it", () => {
  for (const piece of sizes) {
    const board = new PlayedShell("barebox");
    let folder = "/";
    const [say, write] = [board.say.bind(board), board.write.bind(board)];
    Object.assign(board.commands, { "cd /env/bin": { says: [], code: 0 }, ...commands });
    board.write = (text) => {
      write(text);
      if (board.ran.includes("cd /env/bin")) folder = "/env/bin";
    };
    board.say = (now) => say(now).replaceAll("\x1b[0m:/ ", `\x1b[0m:${folder} `);
    const { value, output } = run(board, "barebox", "quiet\ncd /env/bin\nkernel uptime\ncheck two", piece);
    assert.deepEqual([value.code, output], [22, "Uptime: 3 ms\r\nbad\r\n"], `${piece}`);
  }
});

test("a prompt of the board's own, as text or as a pattern", () => {
  for (const [prompt, own] of [
    ["mydev> ", "mydev>"],
    ["\x1b]0;a title of the window\x07dev> ", "/^dev>/"],
    ["\x1b[33m[12:00] dev #7> \x1b[0m", "/\\[\\d\\d:\\d\\d\\] dev #\\d+>/"],
  ] as const) {
    const board = new PlayedShell("zephyr");
    const say = board.say.bind(board);
    board.say = (now) => say(now).replaceAll(boards.zephyr.prompt, prompt);
    Object.assign(board.commands, commands);
    const shell = new PromptShellConsole("zephyr", { prompt: own });
    play(shell.enter(10_000), board, 4096);
    const { value } = play(shell.run("quiet\ncheck two", { timeoutMs: 60_000 }), board, 4096);
    assert.equal(value.code, 22);
  }
});

test("what stands there instead of the prompt has its name, with what was sent", () => {
  const standing = {
    "board login: ": "a login prompt",
    "\x1b[32mpi@board\x1b[0m:~$ ": "a shell's prompt",
    ">>> ": "MicroPython's prompt",
    "=> ": "U-Boot's prompt",
    "nsh> \x1b[K": "NuttX's prompt",
    "grub> ": "GRUB's prompt",
    "GNU GRUB  version 2.06\r\n *Linux\r\n": "a menu",
  };
  for (const [prompt, name] of Object.entries(standing)) {
    let waiting = "";
    const board = {
      write: () => {
        waiting = `\r\n${prompt}`;
      },
      say: () => {
        const said = waiting;
        waiting = "";
        return said;
      },
    };
    const console = name.startsWith("U-Boot") ? "barebox" : "u-boot";
    const dialogue =
      console === "barebox"
        ? new PromptShellConsole("barebox").enter(3000)
        : new UbootConsole({ token: tokens() }).enter(3000);
    const message = new RegExp(`prompt.*, also after ".*\\\\u0003" was sent; ${name} stands there; last: `);
    assert.throws(() => play(dialogue, board, 64), { reason: "noise", message }, name);
  }
});
