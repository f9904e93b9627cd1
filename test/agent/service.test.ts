/** The notifications to systemd in the agent's life. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { TestAgent } from "../support/agent.ts";
import { Arrivals } from "../support/gearman.ts";
import { freePort, temporaryFolder } from "../support/servers.ts";

/** Node has no datagram sockets of the UNIX kind; Perl, which is on every Debian, has. Prints what comes, a line each. */
const listener = `use IO::Socket::UNIX; $| = 1;
my $s = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Local => $ARGV[0]) or die $!;
print "listening\\n"; while (defined $s->recv(my $text, 4096)) { $text =~ s/\\n/ /g; print "$text\\n" }`;

test("ready, alive, reloading, stopping", async () => {
  await using folder = await temporaryFolder();
  const socket = join(folder.path, "notify");
  const perl = spawn("perl", ["-e", listener, socket], { stdio: ["ignore", "pipe", "inherit"] });
  try {
    const lines = new Arrivals<string>();
    createInterface(perl.stdout).on("line", (line) => lines.add(line));
    let looked = 0;
    const heard = (wanted: RegExp) =>
      lines.until((all) => {
        const at = all.findIndex((line, index) => index >= looked && wanted.test(line));
        if (at >= 0) looked = at + 1;
        return at >= 0;
      });
    await heard(/^listening$/);
    const env = { NOTIFY_SOCKET: socket, WATCHDOG_USEC: "200000" };
    const yaml = `name: box7\nservers: ["127.0.0.1:${await freePort()}"]\nhost: { classes: [lab1] }\n`;
    // Builds that are read at the start take time, which it asks for.
    mkdirSync(join(folder.path, "state/builds/quick/1"), { recursive: true });
    await using agent = await TestAgent.start({ yaml, env, folder: folder.path });
    await heard(/^EXTEND_TIMEOUT_USEC=60000000$/);
    await heard(/^READY=1$/);
    await heard(/^WATCHDOG=1$/);
    agent.child.kill("SIGHUP");
    await heard(/^RELOADING=1 MONOTONIC_USEC=\d+$/);
    await heard(/^READY=1$/);
    agent.child.kill("SIGTERM");
    await heard(/^STOPPING=1 EXTEND_TIMEOUT_USEC=3660000000$/);
    assert.equal(await agent.end(), 0);
  } finally {
    perl.kill("SIGKILL");
  }
});
