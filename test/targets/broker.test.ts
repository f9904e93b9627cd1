/** The line does to the bytes what a test asks for, and nothing else. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { lacksEmulator } from "./emulator.ts";
import { startFirmware } from "./firmware.ts";
import { Lane } from "./lane.ts";
import { Wire } from "./wire.ts";

const skip = lacksEmulator("qemuArm");

test("a lane's mishaps are the same for the same seed, and about as many as asked for", () => {
  const spoilt = (seed: number) => {
    const lane = new Lane();
    const out: Buffer[] = [];
    lane.onBytes = (bytes) => out.push(bytes) > 0;
    lane.setFaults({ drop: 0.01, double: 0.02, flip: 0.01 }, seed);
    lane.push(Buffer.alloc(100_000, "a"));
    return Buffer.concat(out);
  };
  assert.deepEqual(spoilt(7), spoilt(7));
  assert.notDeepEqual(spoilt(7), spoilt(8));
  const bytes = spoilt(7);
  const flipped = bytes.filter((byte) => byte !== 97).length;
  assert.ok(bytes.length > 100_500 && bytes.length < 101_500, `${bytes.length} bytes`);
  assert.ok(flipped > 800 && flipped < 1200, `${flipped} flipped`);
});

test("a line that is slowed down is no faster than that, and loses nothing", { skip }, async () => {
  await using target = await startFirmware("stream", { off: true });
  target.broker.throttle(11_520);
  using wire = new Wire(target.tty);
  const start = performance.now();
  await target.powerOn();
  await wire.until("line 00000200");
  const seconds = (performance.now() - start) / 1000;
  assert.ok(wire.text.length < 11_520 * seconds + 1000, `${wire.text.length} bytes in ${seconds} s`);
  assert.deepEqual(gaps(wire.text), []);
});

test("stalling loses nothing, cutting loses what is said meanwhile, injecting adds", { skip }, async () => {
  await using target = await startFirmware("stream");
  target.broker.throttle(115_200);
  using wire = new Wire(target.tty);
  await wire.until("line 00000100");
  target.broker.stall(true);
  target.broker.stall(false);
  await wire.until("line 00000200");
  assert.deepEqual(gaps(wire.text), []);
  target.broker.inject("[  12.345678] a word from the kernel\r\n");
  await wire.until("a word from the kernel\r\n");
  target.broker.cut();
  const last = Number(/line (\d{8}) [^\n]*\n?[^\n]*$/.exec(wire.text)?.[1]);
  await target.powerOff();
  target.broker.restore();
  await target.powerOn();
  await wire.until("line 00000000");
  assert.ok(last > 200);
});

test("a bad line damages some lines of a stream", { skip }, async () => {
  await using target = await startFirmware("stream");
  using wire = new Wire(target.tty);
  target.broker.setFaults({ drop: 0.001, flip: 0.001 }, 5);
  await wire.until("line 00000500");
  assert.ok(wire.text.split("\r\n").some((line) => line !== "" && line.length !== 62));
});

/** The numbers that follow another than the one before them. */
function gaps(text: string): number[] {
  const numbers = [...text.matchAll(/line (\d{8})/g)].map((match) => Number(match[1]));
  return numbers.filter((number, index) => index > 0 && number !== (numbers[index - 1] ?? 0) + 1);
}
