import assert from "node:assert/strict";
import { execSync } from "node:child_process";
import { getEventListeners } from "node:events";
import { closeSync, ftruncateSync, openSync, readdirSync, readlinkSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { readConsole } from "#/builds/console/follow.ts";
import { ConsoleLog, consoleFile } from "#/builds/console/log.ts";
import { testFolder } from "../../support/folders.ts";
import { seeded, seededBytes } from "../../support/random.ts";

const plenty = 1024 ** 3;

async function all(pieces: AsyncIterable<Buffer>): Promise<Buffer> {
  const got: Buffer[] = [];
  for await (const piece of pieces) got.push(piece);
  return Buffer.concat(got);
}

/** True when this process has the folder's console open for reading. */
function isRead(folder: string): boolean {
  return readdirSync("/proc/self/fd").some((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`) === consoleFile(folder);
    } catch {
      return false;
    }
  });
}

test("a finished console is read from any offset", async () => {
  using folder = testFolder();
  const bytes = seededBytes(seeded(5), 200_000);
  writeFileSync(consoleFile(folder.path), bytes);
  for (const from of [0, 1, 65_535, 65_536, 65_537, 199_999, 200_000, 200_001, 10 ** 12]) {
    assert.ok((await all(readConsole(folder.path, { from }))).equals(bytes.subarray(from)), `from ${from}`);
  }
  assert.equal(isRead(folder.path), false);
  await assert.rejects(all(readConsole(`${folder.path}/gone`)), { code: "ENOENT" });
});

test("what isn't a file in the console's place keeps no reader waiting", async () => {
  using folder = testFolder();
  execSync(`mkfifo ${consoleFile(folder.path)}`);
  await assert.rejects(all(readConsole(folder.path)), { code: "ESPIPE" });
  assert.equal(isRead(folder.path), false);
});

test("without following, a growing console is read as far as it is", async () => {
  using folder = testFolder();
  const live = await ConsoleLog.open(folder.path, plenty);
  await live.write(Buffer.from("so far"));
  assert.equal((await all(readConsole(folder.path))).toString(), "so far");
  await live.close();
});

test("readers that come before, while and after get the same", async () => {
  using folder = testFolder();
  const live = await ConsoleLog.open(folder.path, plenty);
  const before = all(readConsole(folder.path, { live }));
  await live.write(Buffer.from("one "));
  const meanwhile = all(readConsole(folder.path, { live }));
  const later = all(readConsole(folder.path, { live, from: 6 }));
  await live.write(Buffer.from("two "));
  await live.write(Buffer.from("three"));
  await live.close();
  const after = all(readConsole(folder.path, { live }));
  assert.equal(String(await before), "one two three");
  assert.equal(String(await meanwhile), "one two three");
  assert.equal(String(await later), "o three");
  assert.equal(String(await after), "one two three");
});

for (const seed of Array.from({ length: 20 }, (_, index) => index + 1)) {
  test(`nothing is missed, whatever comes between what (seed ${seed})`, async () => {
    using folder = testFolder();
    const random = seeded(seed);
    const bytes = seededBytes(random, 150_000);
    const live = await ConsoleLog.open(folder.path, plenty);
    const idle = async () => {
      for (let turns = random(4); turns > 0; turns--) await turn();
    };
    const read = async (from: number) => {
      const got: Buffer[] = [];
      for await (const piece of readConsole(folder.path, { live, from })) {
        got.push(piece);
        await idle();
      }
      assert.ok(Buffer.concat(got).equals(bytes.subarray(from)), `from ${from}`);
    };
    const readers: Promise<void>[] = [];
    for (let at = 0; at < bytes.length; ) {
      if (readers.length < 8 && random(3) === 0) readers.push(read(random(2) * random(bytes.length)));
      const length = 1 + random(random(5) === 0 ? 60_000 : 500);
      const written = live.write(bytes.subarray(at, at + length));
      if (random(2) === 0) await written;
      await idle();
      at += length;
    }
    await live.close();
    await Promise.all(readers);
    assert.ok(readers.length > 0);
  });
}

test("the signal ends a reader that waits, at once", async () => {
  using folder = testFolder();
  const live = await ConsoleLog.open(folder.path, plenty);
  await live.write(Buffer.from("x"));
  const gone = new AbortController();
  const pieces = readConsole(folder.path, { live, signal: gone.signal });
  assert.equal(String((await pieces.next()).value), "x");
  const next = pieces.next();
  await turn();
  gone.abort();
  assert.deepEqual(await next, { value: undefined, done: true });
  const never = readConsole(folder.path, { live, signal: AbortSignal.abort() });
  assert.deepEqual(await never.next(), { value: undefined, done: true });
  await live.close();
  assert.equal(isRead(folder.path), false);
});

test("the signal ends a reader in the midst of a long console", async () => {
  using folder = testFolder();
  writeFileSync(consoleFile(folder.path), Buffer.alloc(1_000_000));
  const gone = new AbortController();
  let read = 0;
  for await (const piece of readConsole(folder.path, { signal: gone.signal })) {
    read += piece.length;
    gone.abort();
  }
  assert.equal(read, 65_536);
});

test("a reader that leaves early closes its file", async () => {
  using folder = testFolder();
  writeFileSync(consoleFile(folder.path), Buffer.alloc(200_000));
  for await (const _ of readConsole(folder.path)) {
    assert.equal(isRead(folder.path), true);
    break;
  }
  assert.equal(isRead(folder.path), false);
  await assert.rejects(async () => {
    for await (const _ of readConsole(folder.path)) throw new Error("the reader's own");
  }, /the reader's own/);
  assert.equal(isRead(folder.path), false);
});

test("memory doesn't grow with the console", async () => {
  using folder = testFolder();
  const size = 200 * 1024 * 1024;
  const file = openSync(consoleFile(folder.path), "w");
  ftruncateSync(file, size);
  closeSync(file);
  const before = process.memoryUsage.rss();
  let read = 0;
  let most = 0;
  for await (const piece of readConsole(folder.path)) {
    read += piece.length;
    most = Math.max(most, process.memoryUsage.rss());
  }
  assert.equal(read, size);
  assert.ok(most - before < 100 * 1024 * 1024, `${most - before} bytes more`);
});

test("pieces of single bytes take the room of single bytes", async () => {
  using folder = testFolder();
  const live = await ConsoleLog.open(folder.path, plenty);
  const pieces = readConsole(folder.path, { live });
  const kept: Buffer[] = [];
  for (let round = 0; round < 1000; round++) {
    await live.write(Buffer.from("."));
    kept.push((await pieces.next()).value ?? Buffer.alloc(0));
  }
  assert.equal(Buffer.concat(kept).length, 1000);
  const behind = new Set(kept.map((piece) => piece.buffer));
  const room = [...behind].reduce((sum, { byteLength }) => sum + byteLength, 0);
  assert.ok(room < 10_000_000, `${room} bytes are held`);
  await live.close();
  assert.equal((await pieces.next()).done, true);
});

test("waiting leaves nothing behind at the signal", async () => {
  using folder = testFolder();
  const live = await ConsoleLog.open(folder.path, plenty);
  const { signal } = new AbortController();
  const pieces = readConsole(folder.path, { live, signal });
  for (let round = 0; round < 50; round++) {
    const next = pieces.next();
    await live.write(Buffer.from("."));
    assert.equal(String((await next).value), ".");
  }
  const last = pieces.next();
  await live.close();
  assert.equal((await last).done, true);
  assert.equal(getEventListeners(signal, "abort").length, 0);
});
