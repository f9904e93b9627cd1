/** The server's side of RFC 2217: what pySerial says and expects, and whatever else comes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Rfc2217Server, type SerialEvent } from "#/devices/port/rfc2217-server.ts";
import { seeded } from "../../support/random.ts";

const [iac, se, sb, will, wont, deed, dont] = [255, 240, 250, 251, 252, 253, 254];
const comPort = 44;
const sub = (...bytes: number[]) => [
  iac,
  sb,
  comPort,
  ...bytes.flatMap((b) => (b === 255 ? [b, b] : [b])),
  iac,
  se,
];

/** What a client says, cut anywhere, and what comes of it. */
function talk(server: Rfc2217Server, ...bytes: number[]): { replies: number[]; events: SerialEvent[] } {
  const all = bytes.flatMap((byte) => [...server.push(Uint8Array.of(byte))]);
  const replies = all.flatMap((event) => (event.kind === "reply" ? [...event.bytes] : []));
  return { replies, events: all.filter(({ kind }) => kind !== "reply") };
}

/** As pySerial begins. */
function negotiated(baud = 115_200): Rfc2217Server {
  const server = new Rfc2217Server(baud);
  server.greeting();
  talk(server, iac, will, comPort, iac, deed, comPort, iac, will, 0, iac, deed, 0);
  return server;
}

test("options are agreed once, and nobody answers an answer", () => {
  const server = new Rfc2217Server(9600);
  const greeting = [...server.greeting()];
  assert.deepEqual(greeting.slice(0, 3), [iac, will, 0]);
  const first = talk(server, iac, will, comPort);
  // Asked for in the greeting: only the modem's state follows.
  assert.deepEqual(first.replies, sub(107, 0xb0));
  assert.deepEqual(talk(server, iac, deed, comPort).replies, [iac, will, comPort]);
  for (const verb of [will, deed]) assert.deepEqual(talk(server, iac, verb, comPort).replies, []);
  assert.deepEqual(talk(server, iac, deed, 1, iac, deed, 1).replies, []);
  // Unknown ones are refused each time, and a refusal isn't answered.
  assert.deepEqual(talk(server, iac, will, 24, iac, deed, 31).replies, [iac, dont, 24, iac, wont, 31]);
  assert.deepEqual(talk(server, iac, wont, 24, iac, dont, 31).replies, []);
});

test("settings are acknowledged at once, and each change goes to the board once", () => {
  const server = negotiated();
  const baud = talk(server, ...sub(1, 0, 14, 16, 0));
  assert.deepEqual(baud.events, [{ kind: "baud", baud: 921_600 }]);
  assert.deepEqual(baud.replies, sub(101, 0, 14, 16, 0));
  assert.deepEqual(talk(server, ...sub(1, 0, 14, 16, 0)).events, []);
  assert.deepEqual(talk(server, ...sub(1, 0, 0, 0, 0)).replies, sub(101, 0, 14, 16, 0));
  assert.deepEqual(talk(server, ...sub(2, 7)).events, [{ kind: "format", bits: 7, parity: "none", stop: 1 }]);
  assert.deepEqual(talk(server, ...sub(3, 3)).events, [{ kind: "format", bits: 7, parity: "even", stop: 1 }]);
  assert.deepEqual(talk(server, ...sub(4, 2)).events, [{ kind: "format", bits: 7, parity: "even", stop: 2 }]);
  // What can't be is answered with what is.
  assert.deepEqual(talk(server, ...sub(3, 77)), { replies: sub(103, 3), events: [] });
  assert.deepEqual(talk(server, ...sub(1, 255, 255, 255, 255)), {
    replies: sub(101, 0, 14, 16, 0),
    events: [],
  });
});

test("control lines, break, flow control and purge", () => {
  const server = negotiated();
  const control = (value: number) => talk(server, ...sub(5, value));
  assert.deepEqual(control(9), { replies: sub(105, 9), events: [{ kind: "dtr", on: false }] });
  assert.deepEqual(control(7).replies, sub(105, 9));
  assert.deepEqual(control(11), { replies: sub(105, 11), events: [{ kind: "rts", on: true }] });
  assert.deepEqual(control(5).events, [{ kind: "break", on: true }]);
  assert.deepEqual(control(4).replies, sub(105, 5));
  assert.deepEqual(control(6).events, [{ kind: "break", on: false }]);
  assert.deepEqual(control(3), { replies: sub(105, 3), events: [{ kind: "flow", flow: "rtscts" }] });
  assert.deepEqual(control(0).replies, sub(105, 3));
  assert.deepEqual(talk(server, ...sub(12, 3)).events, [{ kind: "purge", received: true, sent: true }]);
  assert.deepEqual(talk(server, ...sub(8), ...sub(9)).events, [{ kind: "suspend" }, { kind: "resume" }]);
  assert.deepEqual(talk(server, ...sub(0)).replies, sub(100, ...Buffer.from("labgear")));
});

test("data is eight bits clean both ways, and the modem's lines are told by the mask", () => {
  const server = negotiated();
  const { events } = talk(server, 0x0d, 0, iac, iac, 0x0a);
  assert.deepEqual(
    events.flatMap((event) => (event.kind === "data" ? [...event.bytes] : [])),
    [0x0d, 0, 255, 0x0a],
  );
  assert.deepEqual([...server.encode(Uint8Array.of(13, 255, 0))], [13, 255, 255, 0]);
  assert.deepEqual([...server.setLines({ cts: false })], sub(107, 0xa1));
  assert.deepEqual(talk(server, ...sub(11, 0)).replies, sub(111, 0));
  assert.deepEqual([...server.setLines({ cts: true })], []);
});

test("the state of the line is sent as its mask says, and a ring when it is over", () => {
  const server = negotiated();
  assert.deepEqual([...server.setLines({ framing: 1 })], []);
  assert.deepEqual(talk(server, ...sub(10, 0x1a)).replies, sub(110, 0x1a));
  assert.deepEqual([...server.setLines({ framing: 1 })], []);
  assert.deepEqual([...server.setLines({ framing: 3, parity: 1, breaks: 1 })], sub(106, 0x18));
  assert.deepEqual(
    [...server.setLines({ framing: 3, overrun: 7, ri: true })],
    [...sub(106, 2), ...sub(107, 0xf0)],
  );
  assert.deepEqual([...server.setLines({ framing: 3, overrun: 7, ri: false })], sub(107, 0xb4));
});

test("any bytes, cut anywhere: bounded answers, values that a port can have, and no loop between two servers", () => {
  const random = seeded(2217);
  for (let round = 0; round < 300; round++) {
    const server = new Rfc2217Server(115_200);
    server.greeting();
    let sent = 0;
    let answered = 0;
    for (let step = 0; step < 40; step++) {
      const piece = Array.from({ length: 1 + random(30) }, () =>
        random(3) === 0 ? ([iac, sb, se, comPort, will, deed][random(6)] ?? 0) : random(256),
      );
      const bytes = random(2) ? piece : sub(...piece);
      sent += bytes.length;
      for (const event of server.push(Uint8Array.from(bytes))) {
        if (event.kind === "reply") answered += event.bytes.length;
        if (event.kind === "baud") assert.ok(event.baud >= 1 && event.baud <= 20_000_000);
        if (event.kind === "format") assert.ok(event.bits >= 5 && event.bits <= 8);
      }
    }
    assert.ok(answered <= 16 * sent, `${answered} bytes for ${sent}`);
  }
  const [left, right] = [new Rfc2217Server(9600), new Rfc2217Server(9600)];
  let toRight = [...left.greeting()];
  let toLeft = [...right.greeting()];
  for (let turn = 0; turn < 10; turn++)
    [toLeft, toRight] = [talk(right, ...toRight).replies, talk(left, ...toLeft).replies];
  assert.deepEqual([toLeft, toRight], [[], []]);
});
