/** Reading processes, also those with odd names, and the room on a disk. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { freeSpace } from "#/host/health.ts";
import { describeProcess, parseStat, readStat, signalProcess } from "#/host/proc.ts";

test("a name with blanks and parentheses doesn't shift the fields", () => {
  const rest = "S 1 42 43 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 98750 3133440";
  const stat = parseStat(`77 (a) b (c) ${rest}`);
  assert.deepEqual(stat, {
    pid: 77,
    name: "a) b (c",
    state: "S",
    parent: 1,
    group: 42,
    session: 43,
    started: 98750,
  });
  assert.equal(parseStat("nonsense"), undefined);
  assert.equal(parseStat(""), undefined);
});

test("a process is named printably, and signalled only while it is the same one", async () => {
  const child = spawn(
    "perl",
    ["-e", '$0 = "evil\\e[31m\\n" . "x" x 500; print "ready\\n"; close STDOUT; sleep 3600'],
    {
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
  await once(child.stdout, "data");
  const stat = readStat(child.pid ?? 0);
  assert.ok(stat);
  const { command } = await describeProcess(stat);
  assert.match(command, /^evil\?\[31m\?x+$/);
  assert.equal(command.length, 200);
  assert.equal(signalProcess({ pid: stat.pid, started: stat.started - 1 }, "SIGKILL"), false);
  assert.equal(child.exitCode ?? child.signalCode, null);
  const exit = once(child, "exit");
  assert.equal(signalProcess(stat, "SIGKILL"), true);
  await exit;
  assert.equal(readStat(stat.pid), undefined);
});

test("the free space is what df tells", async () => {
  const df = spawn("df", ["--output=avail", "-B1", "/tmp"], { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  for await (const chunk of df.stdout) text += chunk;
  const wanted = Number(text.split("\n")[1]);
  assert.ok(Math.abs((await freeSpace("/tmp")) - wanted) < 2 ** 30);
  await assert.rejects(freeSpace("/no/such"), /ENOENT/);
});
