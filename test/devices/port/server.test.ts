import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import type { PortConfig } from "#/config/model.ts";
import { Discovery } from "#/devices/discovery/discovery.ts";
import { Port } from "#/devices/port/port.ts";
import { encodeOption, encodeSub, TelnetParser } from "#/devices/port/telnet.ts";
import { testFolder } from "../../support/folders.ts";
import { lacks, part, partsEnv } from "../../support/parts.ts";
import { freePort } from "../../support/servers.ts";
import { calls, hears, reaches, until } from "./ports.ts";
import { Pty } from "./pty.ts";

function portAtServer(
  kind: "tcp" | "telnet" | "rfc2217",
  port: number,
  config: Partial<PortConfig> = {},
): Port {
  const address = { kind, host: "127.0.0.1", port };
  return new Port({
    name: "remote",
    config: { address, baud: 115_200, flow: "none", ...config },
    discovery: new Discovery(),
    calls,
  });
}

async function startSer2net(folder: string, tty: string, port: number, accepter: string) {
  const file = join(folder, "ser2net.yaml");
  writeFileSync(
    file,
    `connection: &con0\n  accepter: ${accepter}tcp,127.0.0.1,${port}\n  connector: serialdev,${tty},115200n81,local\n`,
  );
  const child: ChildProcess = spawn(part("ser2net"), ["-n", "-d", "-c", file, "-P", join(folder, "pid")], {
    env: partsEnv,
    stdio: "ignore",
  });
  return {
    async [Symbol.asyncDispose]() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const exited = once(child, "exit");
      child.kill("SIGKILL");
      await exited;
    },
  };
}

const skip = lacks("socat", "ser2net");

for (const [kind, accepter] of [
  ["tcp", ""],
  ["telnet", "telnet,"],
  ["rfc2217", "telnet(rfc2217),"],
] as const)
  test(`ser2net, ${kind}: waited for, both directions exact, gone and back`, { skip }, async () => {
    using folder = testFolder();
    await using pty = new Pty(join(folder.path, "dev"));
    await pty.plug();
    const number = await freePort();
    await using port = portAtServer(kind, number);
    await until(() => /can't be reached/.test((port.state as { reason?: string }).reason ?? ""), "refused");
    assert.equal(port.state.kind, "absent");
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
    {
      await using _ = await startSer2net(folder.path, pty.path, number, accepter);
      await reaches(port, "open");
      assert.equal(port.path, `${kind}://127.0.0.1:${number}`);
      using writer = port.acquire("test");
      await writer.write(Buffer.concat([bytes, Buffer.from("end")]));
      await until(() => pty.heard.endsWith("end"), "written");
      assert.equal(pty.heard, `${bytes.toString("latin1")}end`);
      const from = port.ring.end;
      await pty.say(Buffer.concat([bytes, Buffer.from("done")]));
      assert.ok((await hears(port, "done", from)).endsWith(`${bytes.toString("latin1")}done`));
      if (kind === "rfc2217") await writer.setBaud(57_600);
      else await assert.rejects(writer.setBaud(57_600), { code: "PORT_REFUSED", message: /rfc2217:/ });
    }
    await reaches(port, "absent");
    await using _ = await startSer2net(folder.path, pty.path, number, accepter);
    await reaches(port, "open");
  });

/** An RFC 2217 console server that records its requests. */
class Server2217 implements AsyncDisposable {
  readonly asked: number[][] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server, yes: boolean) {
    this.#server = server;
    server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.on("error", () => {});
      const parser = new TelnetParser();
      socket.on("data", (data: Buffer) => {
        for (const event of parser.push(data)) {
          if (event.kind === "option" && event.verb === "will" && event.option === 44)
            socket.write(encodeOption(yes ? "do" : "dont", 44));
          if (event.kind !== "sub") continue;
          this.asked.push([...event.bytes]);
          if (event.bytes[0] === 1) socket.write(encodeSub(44, [101, ...event.bytes.subarray(1)]));
        }
      });
    });
  }

  static async start(yes: boolean): Promise<Server2217> {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    return new Server2217(server, yes);
  }

  get port(): number {
    return (this.#server.address() as { port: number }).port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }
}

test("RFC 2217: the speed is set, and no control line is touched until asked", async () => {
  await using server = await Server2217.start(true);
  await using port = portAtServer("rfc2217", server.port, { baud: 9600 });
  await reaches(port, "open");
  // Eight bits, no parity, one stop bit, no flow control, 9600 baud.
  const setUp = [
    [2, 8],
    [3, 1],
    [4, 1],
    [5, 1],
    [10, 0x1e],
    [1, 0, 0, 0x25, 0x80],
  ];
  assert.deepEqual(server.asked, setUp);
  using writer = port.acquire("test");
  await writer.setControl({ dtr: false });
  await writer.setControl({ dtr: true, rts: false });
  await writer.sendBreak(1);
  await writer.setBaud(0xff00);
  assert.deepEqual(server.asked.slice(setUp.length), [
    [5, 9],
    [5, 8],
    [5, 12],
    [5, 5],
    [5, 6],
    [1, 0, 0, 0xff, 0],
  ]);
});

test("RFC 2217: parity and stop bits; a speed and a format that were set are put back", async () => {
  await using server = await Server2217.start(true);
  await using port = portAtServer("rfc2217", server.port, { baud: 9600, parity: "even", stopBits: 2 });
  await reaches(port, "open");
  assert.deepEqual(server.asked.slice(1, 3), [
    [3, 3],
    [4, 2],
  ]);
  const before = server.asked.length;
  await port.restoreBaud();
  {
    using writer = port.acquire("test");
    await writer.setBaud(0xff00);
    await writer.setFormat({ bits: 7, parity: "mark", stop: 1 });
  }
  await port.restoreBaud();
  await port.restoreBaud();
  assert.deepEqual(server.asked.slice(before), [
    [1, 0, 0, 0xff, 0],
    ...[
      [2, 7],
      [3, 4],
      [4, 1],
    ],
    ...[
      [2, 8],
      [3, 3],
      [4, 2],
    ],
    [1, 0, 0, 0x25, 0x80],
  ]);
});

test("a board's own telnetd: its shell echoes, and takes and sends every byte but NUL", {
  skip: lacks("busybox"),
}, async () => {
  const number = await freePort();
  const telnetd = spawn(
    part("busybox"),
    ["telnetd", "-F", "-b", "127.0.0.1", "-p", String(number), "-l", "/bin/sh"],
    { env: { ...partsEnv, PS1: "board# ", ENV: "" }, stdio: "ignore" },
  );
  try {
    await using port = portAtServer("telnet", number);
    await reaches(port, "open");
    using writer = port.acquire("test");
    await hears(port, "board# ");
    const from = port.ring.end;
    await writer.write(Buffer.from("printf '\\377\\015\\200%s\\n' a\"b\"c\r"));
    const heard = await hears(port, "\xff\r\x80abc\r\n", from);
    assert.ok(heard.includes("printf '"), JSON.stringify(heard));
    await writer.write(Buffer.from("printf %s '\xff\xfe' | wc -c | sed s/^/size=/\n", "latin1"));
    await hears(port, "size=2", from);
  } finally {
    const exited = once(telnetd, "exit");
    telnetd.kill("SIGKILL");
    await exited;
  }
});

test("telnet: no option is answered twice, whatever a server repeats", async () => {
  const got: string[] = [];
  const server = createServer((socket) => {
    const parser = new TelnetParser();
    socket.on("error", () => {});
    for (const option of [0, 1, 3, 31]) {
      socket.write(encodeOption("will", option));
      socket.write(encodeOption("do", option));
    }
    socket.on("data", (data: Buffer) => {
      for (const event of parser.push(data)) {
        if (event.kind !== "option") continue;
        got.push(`${event.verb} ${event.option}`);
        const answers = { do: "will", dont: "wont", will: "do", wont: "dont" } as const;
        socket.write(encodeOption(answers[event.verb], event.option));
        if (got.length === 8) socket.write("done");
      }
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  await using port = portAtServer("telnet", (server.address() as { port: number }).port);
  await hears(port, "done");
  server.close();
  assert.deepEqual(got.toSorted(), [
    ...["do 0", "do 1", "do 3", "dont 31", "will 0", "will 3", "wont 1", "wont 31"],
  ]);
});

test("a console server without RFC 2217 is refused with a message", async () => {
  await using server = await Server2217.start(false);
  await using port = portAtServer("rfc2217", server.port);
  const { reason } = await reaches(port, "refused");
  assert.match(reason, /doesn't speak RFC 2217.*tcp:/);
});

test("two devices at one console server's port: the second learns who has it", async () => {
  await using server = await Server2217.start(true);
  await using first = portAtServer("rfc2217", server.port);
  await reaches(first, "open");
  await using second = portAtServer("rfc2217", server.port);
  const { reason } = await reaches(second, "refused");
  assert.match(reason, /labgear \(pid \d+\) for remote/);
});

test("a console server that accepts nothing: a close ends the write", async () => {
  const sockets: Socket[] = [];
  const stuck = createServer((socket) => void sockets.push(socket.pause().on("error", () => {})));
  stuck.listen(0, "127.0.0.1");
  await once(stuck, "listening");
  const port = portAtServer("tcp", (stuck.address() as { port: number }).port);
  await reaches(port, "open");
  const writer = port.acquire("test");
  const ended = assert.rejects(writer.write(Buffer.alloc(20_000_000)), { code: "PORT_LOST" });
  await until(() => port.counters.sent > 0, "under way");
  await port[Symbol.asyncDispose]();
  await ended;
  for (const socket of sockets) socket.destroy();
  stuck.close();
  await once(stuck, "close");
});
