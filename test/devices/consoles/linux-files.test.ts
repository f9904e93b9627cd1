/** Files to and from a real shell: verified, only damaged parts sent again, and resumed. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { LinuxConsole } from "#/devices/consoles/linux/linux.ts";
import { lacks, part } from "../../support/parts.ts";
import { seeded, seededBytes } from "../../support/random.ts";
import { scale } from "../../support/scale.ts";
import { temporaryFolder } from "../../support/servers.ts";
import { conversation, newToken, sinkOf, sourceOf } from "./conversation.ts";
import { type ShellLineOptions, startShellLine } from "./shell-line.ts";

const skip = lacks("socat", "busybox");
const bytesPerSecond = 11_520;

async function board(options: ShellLineOptions = {}) {
  const line = startShellLine(`${part("busybox")} ash -i`, options);
  const talk = conversation(line, 300_000);
  const folder = await temporaryFolder();
  const console = new LinuxConsole({ token: newToken });
  await talk.hold(console.enter(60_000));
  return {
    line,
    talk,
    console,
    folder: folder.path,
    put: (bytes: Uint8Array, to: string, signal?: AbortSignal) =>
      talk.hold(console.put(sourceOf(bytes), to), signal),
    async [Symbol.asyncDispose]() {
      await line[Symbol.asyncDispose]();
      await folder[Symbol.asyncDispose]();
    },
  };
}

test("put and get: files of all sizes, and names that a shell has to be told about", { skip }, async () => {
  await using b = await board();
  for (const size of [0, 1, 63, 64, 65, 191, 192, 4096, 12_289, 70_000]) {
    const bytes = seededBytes(seeded(size), size);
    const to = join(b.folder, `it's $HOME "${size}" *`);
    await b.put(bytes, to);
    assert.ok(bytes.equals(await readFile(to)), `put ${size}`);
    const sink = sinkOf();
    await b.talk.hold(b.console.get(to, sink));
    assert.ok(bytes.equals(sink.bytes), `get ${size}`);
    assert.deepEqual(b.talk.progress.at(-1), [size, size]);
  }
});

test("put and get: what can't be done is said, and the console goes on", { skip }, async () => {
  await using b = await board();
  const bytes = Buffer.from("x");
  await assert.rejects(b.put(bytes, "/nowhere/at/all"), { code: "TRANSFER", message: /nowhere/ });
  await assert.rejects(b.put(bytes, b.folder), { code: "TRANSFER", message: /it is a folder/ });
  await assert.rejects(b.talk.hold(b.console.get("/nowhere", sinkOf())), {
    code: "TRANSFER",
    message: /there is no such file/,
  });
  await assert.rejects(b.put(Buffer.alloc(20_000), "/dev/full/x"), { code: "TRANSFER" });
  await b.put(bytes, join(b.folder, "x"));
  assert.equal(await readFile(join(b.folder, "x"), "utf8"), "x");
});

test("put and get over a slow line", { skip }, async () => {
  await using b = await board({ rate: bytesPerSecond });
  const bytes = seededBytes(seeded(1), scale(30_000, 1_000_000));
  const to = join(b.folder, "file");
  await b.put(bytes, to);
  assert.ok(bytes.equals(await readFile(to)));
  const sink = sinkOf();
  await b.talk.hold(b.console.get(to, sink));
  assert.ok(bytes.equals(sink.bytes));
});

test("put goes on where it was cut off, also in a new session", { skip }, async () => {
  await using b = await board();
  const bytes = seededBytes(seeded(2), 1_000_000);
  const to = join(b.folder, "file");
  const stop = new AbortController();
  const cut = b.talk.hold(
    (function* () {
      for (const dialogue = b.console.put(sourceOf(bytes), to), state = { step: dialogue.next() }; ; ) {
        if (state.step.done) return;
        const step = state.step.value;
        if (step.kind === "progress" && step.done > 600_000) stop.abort(new Error("cut"));
        state.step = dialogue.next(yield step);
      }
    })(),
    stop.signal,
  );
  await assert.rejects(cut, /cut/);
  assert.ok(!existsSync(to), "a part isn't taken for the whole");
  const again = new LinuxConsole({ token: newToken });
  await b.talk.hold(again.enter(60_000));
  const before = b.line.sent;
  await b.talk.hold(again.put(sourceOf(bytes), to));
  assert.ok(bytes.equals(await readFile(to)));
  assert.ok(b.line.sent - before < 800_000, `${b.line.sent - before} bytes were sent again`);
});

test("put keeps the beginning of a file that is much longer than it", { skip }, async () => {
  await using b = await board();
  const bytes = seededBytes(seeded(5), 8 * 2 ** 20 + 100_000);
  await writeFile(join(b.folder, ".file.labgear-part"), bytes.subarray(0, 8 * 2 ** 20 - 65_536));
  const before = b.line.sent;
  await b.put(bytes, join(b.folder, "file"));
  assert.ok(bytes.equals(await readFile(join(b.folder, "file"))));
  assert.ok(b.line.sent - before < 1_000_000, `${b.line.sent - before} bytes were sent`);
});

test("put mends what is wrong on the board, and get what is wrong here", { skip }, async () => {
  await using b = await board();
  const bytes = seededBytes(seeded(3), 300_000);
  const wrong = Buffer.from(bytes);
  wrong[200_000] = (wrong[200_000] ?? 0) ^ 1;
  await writeFile(join(b.folder, ".file.labgear-part"), Buffer.concat([wrong, Buffer.alloc(50_000)]));
  const before = b.line.sent;
  await b.put(bytes, join(b.folder, "file"));
  assert.ok(bytes.equals(await readFile(join(b.folder, "file"))));
  assert.ok(b.line.sent - before < 120_000, "only one range was sent");
  const received = b.line.received;
  const sink = sinkOf(bytes.subarray(0, 150_000));
  await b.talk.hold(b.console.get(join(b.folder, "file"), sink));
  assert.ok(bytes.equals(sink.bytes));
  assert.ok(b.line.received - received < 300_000);
  const other = sinkOf(wrong);
  await b.talk.hold(b.console.get(join(b.folder, "file"), other));
  assert.ok(bytes.equals(other.bytes));
});

test("put and get on a line that loses, doubles and flips bytes, with kernel lines", { skip }, async () => {
  const faults = { random: seeded(6), drop: 3000, double: 3000, flip: 3000, kernelEvery: 500, both: true };
  await using b = await board({ faults });
  const bytes = seededBytes(seeded(4), 40_000);
  const to = join(b.folder, "file");
  await b.put(bytes, to);
  assert.ok(bytes.equals(await readFile(to)));
  const sink = sinkOf();
  await b.talk.hold(b.console.get(to, sink));
  assert.ok(bytes.equals(sink.bytes));
});
