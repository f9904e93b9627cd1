/** What systemd hears from the agent, on real datagram sockets. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { createNotifier } from "#/host/notify.ts";
import { loadSystemCalls } from "#/host/syscalls.ts";

/** A receiver that prints each datagram as a line, with its sender's pid; Perl, since Node has no such sockets. */
const receiver = `
use Socket; $| = 1; my $name = shift; $name =~ s/^@/\\0/;
socket(my $s, AF_UNIX, SOCK_DGRAM, 0) or die $!; bind($s, pack_sockaddr_un($name)) or die $!;
print "listening\\n"; while (defined recv($s, my $m, 65536, 0)) { $m =~ s/\\n/|/g; print "$m\\n" }`;

async function listen(address: string) {
  const child = spawn("perl", ["-e", receiver, address], { stdio: ["ignore", "pipe", "inherit"] });
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const next = async () => (await lines.next()).value;
  assert.equal(await next(), "listening");
  return {
    next,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    },
  };
}

for (const kind of ["path", "abstract"] as const) {
  test(`every message arrives: ${kind}`, async () => {
    const folder = await mkdtemp(join(tmpdir(), "labgear-notify-"));
    try {
      const address = kind === "path" ? join(folder, "socket") : `@${folder}`;
      await using systemd = await listen(address);
      const notifier = createNotifier({ NOTIFY_SOCKET: address }, loadSystemCalls());
      notifier.ready();
      assert.equal(await systemd.next(), "READY=1");
      notifier.status("two builds\nREADY=1");
      assert.equal(await systemd.next(), "STATUS=two builds READY=1");
      notifier.watchdog();
      assert.equal(await systemd.next(), "WATCHDOG=1");
      const before = process.hrtime.bigint() / 1000n;
      notifier.reloading();
      const [, time] = /^RELOADING=1\|MONOTONIC_USEC=(\d+)$/.exec((await systemd.next()) ?? "") ?? [];
      assert.ok(BigInt(time ?? 0) >= before);
      notifier.stopping();
      assert.equal(await systemd.next(), "STOPPING=1");
    } finally {
      await rm(folder, { recursive: true });
    }
  });
}

const fallback = "/usr/bin/systemd-notify";
const lack = existsSync(fallback) ? false : `NOT TESTED HERE: there is no ${fallback}`;

test("where the process can't send by itself, systemd-notify does", { skip: lack }, async () => {
  const folder = await mkdtemp(join(tmpdir(), "labgear-notify-"));
  try {
    const address = join(folder, "socket");
    await using systemd = await listen(address);
    createNotifier({ NOTIFY_SOCKET: address, PATH: "/usr/bin" }, undefined).ready();
    assert.equal(await systemd.next(), "READY=1");
  } finally {
    await rm(folder, { recursive: true });
  }
});

test("without systemd, or with an address of another kind, nothing happens", () => {
  for (const address of [undefined, "", "vsock:2:1234", "/no/such/socket", `/${"x".repeat(200)}`]) {
    const notifier = createNotifier(
      address === undefined ? {} : { NOTIFY_SOCKET: address, PATH: "/none" },
      loadSystemCalls(),
    );
    notifier.ready();
    notifier.stopping();
  }
});

test("the watchdog's interval is meant for one process", () => {
  const interval = (env: NodeJS.ProcessEnv) =>
    createNotifier({ NOTIFY_SOCKET: "@x", ...env }, undefined).watchdogIntervalMs;
  assert.equal(interval({ WATCHDOG_USEC: "30000000" }), 30_000);
  assert.equal(interval({ WATCHDOG_USEC: "30000000", WATCHDOG_PID: String(process.pid) }), 30_000);
  assert.equal(interval({ WATCHDOG_USEC: "30000000", WATCHDOG_PID: "1" }), undefined);
  assert.equal(interval({ WATCHDOG_USEC: "soon" }), undefined);
  assert.equal(interval({}), undefined);
});
