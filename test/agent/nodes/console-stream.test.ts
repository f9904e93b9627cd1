import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { describe, test } from "node:test";
import { setTimeout as delay, setImmediate as turn } from "node:timers/promises";
import { type StreamTarget, streamConsole } from "#/agent/nodes/console-stream.ts";
import { ConsoleLog } from "#/builds/console/log.ts";
import { testFolder } from "../../support/folders.ts";
import { seeded, seededBytes } from "../../support/random.ts";
import { bounded } from "../../support/servers.ts";

/** Of a build that isn't stopped. */
const never = new AbortController().signal;

interface Packet {
  readonly text: string;
  readonly offset: number;
  /** Milliseconds. */
  readonly time: number;
}

/** A listener that keeps what it gets. */
class Listener implements StreamTarget {
  readonly packets: Packet[] = [];
  isAttached = true;
  #arrived = Promise.withResolvers<void>();
  readonly #asked = Promise.withResolvers<void>();
  #attached = Promise.withResolvers<void>();

  /** Resolves when the stream waits for a listener. */
  get awaited(): Promise<void> {
    return this.#asked.promise;
  }

  attached(): Promise<void> {
    this.#asked.resolve();
    return this.isAttached ? Promise.resolve() : this.#attached.promise;
  }

  attach(): void {
    this.isAttached = true;
    this.#attached.resolve();
  }

  async output(text: string, offset: number): Promise<void> {
    this.packets.push({ text, offset, time: performance.now() });
    this.#arrived.resolve();
    this.#arrived = Promise.withResolvers();
  }

  /** Resolves when so many packets are there. */
  async have(count: number): Promise<void> {
    while (this.packets.length < count) await bounded(this.#arrived.promise);
  }

  get text(): string {
    return this.packets.map(({ text }) => text).join("");
  }
}

/** Each packet is what is in the console at its offset, and goes up to the next, or to where a piece is missing. */
function assertTrue(packets: readonly Packet[], bytes: Buffer, { gapAt = -1 } = {}): void {
  for (const [index, { text, offset }] of packets.entries()) {
    const next = packets[index + 1]?.offset ?? bytes.length;
    const end = index === gapAt ? offset + Buffer.byteLength(text) : next;
    assert.ok(end <= next);
    assert.equal(text, bytes.subarray(offset, end).toString(), `packet ${index}`);
    const size = Buffer.byteLength(JSON.stringify({ output: text, offset }));
    assert.ok(size <= 65_536, `packet ${index} has ${size} bytes`);
  }
}

/** A console of the bytes, streamed when all of it is there. */
async function streamOf(bytes: Buffer, stopped = never): Promise<Packet[]> {
  using folder = testFolder();
  const console = await ConsoleLog.open(folder.path, 1024 ** 3);
  await console.write(bytes);
  await console.close();
  const listener = new Listener();
  await streamConsole(console, listener, stopped);
  return listener.packets;
}

// Some wait for the rate most of the time.
describe("the stream of a console", { concurrency: true }, () => {
  test("of a stopped build is its end alone", async () => {
    const bytes = Buffer.from("a line of a flood\n".repeat(60_000));
    const packets = await streamOf(bytes, AbortSignal.abort());
    assert.equal(packets.length, 1);
    assert.equal(packets[0]?.offset, bytes.length - 32 * 1024);
    assertTrue(packets, bytes);
  });

  test("begins at once, follows, and ends with the console", async () => {
    using folder = testFolder();
    const console = await ConsoleLog.open(folder.path, 1000);
    const listener = new Listener();
    const streamed = streamConsole(console, listener, never);
    await console.write(Buffer.from("one\n"));
    await listener.have(1);
    await console.write(Buffer.from("two\n"));
    await listener.have(2);
    const [first, second] = listener.packets;
    assert.ok((second?.time ?? 0) - (first?.time ?? 0) >= 49, "20 a second at most");
    await console.write(Buffer.from("three\n"));
    await console.close();
    await streamed;
    assertTrue(listener.packets, Buffer.from("one\ntwo\nthree\n"));
    assert.equal(listener.packets.length, 3);
  });

  test("ends when the console was closed long ago, and with an empty one", async () => {
    assert.deepEqual(
      (await streamOf(Buffer.from("all"))).map(({ text }) => text),
      ["all"],
    );
    assert.deepEqual(await streamOf(Buffer.alloc(0)), []);
  });

  test("ends when all was sent before the close", async () => {
    using folder = testFolder();
    const console = await ConsoleLog.open(folder.path, 1000);
    const listener = new Listener();
    const streamed = streamConsole(console, listener, never);
    await console.write(Buffer.from("x"));
    await listener.have(1);
    await turn();
    await console.close();
    await bounded(streamed);
    assert.equal(listener.text, "x");
  });

  test("a packet has all that came while it had to wait", async () => {
    using folder = testFolder();
    const console = await ConsoleLog.open(folder.path, 1000);
    const listener = new Listener();
    const streamed = streamConsole(console, listener, never);
    await console.write(Buffer.from("a"));
    await listener.have(1);
    const written: { letter: string; time: number }[] = [];
    for (const letter of "bcdefg") {
      await console.write(Buffer.from(letter));
      written.push({ letter, time: performance.now() });
      await turn();
    }
    await console.close();
    await streamed;
    assert.equal(listener.text, "abcdefg");
    let told = "";
    let before = Number.NEGATIVE_INFINITY;
    for (const { text, time } of listener.packets) {
      told += text;
      // The console is read once the wait since the packet before is over.
      const missing = written.filter((one) => one.time < before + 45 && !told.includes(one.letter));
      assert.deepEqual(missing, []);
      before = time;
    }
  });

  test("characters are whole, wherever the job's writes were cut", async () => {
    using folder = testFolder();
    const bytes = Buffer.from("aä€😀".repeat(3));
    const console = await ConsoleLog.open(folder.path, 1000);
    const listener = new Listener();
    const streamed = streamConsole(console, listener, never);
    // Each packet finds the console cut at another byte.
    for (let at = 0; at < 10; at++) {
      await console.write(bytes.subarray(at, at + 1));
      const whole = bytes.subarray(0, at + 1).toString();
      if (!whole.endsWith("\ufffd")) await listener.have(listener.packets.length + 1);
    }
    assert.equal(listener.text, "aä€😀");
    await console.write(bytes.subarray(10));
    await console.close();
    await streamed;
    assertTrue(listener.packets, bytes);
    assert.equal(listener.text, bytes.toString());
  });

  test("a character that never gets its end is told in the end", async () => {
    using folder = testFolder();
    const console = await ConsoleLog.open(folder.path, 1000);
    const listener = new Listener();
    const streamed = streamConsole(console, listener, never);
    await console.write(Buffer.from([0xe2, 0x82]));
    await console.write(Buffer.from([]));
    await turn();
    assert.deepEqual(listener.packets, []);
    await console.close();
    await streamed;
    assert.deepEqual(
      listener.packets.map(({ text, offset }) => [text, offset]),
      [["\ufffd", 0]],
    );
  });

  test("bytes that are no text are told as such, and offsets stay true", async () => {
    const bytes = seededBytes(seeded(11), 150_000);
    const packets = await streamOf(bytes);
    assertTrue(packets, bytes);
    assert.ok(packets.length >= 5);
    for (const odd of [Buffer.alloc(100, 0x80), Buffer.alloc(100, 0xff), Buffer.alloc(70_000, 0xbf)]) {
      assertTrue(await streamOf(odd), odd);
    }
  });

  test("what JSON makes longer still fits its packets", async () => {
    const dense = Buffer.concat([
      Buffer.alloc(40_000),
      Buffer.alloc(60_000, "x"),
      Buffer.alloc(30_000, '"\\'),
    ]);
    const packets = await streamOf(dense);
    assertTrue(packets, dense);
    assert.equal(packets.map(({ text }) => text).join(""), dense.toString());
  });

  test("plain text fills its packets", async () => {
    const log = Buffer.from("make[2]: Entering directory '/build'\n\tcc -c \"main.c\"\n".repeat(4000));
    const packets = await streamOf(log);
    assertTrue(packets, log);
    assert.equal(packets.length, Math.ceil(Buffer.byteLength(JSON.stringify(log.toString())) / 65_000));
  });

  test("a listener left behind misses a piece, and goes on with a whole character", async () => {
    using folder = testFolder();
    // Three bytes each, so that the place 1 MiB before the end is inside of one.
    const bytes = Buffer.from("€".repeat(1_000_000));
    const console = await ConsoleLog.open(folder.path, 1024 ** 3);
    const listener = new Listener();
    const streamed = streamConsole(console, listener, never);
    await console.write(bytes.subarray(0, 3000));
    await listener.have(1);
    await console.write(bytes.subarray(3000));
    await console.close();
    await streamed;
    const [first, second] = listener.packets;
    assert.equal(first?.offset, 0);
    assert.ok(second && second.offset >= bytes.length - 1024 * 1024, `${second?.offset}`);
    assert.ok(second.offset <= bytes.length - 1024 * 1024 + 2);
    assertTrue(listener.packets, bytes, { gapAt: 0 });
    assert.ok(!listener.text.includes("\ufffd"));
    assert.ok(listener.packets.length <= 19);
  });

  test("a line that takes long gets only the end of what is left", async () => {
    const bytes = Buffer.from("a line of a flood\n".repeat(60_000));
    using folder = testFolder();
    const console = await ConsoleLog.open(folder.path, 1024 ** 3);
    await console.write(bytes);
    await console.close();
    const listener = new Listener();
    const slow: StreamTarget = {
      isAttached: true,
      attached: () => Promise.resolve(),
      output: async (text, offset) => {
        await listener.output(text, offset);
        await delay(1100);
      },
    };
    await streamConsole(console, slow, never);
    assert.equal(listener.packets.length, 2);
    assert.equal(listener.packets[1]?.offset, bytes.length - 32 * 1024);
  });

  test("nothing is sent while the line takes nothing", async () => {
    using folder = testFolder();
    const console = await ConsoleLog.open(folder.path, 1000);
    const taken = Promise.withResolvers<void>();
    const listener = new Listener();
    const slow: StreamTarget = {
      isAttached: true,
      attached: () => Promise.resolve(),
      output: async (text, offset) => {
        await listener.output(text, offset);
        await taken.promise;
      },
    };
    const streamed = streamConsole(console, slow, never);
    await console.write(Buffer.from("a"));
    await listener.have(1);
    await console.write(Buffer.from("b"));
    await console.write(Buffer.from("c"));
    await console.close();
    assert.equal(listener.packets.length, 1);
    taken.resolve();
    await streamed;
    assert.deepEqual(
      listener.packets.map(({ text }) => text),
      ["a", "bc"],
    );
  });

  test("waits for a listener, who gets what came meanwhile", async () => {
    using folder = testFolder();
    const console = await ConsoleLog.open(folder.path, 1000);
    const listener = new Listener();
    listener.isAttached = false;
    const streamed = streamConsole(console, listener, never);
    await console.write(Buffer.from("a"));
    await console.write(Buffer.from("b"));
    await bounded(listener.awaited);
    await console.write(Buffer.from("c"));
    assert.deepEqual(listener.packets, []);
    listener.attach();
    await listener.have(1);
    await console.close();
    await streamed;
    assert.equal(listener.text, "abc");
  });

  test("ends with the console when nobody listens", async () => {
    using folder = testFolder();
    const console = await ConsoleLog.open(folder.path, 1000);
    const listener = new Listener();
    listener.isAttached = false;
    const streamed = streamConsole(console, listener, never);
    await console.write(Buffer.from("unheard"));
    await console.close();
    await bounded(streamed);
    await streamConsole(console, listener, never);
    assert.deepEqual(listener.packets, []);
  });

  test("a console that is gone is the file system's error", async () => {
    using folder = testFolder();
    const console = await ConsoleLog.open(folder.path, 1000);
    await console.close();
    rmSync(console.file);
    await assert.rejects(streamConsole(console, new Listener(), never), { code: "ENOENT" });
  });
});
