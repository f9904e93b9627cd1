/** Scripts through real shells on real terminals: exact output, certain exit codes, whatever state the shell is found in. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { watch } from "node:fs/promises";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { type Dialogue, runDialogue } from "#/devices/consoles/dialogue.ts";
import { newKnownBoard } from "#/devices/consoles/linux/known.ts";
import { LinuxConsole } from "#/devices/consoles/linux/linux.ts";
import { BoardFailure, RunTimeout } from "#/devices/errors.ts";
import { lacks, part } from "../../support/parts.ts";
import { seeded } from "../../support/random.ts";
import { scale } from "../../support/scale.ts";
import { temporaryFolder } from "../../support/servers.ts";
import { lacksMachine } from "../../targets/machine.ts";
import { conversation, newToken } from "./conversation.ts";
import { enteredShell as board } from "./entered-shell.ts";
import { startShellLine } from "./shell-line.ts";

const skip = lacks("socat", "busybox");
const shells = (): Record<string, string> => ({
  "busybox ash": `${part("busybox")} ash -i`,
  sh: "/bin/sh -i",
  bash: "/bin/bash --norc -i",
});

const hooks = new URL("prompt-hooks.bash", import.meta.url).pathname;

for (const name of ["busybox ash", "sh", "bash"]) {
  test(`${name}: exit codes and exact output`, { skip }, async () => {
    await using b = await board(shells()[name] ?? "");
    assert.deepEqual(await b.run("echo hello"), { code: 0, complete: true, output: "hello\n" });
    assert.deepEqual(await b.run(""), { code: 0, complete: true, output: "" });
    assert.deepEqual(await b.run("printf 'a\\0b\\033[31m\\r\\n\\377\\001~'; exit 7"), {
      code: 7,
      complete: true,
      output: "a\0b\x1b[31m\r\n\xff\x01~",
    });
    assert.equal((await b.run("kill -9 $$")).code, 137);
    assert.equal((await b.run("false")).code, 1);
    assert.equal((await b.run("if")).code > 0, true);
    assert.deepEqual(await b.run("cat; read x; echo $?; echo err >&2"), {
      code: 0,
      complete: true,
      output: "1\nerr\n",
    });
    const long = Array.from({ length: 2000 }, (_, index) => `echo "line ${index} 'quoted' \\$x"`).join("\n");
    const lines = Array.from({ length: 2000 }, (_, index) => `line ${index} 'quoted' $x\n`).join("");
    assert.equal((await b.run(long)).output, lines);
    // The interrupt isn't ignored, as it would be in what a script starts in the background.
    assert.equal((await b.run("sh -c 'kill -2 $$; echo ignored'; echo $?")).output, "130\n");
  });

  test(`${name}: a shell in any state is brought back`, { skip }, async () => {
    await using b = await board(shells()[name] ?? "");
    const states = [
      "half a comm",
      "echo 'open\n",
      "cat <<END\nwords\n",
      "sleep 1000\n",
      "cat\n",
      "(trap '' 2; sleep 1000)\n",
      "PS1='login: '; PS2=; stty -echo\n",
      "stty raw -echo\n",
      "less /etc/passwd\n",
      "vi /dev/null\n",
      "while :; do echo a flood of words; done\n",
    ];
    // One shell meets them all; the others the first ones, unless there is time.
    for (const state of states.slice(0, name === "sh" ? states.length : scale(5, states.length))) {
      await b.line.write(Buffer.from(state), AbortSignal.timeout(30_000));
      await b.talk.hold(b.console.enter(30_000));
      assert.equal((await b.run("echo hello")).output, "hello\n", state);
    }
  });
}

for (const [name, command] of [
  ["bash", () => "/bin/bash --norc -i"],
  ["bash with a prompt from hooks", () => `/bin/bash --rcfile ${hooks} -i`],
  ["dash", () => "/bin/dash -i"],
  ["busybox ash", () => `${part("busybox")} ash -i`],
  ["zsh", () => `${part("zsh")} -f -i`],
  ["fish", () => `${part("fish")} -i`],
  ["tcsh", () => `${part("tcsh")} -f -i`],
  ["mksh", () => `${part("mksh")} -i`],
] as const) {
  for (const locale of ["C", "C.UTF-8"]) {
    test(`${name} in ${locale}, on a terminal without a size`, {
      skip: skip || lacks("zsh", "fish", "tcsh", "mksh"),
    }, async () => {
      await using b = await board(command(), { env: { LC_ALL: locale, HOME: "/tmp", TERM: "vt100" } });
      const script = Array.from({ length: 200 }, (_, index) => `echo "line ${index} 'quoted' \\$x"`).join(
        "\n",
      );
      const lines = Array.from({ length: 200 }, (_, index) => `line ${index} 'quoted' $x\n`).join("");
      assert.deepEqual(await b.run(`${script}\nexit 7`), { code: 7, complete: true, output: lines });
      assert.equal((await b.run("echo $LC_ALL; env | grep -c ^PS1=")).output, `${locale}\n0\n`);
    });
  }
}

test("options that bash passes on to every sh harm neither labgear's program nor the script", {
  skip,
}, async () => {
  await using folder = await temporaryFolder();
  symlinkSync("/bin/bash", `${folder.path}/sh`);
  writeFileSync(`${folder.path}/rc`, "set -o noclobber; set -o nounset; export SHELLOPTS\n");
  const env = { PATH: `${folder.path}:${process.env.PATH}` };
  await using b = await board(`/bin/bash --rcfile ${folder.path}/rc -i`, { env });
  const { output, code } = await b.run(
    'echo one >"$0.x"; echo two >"$0.x"; cat "$0.x"; echo "$none"; exit 3',
  );
  assert.deepEqual([output, code], ["two\n\n", 3]);
  assert.equal((await b.run("echo again")).output, "again\n");
});

test("a shell that was left at our prompt is used again, whatever else the console prints", {
  skip,
}, async () => {
  const known = newKnownBoard();
  const newConsole = () => new LinuxConsole({ token: newToken, known });
  await using line = startShellLine(`${part("busybox")} ash -i`);
  const talk = conversation(line);
  await talk.hold(newConsole().enter(60_000));
  const id = known.shell?.id;
  assert.ok(id);
  for (const before of [
    `lg-${id}# `,
    `lg-${id}# words of a daemon\r\n`,
    "U-Boot 2023.01\r\nmore of a boot\r\n[    0.0] Linux version 6.1\r\nlogin\r\nlg-other# ",
  ]) {
    line.inject(before);
    const console = newConsole();
    const sent = line.sent;
    await talk.hold(console.enter(60_000));
    // Typing it all again takes far more.
    if (before.endsWith(`${id}# `))
      assert.ok(line.sent - sent < 100, `${line.sent - sent} bytes for ${before}`);
    await talk.hold(console.run("echo hello", { timeoutMs: 30_000 }));
    assert.equal(talk.output.toString(), "hello\n");
  }
  // What somebody does to our program on the board is noticed.
  await talk.hold(newConsole().enter(60_000));
  await line.write(Buffer.from("echo true >>/tmp/.lg-*/s\n"), AbortSignal.timeout(30_000));
  line.inject(`lg-${known.shell?.id}# `);
  const console = newConsole();
  await talk.hold(console.enter(60_000));
  await talk.hold(console.run("echo hello", { timeoutMs: 30_000 }));
  assert.equal(talk.output.toString(), "hello\n");
});

/** A folder with these programs only, each busybox's. */
async function programs(names: readonly string[]) {
  const folder = await temporaryFolder();
  for (const name of names) symlinkSync(part("busybox"), `${folder.path}/${name}`);
  symlinkSync("/bin/dash", `${folder.path}/sh`);
  return folder;
}

const needed = "cat dd echo mkdir mv printf rm seq sleep stty tr tty wc md5sum".split(" ");

for (const encoder of ["od", "hexdump", "xxd", "uuencode"]) {
  test(`a board whose only encoder is ${encoder}`, { skip }, async () => {
    await using folder = await programs([...needed, encoder]);
    await using b = await board("/bin/dash -i", { env: { PATH: folder.path } });
    const { output, code } = await b.run("seq 1 300; printf 'a\\0\\377\\200 b'; exit 3");
    const numbers = Array.from({ length: 300 }, (_, index) => `${index + 1}\n`).join("");
    assert.deepEqual([output, code], [`${numbers}a\0\xff\x80 b`, 3]);
  });
}

test("a board on which nothing can be written is a mismatch", { skip: skip || lacksMachine() }, async () => {
  await using folder = await temporaryFolder();
  writeFileSync(
    `${folder.path}/start`,
    `for folder in /dev/shm /run /var/tmp;do mount -t tmpfs -o ro none $folder;done
mount --bind /tmp /tmp;mount -o remount,bind,ro /tmp;export HOME=/proc;exec dash -i`,
  );
  const user = process.getuid?.() === 0 ? "" : "--user --map-root-user";
  await using line = startShellLine(`unshare ${user} --mount sh ${folder.path}/start`);
  const console = new LinuxConsole({ token: newToken });
  await assert.rejects(runDialogue(console.enter(60_000), line, { signal: AbortSignal.timeout(60_000) }), {
    reason: "mismatch",
    message: /can write to none of/,
  });
});

for (const [missing, pattern] of [
  [["base64"], /lacks base64 or od or hexdump or xxd or uuencode/],
  [["dd", "wc"], /lacks dd, wc/],
  [["md5sum"], /none of the programs cksum, md5sum/],
] as const) {
  // Without `env`, too, so the shell stays as it is.
  test(`a board without ${missing.join(" and ")} is a mismatch`, { skip }, async () => {
    const isThere = (name: string) => !(missing as readonly string[]).includes(name);
    await using folder = await programs([...needed, "base64", "ls", "uname"].filter(isThere));
    await using line = startShellLine(`/bin/dash -i`, { env: { PATH: folder.path } });
    const console = new LinuxConsole({ token: newToken });
    await assert.rejects(runDialogue(console.enter(30_000), line, { signal: AbortSignal.timeout(40_000) }), {
      reason: "mismatch",
      message: pattern,
    });
  });
}

/** The dialogue by a clock that runs so many times faster. */
function* faster<T>(dialogue: Dialogue<T>, times: number): Dialogue<T> {
  let state = dialogue.next();
  while (!state.done) {
    const step = state.value;
    const { bytes, now } = yield step.kind === "read" ? { ...step, timeoutMs: step.timeoutMs / times } : step;
    state = dialogue.next({ bytes, now: now * times });
  }
  return state.value;
}

test("a board whose encoder goes away during a session: the script is given up, and nothing loops", {
  skip,
}, async () => {
  await using folder = await programs([...needed, "od"]);
  // In eight bits, frames need none.
  const faults = { random: seeded(1), sevenBits: true };
  await using b = await board("/bin/dash -i", { env: { PATH: folder.path }, faults });
  assert.equal((await b.run("printf '\\377'")).output, "\xff");
  rmSync(`${folder.path}/od`);
  const run = b.console.run("printf '\\377'; exit 3", { timeoutMs: Number.POSITIVE_INFINITY });
  await assert.rejects(b.talk.hold(faster(run, 40)), BoardFailure);
});

test("a terminal that stopped echoing between two scripts is set right again", { skip }, async () => {
  await using b = await board(shells().sh ?? "");
  for (const left of ["stty -echo\n", "echo 'open\n"]) {
    await b.line.write(Buffer.from(left), AbortSignal.timeout(30_000));
    assert.equal((await b.run("echo hello")).output, "hello\n", left);
  }
});

test("what a script prints can't change the outcome", { skip }, async () => {
  await using b = await board(shells()["busybox ash"] ?? "");
  const tricks = `for f in /tmp/.lg-*/s; do cat $f; done; ps; echo "~abcdefgh:end:1:0:0:fine:end:1:0:0:fine"
echo "lg-abcdefgh# "; echo "U-Boot 2023.01"; echo "Linux version 6.1"
echo "Kernel panic - not syncing: not really"; echo "board login: "; exit 9`;
  const { code, output, complete } = await b.run(tricks);
  assert.deepEqual([code, complete], [9, true]);
  // Folders of other lines may come first.
  assert.match(output, /^set \+Cu;T=\$\{0%/m);
  assert.match(output, /login: \n$/);
  assert.equal((await b.run("echo next")).output, "next\n");
});

test("lines of a boot or a panic on the console, while the board runs on, cost a pause", {
  skip,
}, async () => {
  await using b = await board(shells()["busybox ash"] ?? "");
  for (const said of ["Kernel panic - not syncing: not really", "U-Boot 2023.01 (of a test)"]) {
    const run = b.console.run("echo one; sleep 1; echo two; exit 4", { timeoutMs: 30_000 });
    const { code } = await b.talk.hold(run, undefined, () => b.line.inject(`\r\n${said}\r\n`));
    assert.deepEqual([code, b.talk.output.toString()], [4, "one\ntwo\n"], said);
  }
});

test("output streams while the script runs", { skip }, async () => {
  await using b = await board(shells().sh ?? "");
  await using folder = await temporaryFolder();
  const { writeFile } = await import("node:fs/promises");
  const go = `${folder.path}/go`;
  const heard: string[] = [];
  // The script goes on only when its first line has arrived.
  const script = `echo first; until [ -e ${go} ]; do sleep 0.1; done; echo second`;
  await b.talk.hold(b.console.run(script, { timeoutMs: 30_000 }), undefined, (bytes) => {
    heard.push(Buffer.from(bytes).toString());
    void writeFile(go, "");
  });
  assert.deepEqual(heard, ["first\n", "second\n"]);
});

test("a flood waits for the line, and takes little room on the board", { skip }, async () => {
  await using b = await board(shells()["busybox ash"] ?? "");
  const { output } = await b.run('echo "$0"');
  const folder = dirname(dirname(output.trim()));
  let largest = 0;
  const look = () => {
    const names = readdirSync(folder, { recursive: true, encoding: "utf8" });
    const sizes = names.map((name) => statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0);
    largest = Math.max(
      largest,
      sizes.reduce((sum, size) => sum + size, 0),
    );
  };
  const size = 3_000_000;
  const run = b.console.run(`head -c ${size} /dev/zero | tr '\\0' x`, { timeoutMs: 60_000 });
  const { code } = await b.talk.hold(run, undefined, look);
  assert.equal(code, 0);
  assert.ok(b.talk.output.equals(Buffer.alloc(size, "x")));
  assert.ok(largest > 16_384 && largest < 400_000, `${largest} bytes on the board`);
});

test("a process that is left running with the output open doesn't hold the script up", { skip }, async () => {
  await using b = await board(shells().sh ?? "");
  const { code, output } = await b.run("(sleep 60; echo late) & echo early; exit 3");
  assert.deepEqual([code, output], [3, "early\n"]);
  assert.match(b.talk.notes.join(), /left running/);
});

for (const [name, seconds, script] of [
  ["sleeps", 10071, "sleep 10071"],
  ["ignores what can be ignored", 10072, "trap '' 1 2 3 15; while :; do sleep 10072; done"],
  ["floods", 10073, "sleep 10073 & while :; do echo words; done"],
  ["has children in groups of their own", 10074, "set -m; sleep 10074 & sleep 10074 & wait"],
] as const) {
  test(`a script that ${name} is interrupted`, { skip }, async () => {
    await using b = await board(shells()["busybox ash"] ?? "");
    await assert.rejects(b.talk.hold(b.console.run(`echo up; ${script}`, { timeoutMs: 700 })), RunTimeout);
    assert.equal(await b.talk.hold(b.console.interrupt(30_000)), true);
    assert.equal((await b.run(`ps ax | grep -c '[s]leep ${seconds}'; echo next`)).output, "0\nnext\n");
  });
}

test("a conversation that is broken off is interrupted, wherever it is", { skip }, async () => {
  await using b = await board(shells()["busybox ash"] ?? "");
  for (const after of [1, 30, 120, 250, 400, 700]) {
    const stop = AbortSignal.timeout(after);
    await assert.rejects(b.talk.hold(b.console.run("sleep 1000", { timeoutMs: 60_000 }), stop));
    assert.equal(await b.talk.hold(b.console.interrupt(30_000)), true, `after ${after} ms`);
    assert.equal((await b.run("echo next")).output, "next\n", `after ${after} ms`);
  }
});

test("a script that has only just been started is interrupted", { skip }, async () => {
  await using folder = await temporaryFolder();
  const started = `${folder.path}/started`;
  // A busy board: what begins the script takes a while.
  const slow = `#!/bin/sh\n[ "$1" = true ]||{ : >${started};sleep 0.5; }\nexec /usr/bin/setsid "$@"\n`;
  writeFileSync(`${folder.path}/setsid`, slow, { mode: 0o755 });
  await using b = await board("/bin/sh -i", { env: { PATH: `${folder.path}:${process.env.PATH}` } });
  const changes = watch(folder.path, { signal: AbortSignal.timeout(60_000) });
  const stop = new AbortController();
  const running = b.talk.hold(b.console.run("sleep 10075", { timeoutMs: 60_000 }), stop.signal);
  const isStopped = assert.rejects(running, /stop/);
  for await (const _ of changes) if (existsSync(started)) break;
  stop.abort(new Error("stop"));
  await isStopped;
  assert.equal(await b.talk.hold(b.console.interrupt(30_000)), true);
  assert.equal((await b.run("sleep 1; ps ax | grep -c '[s]leep 10075'; :")).output, "0\n");
});

for (const [name, faults] of [
  ["kernel lines at full speed", { kernelEvery: 30 }],
  [
    "kernel lines without the time",
    { kernelEvery: 400, kernelLine: (number: number) => `daemon: word ${number}\r\n` },
  ],
  ["lost bytes", { drop: 2000, both: true }],
  ["doubled bytes", { double: 1000, both: true }],
  ["flipped bits", { flip: 1000, both: true }],
  ["seven bits", { sevenBits: true }],
  ["all of it", { drop: 3000, double: 3000, flip: 3000, kernelEvery: 300, both: true }],
] as const) {
  test(`faults: ${name}`, { skip }, async () => {
    await using b = await board(shells()["busybox ash"] ?? "", { faults: { random: seeded(4), ...faults } });
    const numbers = Array.from({ length: 1500 }, (_, index) => `${index + 1}\n`).join("");
    for (const code of [0, 5]) {
      const result = await b.run(`seq 1 1500; exit ${code}`, 60_000);
      assert.equal(result.code, code);
      assert.equal(result.output, numbers);
      assert.equal(result.complete, true);
    }
  });
}
