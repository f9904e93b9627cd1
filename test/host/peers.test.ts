/** Who is at the other end of a connection: real sockets of other users' processes. */
import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { networkInterfaces } from "node:os";
import { describe, test } from "node:test";
import { buildCheck } from "#/host/peers.ts";
import { bounded } from "../support/servers.ts";

/** Stands for a build's user. */
const build = { name: "nobody", uid: 65_534 };

/** Connects and waits for the end: IO::Socket::IP, host and port, then what to do with the socket. */
const client = (prepare: string, act: string) => [
  "-MSocket=:all",
  "-e",
  `my ($address, $port) = @ARGV;
  my ($error, $to) = getaddrinfo($address, $port, { socktype => SOCK_STREAM, flags => AI_NUMERICHOST });
  socket(my $s, $to->{family}, SOCK_STREAM, 0) or die $!; ${prepare}
  connect($s, $to->{addr}) or die $!; ${act}`,
];
const wait = "my $bytes = sysread($s, my $rest, 1);";

interface Case {
  readonly listen?: string;
  readonly to: string;
  readonly uid: number;
  readonly prepare?: string;
  readonly act?: string;
}

/** Whether the check refuses a client, and what it logs. */
async function refuses({ listen = "0.0.0.0", to, uid, prepare = "", act = wait }: Case) {
  const logged: string[] = [];
  const check = buildCheck([build], { warn: (_, message) => void logged.push(message) });
  const server = createServer().listen(0, listen);
  await once(server, "listening");
  const bound = server.address();
  const port = typeof bound === "object" ? bound?.port : undefined;
  const args = [...client(prepare, act), to, `${port}`];
  try {
    const accepted = once(server, "connection") as Promise<[Socket]>;
    if (act === wait || act.includes(wait)) execFile("perl", args, { uid });
    // All of it has happened before the connection is accepted.
    else execFileSync("perl", args, { uid });
    const [socket] = await bounded(accepted);
    const refused = [check(socket), check(socket)];
    socket.destroy();
    assert.equal(refused[0], refused[1]);
    assert.ok(logged.length <= 1, "said once");
    return { refused: refused[0], logged: logged.join().replace(`${port}`, "PORT") };
  } finally {
    server.close();
  }
}

const own = Object.values(networkInterfaces())
  .flat()
  .find((address) => address?.internal === false && address.family === "IPv4")?.address;

describe("a build is refused", { skip: process.getuid?.() !== 0 && "only root can be another user" }, () => {
  const said = "refused a connection from nobody to port PORT: builds may not use it";
  const cases: Record<string, Omit<Case, "uid"> | undefined> = {
    "on loopback": { to: "127.0.0.1" },
    "on another address of loopback": { to: "127.1.2.3" },
    "on an address of this box": own === undefined ? undefined : { to: own },
    "with IPv6": { listen: "::1", to: "::1" },
    "with IPv4, by a server of both": { listen: "::", to: "127.0.0.1" },
    "with IPv4 on a socket for IPv6": { listen: "::", to: "::ffff:127.0.0.1" },
    "from an address of its choice": {
      to: "127.0.0.1",
      prepare: 'bind($s, pack_sockaddr_in(0, inet_aton("127.9.9.9"))) or die $!;',
    },
    "with its sending half closed": { to: "127.0.0.1", act: `shutdown($s, 1); ${wait}` },
  };
  for (const [name, entry] of Object.entries(cases)) {
    test(name, { skip: !entry && "this machine has no other address" }, async () => {
      if (!entry) return;
      assert.deepEqual(await refuses({ ...entry, uid: build.uid }), { refused: true, logged: said });
      assert.deepEqual(
        await refuses({ ...entry, uid: 1 }),
        { refused: false, logged: "" },
        "another user isn't",
      );
    });
  }

  test("bound to an interface, where the kernel doesn't find it", async () => {
    const prepare = 'setsockopt($s, SOL_SOCKET, 25, pack("Z*", "lo")) or die $!;';
    assert.equal((await refuses({ to: "127.0.0.1", uid: build.uid, prepare })).refused, true);
  });

  test("when it has closed its end: the kernel calls root the owner then", async () => {
    const act = 'syswrite($s, "GET / HTTP/1.0\\r\\n\\r\\n"); close($s);';
    const { refused, logged } = await refuses({ to: "127.0.0.1", uid: build.uid, act });
    assert.equal(refused, true);
    assert.match(logged, /from an unknown user of this box/);
  });
});

test("a user of this box who is in doubt is refused, one from elsewhere isn't", async () => {
  const without = { ...({} as Parameters<typeof buildCheck>[2]), askNetlink: () => undefined } as never;
  const check = buildCheck([build], { warn: () => {} }, without);
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  const [[socket]] = await Promise.all([once(server, "connection"), once(connect(port), "connect")]);
  assert.equal(check(socket as Socket), true);
  const remote = { remoteAddress: "198.51.100.7", remotePort: 7, localAddress: "192.0.2.1", localPort: 4730 };
  assert.equal(check(remote as Socket), false);
  (socket as Socket).destroy();
  server.close();
});
