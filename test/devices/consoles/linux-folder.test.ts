/** A temporary folder on the board that becomes full or read-only in the middle of a session: a named reason, and never a loop. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { test } from "node:test";
import { lacks, part } from "../../support/parts.ts";
import { temporaryFolder } from "../../support/servers.ts";
import { lacksMachine } from "../../targets/machine.ts";
import { sinkOf, sourceOf } from "./conversation.ts";
import { enteredShell } from "./entered-shell.ts";

const skip = lacks("socat", "busybox") || lacksMachine();
const asRoot = process.getuid?.() === 0 ? "" : "--user --map-root-user";
const gone = {
  reason: "mismatch",
  message: /temporary folder on the board is full, or has become read-only/,
};
const readOnly = "mount -o remount,ro /tmp\n";
const full = "cat /dev/zero >/tmp/fill 2>/dev/null\n";

/** A shell whose /tmp is small and its own, and the only folder where it can write but /dev/shm. */
async function small(shell: string) {
  const folder = await temporaryFolder();
  writeFileSync(
    `${folder.path}/start`,
    `mount -t tmpfs none /dev/shm;cp "${part("busybox")}" /dev/shm/busybox
mount -t tmpfs -o size=96k none /tmp;mount -t tmpfs -o ro none /run;export HOME=/proc;exec ${shell}`,
  );
  const board = await enteredShell(`unshare ${asRoot} --mount sh ${folder.path}/start`);
  return Object.assign(board, {
    /** Types a line at the board's prompt, past labgear, and waits until it has run. */
    async type(line: string) {
      const { signal } = new AbortController();
      await board.line.write(Buffer.from(`${line}echo do''ne\n`), signal);
      for (let text = ""; !text.includes("done"); )
        text += Buffer.from(await board.line.read(30_000, signal)).toString("latin1");
    },
    async [Symbol.asyncDispose]() {
      await board.line[Symbol.asyncDispose]();
      await folder[Symbol.asyncDispose]();
    },
  });
}

/** What stands below /tmp can't be seen there any more. */
const shells = {
  dash: "dash -i",
  "busybox ash": "/dev/shm/busybox ash -i",
  bash: "bash --norc -i",
};

for (const [name, shell] of Object.entries(shells)) {
  for (const [what, line] of [
    ["read-only", readOnly],
    ["full", full],
  ] as const) {
    test(`${name}: a folder that becomes ${what} between two scripts`, { skip }, async () => {
      await using b = await small(shell);
      assert.equal((await b.run("echo one")).output, "one\n");
      await b.type(line);
      await assert.rejects(b.run("echo two; exit 3"), gone);
      // The next session finds another folder.
      await b.talk.hold(b.console.enter(60_000));
      assert.deepEqual(await b.run("echo three; exit 3"), { code: 3, complete: true, output: "three\n" });
    });
  }
}

test("a script that fills the folder: its exit code is lost, not guessed", { skip }, async () => {
  await using b = await small("dash -i");
  await assert.rejects(b.run(`echo one; ${full} exit 0`), gone);
});

test("files: a folder that becomes full or read-only has a name, too", { skip }, async () => {
  for (const line of [readOnly, full]) {
    await using b = await small("dash -i");
    await b.type("head -c 20000 /dev/urandom >/dev/shm/big\n");
    await b.type(line);
    const fails = { message: /full, or has become read-only|no room/ };
    await assert.rejects(
      b.talk.hold(b.console.put(sourceOf(Buffer.alloc(9000, 7)), "/dev/shm/x")),
      fails,
      line,
    );
    await b.talk.hold(b.console.enter(60_000));
    const sink = sinkOf();
    await b.talk.hold(b.console.get("/dev/shm/big", sink));
    assert.equal(sink.size, 20_000);
  }
});
