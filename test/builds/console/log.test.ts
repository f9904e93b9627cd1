import assert from "node:assert/strict";
import { execSync } from "node:child_process";
import {
  existsSync,
  lstatSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { ConsoleLog, consoleFile } from "#/builds/console/log.ts";
import { lacksMount, smallDisk, testFolder } from "../../support/folders.ts";
import { seeded, seededBytes } from "../../support/random.ts";

const plenty = 1024 ** 3;

/** The lines of console.times, each of which has to be whole. */
function timesOf(folder: string): [offset: number, time: number][] {
  const text = readFileSync(join(folder, "console.times"), "utf8");
  assert.match(text, /^([0-9]+ [0-9]+\n)*$/);
  return text
    .split("\n")
    .slice(0, -1)
    .map((line) => line.split(" ").map(Number) as [number, number]);
}

/** Both clocks of Node in the test's hands. */
function clocks(t: TestContext) {
  const now = { wall: Date.UTC(2026, 0, 1), monotonic: 1000 };
  t.mock.method(Date, "now", () => now.wall);
  t.mock.method(performance, "now", () => now.monotonic);
  return {
    now,
    pass(milliseconds: number) {
      now.wall += milliseconds;
      now.monotonic += milliseconds;
    },
  };
}

/** How many files below a folder this process has open. */
function openFiles(folder: string): number {
  const links = readdirSync("/proc/self/fd").map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return "";
    }
  });
  return links.filter((link) => link.startsWith(folder)).length;
}

for (const seed of [1, 2, 3, 4]) {
  test(`bytes are kept as they came, however they were cut (seed ${seed})`, async () => {
    using folder = testFolder();
    const random = seeded(seed);
    const bytes = seededBytes(random, 300_000);
    const console = await ConsoleLog.open(folder.path, plenty);
    const writes: Promise<void>[] = [];
    for (let at = 0; at < bytes.length; ) {
      // Empty ones among them, and some far larger than most.
      const length = random(20) === 0 ? random(50_000) : random(300);
      writes.push(console.write(bytes.subarray(at, at + length)));
      at += length;
      if (random(4) === 0) await writes.at(-1);
    }
    await Promise.all(writes);
    assert.equal(console.size, bytes.length);
    await console.close();
    assert.ok(readFileSync(consoleFile(folder.path)).equals(bytes));
    assert.equal(console.cut, 0);
  });
}

test("a write is in the file when it resolves", async () => {
  using folder = testFolder();
  const console = await ConsoleLog.open(folder.path, plenty);
  await console.write(Buffer.from("one\n"));
  assert.equal(readFileSync(console.file, "utf8"), "one\n");
  await console.note("two");
  assert.equal(readFileSync(console.file, "utf8"), "one\n[labgear] two\n");
  assert.equal(console.size, 18);
  await console.close();
});

const cutLine = (at: number) =>
  `\n[labgear] the console is cut here, at ${at} bytes; the build goes on, and its last bytes follow at its end\n`;

test("a console that is full keeps its beginning and its end, and says how much is missing", async () => {
  using folder = testFolder();
  const console = await ConsoleLog.open(folder.path, 10);
  await console.write(Buffer.from("012345"));
  await console.write(Buffer.from("6789"));
  assert.equal(console.cut, 0);
  await Promise.all(["abc", "", "def", "g"].map((text) => console.write(Buffer.from(text))));
  assert.equal(readFileSync(console.file, "utf8"), `01234${cutLine(5)}`, "who follows it live sees that");
  assert.equal(console.cut, 7);
  await console.close();
  assert.equal(readFileSync(console.file, "utf8"), `01234${cutLine(5)}[labgear] 7 bytes are left out\ncdefg`);
  assert.equal(console.size, readFileSync(console.file).length);
});

test("a console that just fits is whole", async () => {
  using folder = testFolder();
  const console = await ConsoleLog.open(folder.path, 10);
  for (const byte of "0123456789") await console.write(Buffer.from(byte));
  await console.close();
  assert.equal(readFileSync(console.file, "utf8"), "0123456789");
  assert.deepEqual([console.cut, console.size], [0, 10]);
});

test("our notes stay where the job's output is cut, in their place", async () => {
  using folder = testFolder();
  const console = await ConsoleLog.open(folder.path, 10);
  const write = (text: string) => console.write(Buffer.from(text));
  await write("01234\n");
  await write("x".repeat(1000));
  await console.note("first");
  await write("y".repeat(1000));
  await write("\nab");
  await console.note("second");
  await write("\nc");
  await console.note("third");
  await console.close();
  assert.equal(
    readFileSync(console.file, "utf8"),
    `01234${cutLine(5)}[labgear] 2001 bytes are left out\n\n[labgear] first\n\nab\n[labgear] second\n\nc\n[labgear] third\n`,
  );
});

test("many notes are bounded, too", async () => {
  using folder = testFolder();
  const console = await ConsoleLog.open(folder.path, 1000);
  for (let n = 0; n < 10_000; n++) await console.note(`note ${n}`);
  await console.close();
  assert.ok(console.size < 70_000);
  assert.match(readFileSync(console.file, "utf8"), /^\[labgear\] note 0\n(.*\n)*\[labgear\] note 9999\n$/);
});

for (const seed of [1, 2, 3, 4]) {
  test(`the end is the end, however it was cut (seed ${seed})`, async () => {
    using folder = testFolder();
    const random = seeded(seed);
    const max = 2 * (1 + random(5000));
    const bytes = seededBytes(random, 1 + random(50_000));
    const console = await ConsoleLog.open(folder.path, max);
    for (let at = 0; at < bytes.length; ) {
      const length = random(10) === 0 ? random(20_000) : random(300);
      await console.write(bytes.subarray(at, at + length));
      at += length;
    }
    await console.close();
    const kept = readFileSync(console.file);
    assert.equal(console.cut, Math.max(0, bytes.length - max));
    const half = Math.min(max / 2, bytes.length);
    assert.ok(kept.subarray(0, half).equals(bytes.subarray(0, half)));
    const rest = Math.min(max / 2, bytes.length - half);
    assert.ok(kept.subarray(kept.length - rest).equals(bytes.subarray(bytes.length - rest)));
    assert.ok(kept.length <= max + 200);
  });
}

test("a note of ours always begins a line", async () => {
  using folder = testFolder();
  const console = await ConsoleLog.open(folder.path, plenty);
  await console.note("begun");
  await console.write(Buffer.from("no newline at end"));
  await Promise.all([console.note("one"), console.note("two")]);
  await console.write(Buffer.from("line\n"));
  await console.note("three");
  await console.close();
  assert.equal(
    readFileSync(console.file, "utf8"),
    "[labgear] begun\nno newline at end\n[labgear] one\n[labgear] two\nline\n[labgear] three\n",
  );
});

test("a console whose file the job removed is there in the end", async () => {
  using folder = testFolder();
  const console = await ConsoleLog.open(folder.path, plenty);
  await console.write(Buffer.from("before\n"));
  for (const name of readdirSync(folder.path)) rmSync(join(folder.path, name));
  await console.write(Buffer.from("after\n"));
  await console.close();
  assert.equal(readFileSync(console.file, "utf8"), "before\nafter\n");
  assert.equal(timesOf(folder.path).length, 1);
});

test("a console whose place the job gave to something else is there in the end", async () => {
  for (const command of ["mkfifo", "mkdir", "ln -s /nowhere", "ln -s /etc/hostname"]) {
    using folder = testFolder();
    const console = await ConsoleLog.open(folder.path, plenty);
    await console.write(Buffer.from("before\n"));
    rmSync(console.file);
    execSync(`${command} ${console.file}`);
    await console.write(Buffer.from("after\n"));
    await console.close();
    assert.ok(lstatSync(console.file).isFile(), command);
    assert.equal(readFileSync(console.file, "utf8"), "before\nafter\n");
  }
});

test("the times say of every byte when it came, to a tenth of a second", async (t) => {
  using folder = testFolder();
  const { now, pass } = clocks(t);
  const random = seeded(7);
  const console = await ConsoleLog.open(folder.path, plenty);
  const writes: { at: number; time: number }[] = [];
  for (let round = 0; round < 500; round++) {
    pass(random(10) === 0 ? random(5000) : random(40));
    writes.push({ at: console.size, time: now.wall });
    await console.write(Buffer.alloc(1 + random(50)));
  }
  await console.close();
  const lines = timesOf(folder.path);
  assert.deepEqual(lines[0], [0, writes[0]?.time]);
  for (const [offset, time] of lines) {
    assert.equal(writes.find(({ at }) => at === offset)?.time, time, `the bytes from ${offset} on`);
  }
  for (const { at, time } of writes) {
    const late = time - (lines.findLast(([offset]) => offset <= at)?.[1] ?? 0);
    assert.ok(late >= 0 && late < 100, `${late} ms at ${at}`);
  }
});

test("times go on evenly when someone sets the clock", async (t) => {
  using folder = testFolder();
  const { now, pass } = clocks(t);
  const begun = now.wall;
  const console = await ConsoleLog.open(folder.path, plenty);
  for (const jump of [0, -3_600_000, 0, +86_400_000, 0]) {
    await console.write(Buffer.from("x"));
    now.wall += jump;
    pass(1000);
  }
  await console.close();
  assert.deepEqual(
    timesOf(folder.path),
    [0, 1, 2, 3, 4].map((second) => [second, begun + second * 1000]),
  );
});

test("a job that prints byte by byte doesn't fill the disk with times", async (t) => {
  using folder = testFolder();
  const { pass } = clocks(t);
  const console = await ConsoleLog.open(folder.path, plenty);
  for (let round = 0; round < 5000; round++) {
    await console.write(Buffer.from("."));
    pass(1);
  }
  await console.close();
  assert.equal(timesOf(folder.path).length, 50);
});

test("what comes after the close is dropped, what came before is kept", async () => {
  using folder = testFolder();
  const console = await ConsoleLog.open(folder.path, plenty);
  const before = [console.write(Buffer.from("a")), console.write(Buffer.from("b"))];
  const closing = [console.close(), console.close()];
  const closed = console.changed.until(() => console.closed);
  const after = console.write(Buffer.from("c"));
  await Promise.all([...before, ...closing, closed, after]);
  assert.equal(
    openFiles(folder.path),
    0,
    "the files are closed when close() resolves, each time it is asked",
  );
  await console.close();
  await console.write(Buffer.from("d"));
  assert.equal(readFileSync(console.file, "utf8"), "ab");
  assert.deepEqual([console.size, console.closed], [2, true]);
});

test("a console that can't be opened leaves no file open", async () => {
  using folder = testFolder();
  await assert.rejects(ConsoleLog.open(join(folder.path, "gone"), plenty), { code: "ENOENT" });
  await mkdir(join(folder.path, "console.times"));
  await assert.rejects(ConsoleLog.open(folder.path, plenty), { code: "EISDIR" });
  assert.equal(openFiles(folder.path), 0);
});

test("each write to a full disk rejects, and nothing hangs", {
  skip: existsSync("/dev/full") ? false : "NOT TESTED HERE: there is no /dev/full",
}, async () => {
  using folder = testFolder();
  symlinkSync("/dev/full", consoleFile(folder.path));
  const console = await ConsoleLog.open(folder.path, plenty);
  const writes = ["a", "b", "c"].map((text) => console.write(Buffer.from(text)));
  for (const write of writes) await assert.rejects(write, { code: "ENOSPC" });
  assert.equal(console.size, 0);
  await assert.rejects(console.note("full"), { code: "ENOSPC" });
  await console.close();
  assert.equal(console.closed, true);
});

test("a disk that fills up and has room again", { skip: lacksMount() }, async (t) => {
  using disk = smallDisk(64);
  const { pass } = clocks(t);
  writeFileSync(join(disk.path, "filler"), Buffer.alloc(20_000));
  const console = await ConsoleLog.open(disk.path, plenty);
  const bytes = seededBytes(seeded(3), 100_000);
  let grown = 0;
  const closed = console.changed.until(() => {
    grown = console.size;
    return console.closed;
  });
  let at = 0;
  let failure: unknown;
  for (; !failure; at += 3000) {
    pass(1000);
    await console.write(bytes.subarray(at, at + 3000)).catch((error) => {
      failure = error;
    });
  }
  assert.equal((failure as NodeJS.ErrnoException).code, "ENOSPC");
  assert.ok(console.size > at - 3000, "a part of the last chunk is there");
  assert.equal(grown, console.size, "and those who follow were woken for it");
  pass(1000);
  await assert.rejects(console.write(Buffer.from("more")), { code: "ENOSPC" });
  const before = console.size;
  assert.ok(readFileSync(console.file).equals(bytes.subarray(0, before)));
  rmSync(join(disk.path, "filler"));
  pass(1000);
  await console.write(Buffer.from("room again"));
  await console.close();
  await closed;
  assert.equal(readFileSync(console.file).subarray(before).toString(), "room again");
  const times = timesOf(disk.path);
  assert.equal(times.at(-1)?.[0], before);
  for (const [index, [offset, time]] of times.slice(1).entries()) {
    const [offsetBefore, timeBefore] = times[index] ?? [0, 0];
    assert.ok(offset >= offsetBefore && time > timeBefore);
  }
});

test("a line of times that a full disk tears is taken back", { skip: lacksMount() }, async (t) => {
  using disk = smallDisk(64);
  const { pass } = clocks(t);
  const console = await ConsoleLog.open(disk.path, plenty);
  // The first page of the times, but for some bytes: the next line doesn't fit before the page's end.
  let failures = 0;
  const write = () => console.write(Buffer.alloc(1)).catch(() => failures++);
  while (readFileSync(join(disk.path, "console.times")).length < 4080) {
    pass(1000);
    await write();
  }
  assert.equal(failures, 0);
  assert.throws(() => writeFileSync(join(disk.path, "filler"), Buffer.alloc(100_000)), { code: "ENOSPC" });
  for (let round = 0; round < 3; round++) {
    pass(1000);
    await write();
  }
  assert.ok(failures > 0);
  timesOf(disk.path);
  rmSync(join(disk.path, "filler"));
  failures = 0;
  pass(1000);
  await write();
  await console.close();
  assert.equal(failures, 0);
  assert.equal(timesOf(disk.path).at(-1)?.[0], console.size - 1);
});
