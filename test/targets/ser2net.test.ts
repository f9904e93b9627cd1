/** ser2net passes a board's console on, raw and by telnet with RFC 2217. */
import assert from "node:assert/strict";
import { connect, type Socket } from "node:net";
import { test } from "node:test";
import { bounded } from "../support/servers.ts";
import { lacksEmulator } from "./emulator.ts";
import { startFirmware } from "./firmware.ts";
import { startSer2net } from "./ser2net.ts";

const skip = lacksEmulator("qemuArm", "ser2net");

test("raw: bytes as they are", { skip }, async () => {
  await using target = await startFirmware("menu");
  await using server = await startSer2net(target.tty, "raw");
  using client = dial(server.port);
  client.say("v");
  await client.until("version 1.4\r\n");
});

test("telnet: RFC 2217 tells the speed that it has set", { skip }, async () => {
  await using target = await startFirmware("menu");
  await using server = await startSer2net(target.tty, "telnet-rfc2217");
  using client = dial(server.port);
  // IAC WILL COM-PORT-OPTION; IAC SB COM-PORT-OPTION SET-BAUDRATE 9600 IAC SE.
  client.say("\xff\xfb\x2c\xff\xfa\x2c\x01\x00\x00\x25\x80\xff\xf0");
  await client.until("\xff\xfa\x2c\x65\x00\x00\x25\x80\xff\xf0");
  client.say("v");
  await client.until("version 1.4\r\n");
});

test("the port of a tty that isn't there takes nobody in, and does when it is plugged in", {
  skip,
}, async () => {
  await using target = await startFirmware("menu", { unplugged: true });
  await target.plug();
  await using server = await startSer2net(target.tty, "raw");
  await target.unplug();
  using refused = dial(server.port);
  await bounded(refused.closed);
  await target.plug();
  using client = dial(server.port);
  client.say("v");
  await client.until("version 1.4\r\n");
  assert.equal(server.url, `tcp://127.0.0.1:${server.port}`);
});

function dial(port: number) {
  const socket: Socket = connect(port, "127.0.0.1").setEncoding("latin1");
  let text = "";
  const watchers = new Set<() => void>();
  socket.on("error", () => {});
  socket.on("data", (chunk) => {
    text += chunk;
    for (const look of watchers) look();
  });
  return {
    closed: new Promise((resolve) => socket.once("close", resolve)),
    say: (bytes: string) => socket.write(bytes, "latin1"),
    until: (part: string) =>
      bounded(
        new Promise<void>((resolve) => {
          const look = () => text.includes(part) && resolve();
          watchers.add(look);
          look();
        }),
      ),
    [Symbol.dispose]: () => void socket.destroy(),
  };
}
