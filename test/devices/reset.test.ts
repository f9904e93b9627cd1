/** Resets by control lines, on the circuits that boards have, behind a console server that leaves both lines on. */
import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { test } from "node:test";
import type { DeviceConfig } from "#/config/model.ts";
import { encodeOption, encodeSub, TelnetParser } from "#/devices/port/telnet.ts";
import { startLab } from "../runners/board/lab.ts";

interface Lines {
  dtr: boolean;
  rts: boolean;
}

/** A board on two control lines. Its log has how it booted each time. */
abstract class Circuit {
  readonly log: string[] = [];
  readonly lines: Lines = { dtr: true, rts: true };
  /** Set while the board may print. */
  socket: Socket | undefined;

  abstract changed(before: Lines): void;

  set(line: Partial<Lines>): void {
    const before = { ...this.lines };
    Object.assign(this.lines, line);
    this.changed(before);
  }

  /** Prints after the time that a microcontroller takes to start. */
  boot(how: string): void {
    this.log.push(how);
    const text = `${how} ${this.log.length}\r\n`;
    setTimeout(() => this.socket?.write(text), 65);
  }
}

/** As on an ESP32 board: IO0 is looked at when EN rises. */
class Esp32 extends Circuit {
  changed(before: Lines): void {
    const isDown = ({ dtr, rts }: Lines) => rts && !dtr;
    const { dtr, rts } = this.lines;
    if (isDown(before) && !isDown(this.lines)) this.boot(dtr && !rts ? "download" : "run");
  }
}

/** A capacitor makes a reset of DTR's edge. */
class Arduino extends Circuit {
  changed(before: Lines): void {
    if (this.lines.dtr && !before.dtr) this.boot("run");
  }
}

/** The line holds the board in reset; with the other one on, it would wait for a download. */
class Direct extends Circuit {
  readonly reset: keyof Lines;
  readonly select: keyof Lines;

  constructor(reset: keyof Lines) {
    super();
    this.reset = reset;
    this.select = reset === "dtr" ? "rts" : "dtr";
  }

  changed(before: Lines): void {
    if (before[this.reset] && !this.lines[this.reset])
      this.boot(this.lines[this.select] ? "download" : "run");
  }
}

/** No line of ours reaches this board, and it prints all the time. */
class Elsewhere extends Circuit {
  changed(): void {}
}

function serve(circuit: Circuit, socket: Socket): void {
  circuit.socket = socket;
  const parser = new TelnetParser();
  const actions: Record<number, Partial<Lines>> = {
    8: { dtr: true },
    9: { dtr: false },
    11: { rts: true },
    12: { rts: false },
  };
  socket.on("data", (data: Buffer) => {
    for (const event of parser.push(data)) {
      if (event.kind === "option" && event.verb === "will" && event.option === 44)
        socket.write(encodeOption("do", 44));
      if (event.kind !== "sub") continue;
      const [command, value = 0] = event.bytes;
      if (command === 1) socket.write(encodeSub(44, [101, ...event.bytes.subarray(1)]));
      const action = command === 5 ? actions[value] : undefined;
      if (action) circuit.set(action);
    }
  });
}

function startCircuit(circuit: Circuit, reset: NonNullable<DeviceConfig["reset"]>) {
  return startLab({
    config: {
      reset,
      port: { address: { kind: "rfc2217", host: "127.0.0.1", port: 0 }, baud: 115_200, flow: "none" },
    },
    board: (socket) => serve(circuit, socket),
  });
}

const signal = AbortSignal.timeout(600_000);

const boards: [NonNullable<DeviceConfig["reset"]>, Circuit, boots: number][] = [
  ["esp32", new Esp32(), 3],
  ["arduino", new Arduino(), 3],
  // Both lines change one after the other: once more at opening, and once more when both were on.
  ["rts", new Esp32(), 5],
  ["dtr", new Direct("dtr"), 5],
  ["rts", new Direct("rts"), 5],
];

for (const [reset, circuit, boots] of boards)
  test(`${circuit.constructor.name}, reset: ${reset}: the first reset works too, and none starts a download`, async () => {
    await using lab = await startCircuit(circuit, reset);
    using reservation = await lab.device.reserve("job#1", { name: "job" }, signal);
    const startAnew = async () => {
      await reservation.startAnew(signal);
      const bytes = await reservation.line.read(5000, signal);
      assert.equal(Buffer.from(bytes).toString(), `run ${circuit.log.length}\r\n`);
    };
    await startAnew();
    await startAnew();
    // What a step or another program did to the lines doesn't matter.
    await reservation.writer.setControl({ dtr: true, rts: true });
    await startAnew();
    assert.deepEqual(circuit.log, new Array(boots).fill("run"));
    reservation.release({ kind: "by-hand" });
  });

test("a board that goes on printing while it is held in reset: the box is at fault", async () => {
  const circuit = new Elsewhere();
  await using lab = await startCircuit(circuit, "esp32");
  using reservation = await lab.device.reserve("job#1", { name: "job" }, signal);
  const timer = setInterval(() => circuit.socket?.write("another heartbeat\r\n"), 10);
  try {
    await assert.rejects(reservation.startAnew(signal), {
      reason: "power-failed",
      message: /went on printing while it was switched off or held in reset/,
    });
  } finally {
    clearInterval(timer);
  }
  reservation.release({ kind: "by-hand" });
});

test("a port without control lines can't reset: the box is at fault, and the port opens all the same", async () => {
  await using lab = await startLab({ config: { reset: "dtr" }, board: () => {} });
  using reservation = await lab.device.reserve("job#1", { name: "job" }, signal);
  await assert.rejects(reservation.startAnew(signal), {
    reason: "power-failed",
    message: /no control lines/,
  });
  reservation.release({ kind: "by-hand" });
});
